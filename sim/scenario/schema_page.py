"""Documentation of the scenario schema: the key tables of scenarios/README.md, and a JSON Schema for editors.

    python -m sim.scenario.schema_page scenarios/README.md

regenerates the tables between the page's two markers.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from sim.foundation.errors import UsageError
from sim.foundation.schema import entries, literals, tables, tag
from sim.models.registry import components
from sim.randomness.distributions import AnyDistribution
from sim.scenario.provenance import REFERENCE
from sim.scenario.scenario import Scenario
from sim.scenario.system import system_model

BEGIN, END = "<!-- keys: begin (python -m sim.scenario.schema_page) -->", "<!-- keys: end -->"


def written_scenario() -> type[BaseModel]:
    """Return the model of a scenario file as written: with one table per component under ``[system]``."""
    return create_model("Scenario", __base__=Scenario, __doc__=Scenario.__doc__, system=(system_model(), ...))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors.

    Numbers may be references to facts, distributions may be numbers, a base may fill gaps; an instance with
    a name of its own says its component.
    """
    plain = written_scenario().model_json_schema()
    schema: dict[str, Any] = _widened(plain)
    system = schema["$defs"]["System"]
    own = {
        "type": "object",
        "properties": {"component": {"enum": list(system["properties"])}},
        "required": ["component"],
    }
    system["additionalProperties"] = own
    # Parameters of an operation stand beside its name, and the name alone is a step.
    step = {**schema["$defs"]["Step"], "additionalProperties": True}
    schema["$defs"]["Step"] = {"anyOf": [step, {"type": "string"}]}
    for kind in ("Poisson", "Steady", "Diurnal"):  # Their rate may follow from [demand].
        schema["$defs"][kind].pop("required", None)
    schema["properties"]["base"] = {"type": "string", "description": "Scenario whose tables this one takes over."}
    schema["anyOf"] = [{"required": ["base"]}, {"required": plain["required"]}]
    return schema


def _widened(node: Any) -> Any:
    if isinstance(node, list):
        return [_widened(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    node = {key: _widened(entry) for key, entry in node.items()}
    if not {"distribution", "kind"} & node.get("properties", {}).keys():
        node.pop("required", None)  # The base may hold it; distributions and arrivals are replaced as a whole.
    reference = {"type": "string", "pattern": f"^{REFERENCE}"}
    if node.get("discriminator", {}).get("propertyName") == "distribution":
        return {"anyOf": [node, {"type": "number", "minimum": 0}, reference]}
    if node.get("type") in ("number", "integer"):
        return {"anyOf": [node, reference]}
    return node


def key_tables() -> str:
    """Return Markdown tables of every key of a scenario in the order of the file, then operations and distributions."""
    lines: list[str] = []
    for path, table in sections(written_scenario(), ""):
        kind = f' kind = "{tag(table)}"' if tag(table) else ""
        title = f"`[{path}]{kind}`" if path else "Top of the file"
        rows = [_row(name, field) for name, field in table.model_fields.items() if _is_key(name, field)]
        if rows:
            lines += ["", f"### {title}", "", _summary(table), ""]
            lines += ["| key | value | meaning |", "| --- | --- | --- |", *rows]
    lines += ["", "### Operations", "", "What the steps of routes may use.", ""]
    lines += ["| operation | parameters | meaning |", "| --- | --- | --- |", *_operations()]
    lines += ["", "### Distributions", "", "| distribution | meaning |", "| --- | --- |"]
    for distribution in get_args(AnyDistribution):
        parameters = ", ".join(name for name in distribution.model_fields if name != "distribution")
        lines.append(f'| `{{ distribution = "{tag(distribution)}", {parameters} }}` | {_summary(distribution)} |')
    return "\n".join(lines).strip() + "\n"


def _operations() -> Iterator[str]:
    """Yield one row for each operation of every component."""
    for component in components():
        for name, operation in component.operations.items():
            parameters = ", ".join(f"`{key}`" for key in operation.parameters.model_fields)
            yield f"| `{component.name}.{name}` | {parameters} | {_summary(operation.flow)} |"


def sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the tables of a scenario with their headings, except distributions, which may occur anywhere."""
    yield path, model
    for name, field in model.model_fields.items():
        for below, table in _tables_below(name, field):
            if table is not model:  # A group of steps holds steps.
                yield from sections(table, f"{path}.{below}".removeprefix("."))


def _tables_below(name: str, field: FieldInfo) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the tables that a key holds: one table, or one for each name that the author chooses."""
    if _is_distribution(field):
        return
    for table in tables(field.annotation):
        yield name, table
    inside = entries(field.annotation)
    for table in tables(inside) if set(tables(inside)) != set(get_args(AnyDistribution)) else ():
        yield (f"{name}.NAME" if "dict" in str(field.annotation) else f"{name}[]"), table


def page_with_tables(page: str) -> str:
    """Return *page* with the key tables between its markers regenerated."""
    if BEGIN not in page or END not in page:
        raise UsageError(f"the page must hold the lines {BEGIN} and {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{key_tables()}\n{END}{rest.split(END)[1]}"


def _is_key(name: str, field: FieldInfo) -> bool:
    is_tag = name in ("kind", "distribution") and len(list(literals(field.annotation))) == 1
    return not is_tag and not any(below == name for below, _ in _tables_below(name, field))


def _is_distribution(field: FieldInfo) -> bool:
    return set(tables(field.annotation)) == set(get_args(AnyDistribution))


def _row(name: str, field: FieldInfo) -> str:
    meaning = re.sub(r"\s+", " ", field.description or "").replace("``", "`").replace("|", "\\|")
    default = "" if field.is_required() or field.default_factory else f", default `{_toml(field.get_default())}`"
    return f"| `{name}` | {_kind(field)}{default if field.get_default() is not None else ''} | {meaning} |"


def _kind(field: FieldInfo) -> str:
    words = list(literals(field.annotation))
    annotation = str(field.annotation)
    bounds = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in (("gt", ">"), ("ge", ">="), ("le", "<="))
        if getattr(rule, name, None) is not None
    ]
    if _is_distribution(field):
        return "distribution or number"
    if "dict" in annotation:
        return "table"
    if "tuple" in annotation and "int" in annotation and "str" in annotation:
        return "whole number >= 1, or list of names"
    if "tuple" in annotation and "Step" in annotation:
        return "list of operations and tables"
    if words:
        plain = [f'`"{word}"`' if not word.isdigit() else f"`{word}`" for word in words]
        return ("whole number >= 1 or " if "int" in annotation else "") + " or ".join(plain)
    kinds = (
        ("tuple", "list"),
        ("bool", "true or false"),
        ("int", "whole number"),
        ("float", "number"),
        ("str", "text"),
    )
    kind = next((said for python, said in kinds if python in annotation), annotation)
    return " ".join([kind, " and ".join(bounds)]).strip()


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _summary(table: Any) -> str:
    return re.sub(r"\s+", " ", (table.__doc__ or "").strip().split("\n\n")[0])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m sim.scenario.schema_page scenarios/README.md")
    target = Path(sys.argv[1])
    target.write_text(page_with_tables(target.read_text(encoding="utf-8")), encoding="utf-8")
