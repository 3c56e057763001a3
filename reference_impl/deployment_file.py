"""The deployment file: the instances of a deployment with their settings, and its routes.

::

    {
        "seed": 7,
        "api": "superinstance",
        "system": {"d1": {"read_ms": 1.5}, "archive": {"component": "d1", "read_ms": 4}},
        "routes": {
            "feed": {
                "enter": "network",
                "request": {"method": "GET", "path": "/feed/{key}"},
                "steps": [{"use": "d1.read"}, {"use": "archive.read", "chance": 0.2}],
            }
        },
    }

``system.NAME`` is an instance of the component ``component``, by default of the component NAME. With the api
``superinstance`` the brief's own API answers its paths, and the deployment has an instance of every built-in component
that the file leaves out. docs/REFERENCE.md describes the format.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference_impl import registry
from reference_impl.errors import ConfigError
from reference_impl.parts import Part
from reference_impl.routes.route import Route, RouteTable, read_route
from reference_impl.tables import Table, read_table
from reference_impl.timing.faults import KINDS, STATUS, Fault, Faults
from reference_impl.timing.tape import UNIFORM, Tape, stream

SUPERINSTANCE = "superinstance"
APIS = ("", SUPERINSTANCE)
CALLER = "client"
"""The component that sends the requests; it is not part of the deployment."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
SUFFIXES = ("_queue", "_cpu")
"""Suffixes of an instance's further time categories; an instance's name must not end in one."""


@dataclass(frozen=True)
class InstanceSpec:
    """One instance: its name, its component, and its settings."""

    name: str
    part: Part
    settings: Any


@dataclass(frozen=True)
class Specification:
    """The content of a deployment file, validated.

    Parameters
    ----------
    keeps_plan
        False at full speed, see :class:`reference_impl.timing.stopwatch.Stopwatch`.
    api
        The API that answers its own paths first; empty: none.
    instances
        All instances, by name.
    routes
        The routes of the scenario.
    seed
        Seed of all random numbers.
    """

    keeps_plan: bool
    api: str
    instances: Mapping[str, InstanceSpec]
    routes: RouteTable
    seed: int = 0
    faults: Faults | None = None
    """The scenario's faults; None: none."""

    @property
    def touched(self) -> dict[str, tuple[str, ...]]:
        """The instances that a call of each instance touches: itself, and those that its settings name."""
        return {name: (name, *_links(name, self.instances)) for name in self.instances}

    @classmethod
    def full_speed(cls, *, policy: str = "hardened") -> "Specification":
        """Return the deployment of the brief's API without added latencies."""
        ledger = {} if policy == "hardened" else {"ledger": {"policy": policy}}
        return cls.read({"api": SUPERINSTANCE, "system": ledger}, keeps_plan=False)

    @classmethod
    def from_json(cls, text: str) -> "Specification":
        """Read a deployment file.

        Raises
        ------
        ConfigError
            If the text is not a JSON object, or a key is unknown or a value invalid.
        """
        return cls.read(json_of(text, "the deployment file"))

    @classmethod
    def read(cls, content: object, *, keeps_plan: bool = True) -> "Specification":
        """Read the content of a deployment file."""
        seed = Table("", content).whole("seed", 0)
        table = Table("", content, seed=seed)
        table.take("seed", 0)
        api = table.choice("api", "", choices=APIS)
        instances = _instances(table.table("system"), has_all=bool(api))
        routes = _routes(table.table("routes"), instances)
        faults = read_table(_faults, table.table("faults")) if "faults" in table else None
        table.close()
        return cls(keeps_plan, api, instances, RouteTable(routes), seed, faults)


def json_of(text: str, what: str) -> object:
    """Parse the JSON *text*; error messages call it *what*."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} is no JSON: {error}") from None


def _instances(system: Table, *, has_all: bool) -> dict[str, InstanceSpec]:
    specs = {}
    for name in system:
        table = system.table(name, name=checked(name, "system"))
        component = table.text("component", name)
        if component != CALLER:
            specs[name] = _instance(name, component, table=table)
    if has_all:
        for component in registry.built_in():
            if component not in specs:
                empty = Table(system.where(component), {}, name=component, seed=system.seed)
                specs[component] = _instance(component, component, table=empty)
    return specs


def _routes(table: Table, instances: Mapping[str, InstanceSpec]) -> list[Route]:
    parts = {name: spec.part for name, spec in instances.items()}

    def links(name: str) -> list[str]:
        return _links(name, instances)

    routes = []
    for name in table:
        one = table.table(checked(name, "routes"))
        routes.append(read_route(name, one, parts=parts, links=links))
        one.close()
    return routes


def _links(name: str, instances: Mapping[str, InstanceSpec]) -> list[str]:
    """The instances that the settings of *name* name."""
    found = getattr(instances[name].settings, "__dict__", {}).values()
    return [other for other in found if isinstance(other, str) and other in instances and other != name]


def _faults(table: Table) -> Faults:
    """Read the scenario's faults: when its first requests are due, and each fault with its windows."""
    due_ms = _numbers(table, "due_ms")
    return Faults([read_table(_fault, one) for one in table.tables("list")], due_ms)


def _fault(table: Table) -> Fault:
    kind = table.choice("kind", "", choices=KINDS)
    edges = _numbers(table, "edges_ms")
    if len(edges) % 2:
        raise ConfigError(f"{table.where('edges_ms')} must be starts and ends by turns, not {len(edges)} numbers")
    share, is_of_all = table.number("share", 1, at_most=1), "share" not in table
    name = table.text("instance", "")
    return Fault(
        name=name,
        kind=kind,
        spans=list(zip(edges[::2], edges[1::2], strict=True)),
        keys=frozenset(int(key) for key in _numbers(table, "keys")),
        instances=table.whole("instances", 0),
        factor=table.number("factor", 1, at_least=1),
        share=share,
        error=table.choice("error", "error", choices=tuple(STATUS)),
        lot=None if is_of_all else Tape(UNIFORM, stream(table.seed, f"fault.{name}.{kind}")),
    )


def _numbers(table: Table, key: str) -> list[float]:
    values = table.take(key, [])
    if not isinstance(values, list) or not all(isinstance(one, int | float) for one in values):
        raise ConfigError(f"{table.where(key)} must be a list of numbers")
    return [float(one) for one in values]


def _instance(name: str, component: str, *, table: Table) -> InstanceSpec:
    part = registry.part(component, where=table.where("component"))
    return InstanceSpec(name, part, read_table(part.settings, table))


def checked(name: str, where: str) -> str:
    """Check the name of an instance or a route and return it.

    Raises
    ------
    ConfigError
        If it is not a valid name.
    """
    if not NAME.fullmatch(name):
        rule = "must be a name of at most 32 letters, digits and _, beginning with a letter"
        raise ConfigError(f"{where} has the name {ascii(name)[:80]}, which {rule}")
    if where == "system" and name.endswith(SUFFIXES):
        raise ConfigError(f"system.{name} must not end in {' or '.join(SUFFIXES)}: that is a time category")
    return name
