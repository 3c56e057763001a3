"""The deployment of a scenario: one table per instance of a component, under ``[system]``.

``[system.d1]`` is an instance of the component ``d1``; ``[system.archive]`` with ``component = "d1"`` is another, and
``like = "d1"`` copies the numbers of an existing instance. There are no defaults: every number must have been written
down by somebody. A user's own scenario starts from a base and states only what differs.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from sim.foundation.schema import NAME, PAGE, Table, as_tuples, nearest, problems, shown
from sim.models.component import Component, Instance
from sim.models.registry import components, ordered

LIKE = "like"
"""Key of a table that names the instance whose numbers it copies."""


class System(Mapping[str, Any]):
    """All instances: ``system.d1.rtt_ms``, ``system["archive"].rtt_ms``, ``system.instances["d1"].station``."""

    def __init__(self, instances: Mapping[str, Instance]) -> None:
        self.instances = dict(instances)

    def __getattr__(self, name: str) -> Any:
        """Return the numbers of an instance."""
        instances: Mapping[str, Instance] = self.__dict__.get("instances", {})
        if name not in instances:
            raise AttributeError(f"system.{name} is not in the scenario; {nearest(name, instances)}")
        return instances[name].table

    def __getitem__(self, name: str) -> Any:
        return self.instances[name].table

    def __iter__(self) -> Iterator[str]:
        return iter(self.instances)

    def __len__(self) -> int:
        return len(self.instances)

    def __repr__(self) -> str:
        return f"<System of {', '.join(self)}>"

    @property
    def ordered(self) -> tuple[Instance, ...]:
        """All instances in the order of a request's path."""
        return tuple(ordered(self.instances.values()))

    def of(self, component: str) -> tuple[Instance, ...]:
        """List the instances of one component."""
        return tuple(instance for instance in self.instances.values() if instance.component.name == component)

    def numbers(self) -> dict[str, Any]:
        """Return all tables as plain numbers, strings and dicts, ready for JSON."""
        return {
            name: {
                **({"component": instance.component.name} if instance.component.name != name else {}),
                **instance.table.model_dump(mode="json"),
            }
            for name, instance in self.instances.items()
        }

    def with_keys(self, keys: Mapping[str, int]) -> "System":
        """Return the system with the number of keys that reach each instance, by name."""
        others: dict[str, Instance] = {}
        for name, instance in self.instances.items():
            others[name] = replace(instance, keys=keys.get(name, instance.keys), others=others)
        return System(others)


def read_system(raw: Any) -> tuple[System, list[str]]:
    """Check the tables of ``[system]``.

    Parameters
    ----------
    raw : Any
        The tables, references resolved and ``like`` filled in.

    Returns
    -------
    System
        Built from the valid tables.
    list of str
        The problems, one line each.
    """
    if not isinstance(raw, dict):
        return System({}), [f"system{shown(raw)} must be a table ({PAGE})"]
    found: dict[str, Instance] = {}
    wrong: list[str] = []
    for name, table in raw.items():
        component, numbers, problem = _component(name, table, raw=raw)
        if component is None:
            wrong.append(problem)
            continue
        try:
            checked = component.table.model_validate(as_tuples(numbers), strict=True)
            found[name] = Instance(name, component, checked, others=found)
        except ValidationError as error:
            wrong += problems(error, model=component.table, raw=numbers, place=("system", name))
    refused = raw.keys() - found
    wrong += [line for instance in found.values() for line in _broken_links(instance, found, refused=refused)]
    return System(found), wrong


def _component(name: str, table: Any, *, raw: dict[str, Any]) -> tuple[Component | None, dict[str, Any], str]:
    """Return the component of one table, the table without its ``component`` key, and a problem if there is one."""
    if not NAME.fullmatch(name):
        return None, {}, f'system."{name}" must be a name of lower-case letters, digits and _ ({PAGE})'
    if not isinstance(table, dict):
        return None, {}, f"system.{name}{shown(table)} must be a table ({PAGE})"
    if LIKE in table:  # A valid ``like`` has been resolved before.
        return None, {}, _like_nothing(name, table[LIKE], others=[other for other in raw if other != name])
    known = {component.name: component for component in components()}
    asked = table.get("component", name)
    if not isinstance(asked, str) or asked not in known:
        said = f"system.{name}.component{shown(asked)}" if "component" in table else f"system.{name}"
        way_out = "" if "component" in table else f', or say component = "..." ({", ".join(known)})'
        return None, {}, f"{said} is not a component; {nearest(str(asked), known)}{way_out} ({PAGE})"
    return known[asked], {key: value for key, value in table.items() if key != "component"}, ""


def _like_nothing(name: str, asked: Any, *, others: list[str]) -> str:
    """Return the problem of a ``like`` that does not lead to a table with numbers."""
    way_out = "this one leads to no numbers" if asked in others else nearest(str(asked), others)
    return f"system.{name}.{LIKE}{shown(asked)} must name another table of the system; {way_out} ({PAGE})"


def _broken_links(instance: Instance, found: Mapping[str, Instance], *, refused: Set[str]) -> Iterator[str]:
    """Yield keys of a table that must name another instance and do not; *refused* tables have their own messages."""
    for key, wanted in instance.component.links.items():
        asked = getattr(instance.table, key)
        if asked in refused:
            continue
        if asked not in found or found[asked].component.name != wanted:
            fitting = [name for name, other in found.items() if other.component.name == wanted]
            rule = nearest(asked, fitting) if fitting else f"the scenario has none; add [system.{wanted}]"
            yield f'system.{instance.name}.{key}="{asked}" must name an instance of {wanted}; {rule} ({PAGE})'


def filled(raw: Any) -> Any:
    """Resolve ``like``: fill tables with the numbers of the instance that it names."""
    if not isinstance(raw, dict):
        return raw
    return {name: _filled(raw, name, ()) for name in raw}


def _filled(raw: dict[str, Any], name: str, behind: tuple[str, ...]) -> Any:
    table = raw[name]
    other = table.get(LIKE) if isinstance(table, dict) else None
    # A dangling or cyclic ``like`` is left for the check of the tables, which refuses the key.
    if not isinstance(other, str) or other not in raw or other in (*behind, name):
        return table
    model = _filled(raw, other, (*behind, name))
    if not isinstance(model, dict) or LIKE in model:
        return table
    return {"component": model.get("component", other), **model, **{k: v for k, v in table.items() if k != LIKE}}


def system_model() -> type[BaseModel]:
    """Return a model of ``[system]`` with one table per component, for the JSON Schema and the key tables."""
    fields: dict[str, Any] = {component.name: (component.table, ...) for component in components()}
    return create_model("System", __base__=Table, __doc__="The deployment: one table per instance.", **fields)
