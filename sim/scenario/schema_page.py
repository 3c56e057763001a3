"""The schema for readers: the key tables of scenarios/README.md, and a JSON Schema for editors.

    python -m sim.scenario.schema_page scenarios/README.md

writes the tables between the page's two markers anew.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sim.errors import UsageError
from sim.randomness.distributions import AnyDistribution
from sim.scenario.provenance import REFERENCE
from sim.scenario.schema import literals, tables, tag

BEGIN, END = "<!-- keys: begin (python -m sim.scenario.schema_page) -->", "<!-- keys: end -->"


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a scenario file: numbers may be references to facts, laws may be numbers, a base may fill gaps."""
    plain = model.model_json_schema()
    schema: dict[str, Any] = _widened(plain)
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
        node.pop("required", None)  # The base may hold it; laws and arrivals are replaced as a whole.
    reference = {"type": "string", "pattern": f"^{REFERENCE}"}
    if node.get("discriminator", {}).get("propertyName") == "distribution":
        return {"anyOf": [node, {"type": "number", "minimum": 0}, reference]}
    if node.get("type") in ("number", "integer"):
        return {"anyOf": [node, reference]}
    return node


def key_tables(model: type[BaseModel]) -> str:
    """Markdown tables of every key of a scenario in the order of the file, then the laws."""
    lines: list[str] = []
    for path, table in sections(model, ""):
        kind = f' kind = "{tag(table)}"' if tag(table) else ""
        title = f"`[{path}]{kind}`" if path else "Top of the file"
        rows = [_row(name, field) for name, field in table.model_fields.items() if _is_key(name, field)]
        if rows:
            lines += ["", f"### {title}", "", _summary(table), ""]
            lines += ["| key | value | meaning |", "| --- | --- | --- |", *rows]
    lines += ["", "### Distributions", "", "| distribution | meaning |", "| --- | --- |"]
    for law in get_args(AnyDistribution):
        parameters = ", ".join(name for name in law.model_fields if name != "distribution")
        lines.append(f'| `{{ distribution = "{tag(law)}", {parameters} }}` | {_summary(law)} |')
    return "\n".join(lines).strip() + "\n"


def sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The tables of a scenario with their headings; laws, which may stand anywhere, are left out."""
    yield path, model
    for name, field in model.model_fields.items():
        if _is_section(field):
            for table in tables(field.annotation):
                yield from sections(table, f"{path}.{name}".removeprefix("."))


def page_with_tables(page: str, model: type[BaseModel]) -> str:
    """*page* with the key tables between its markers written anew."""
    if BEGIN not in page or END not in page:
        raise UsageError(f"the page must hold the lines {BEGIN} and {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{key_tables(model)}\n{END}{rest.split(END)[1]}"


def _is_key(name: str, field: FieldInfo) -> bool:
    return name not in ("kind", "distribution") and not _is_section(field)


def _is_section(field: FieldInfo) -> bool:
    found = tables(field.annotation)
    return bool(found) and not _is_law(field)


def _is_law(field: FieldInfo) -> bool:
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
    if _is_law(field):
        return "distribution or number"
    if "dict" in annotation:
        return "table"
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
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _summary(table: type[BaseModel]) -> str:
    return re.sub(r"\s+", " ", (table.__doc__ or "").strip().split("\n\n")[0])


if __name__ == "__main__":
    from sim.scenario.scenario import Scenario

    if len(sys.argv) != 2:
        sys.exit("usage: python -m sim.scenario.schema_page scenarios/README.md")
    target = Path(sys.argv[1])
    target.write_text(page_with_tables(target.read_text(encoding="utf-8"), Scenario), encoding="utf-8")
