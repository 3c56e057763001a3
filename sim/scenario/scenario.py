"""A scenario: the traffic, the deployment, and the provenance of every number.

>>> from sim import load_scenario
>>> launch = load_scenario("launch")
>>> launch.vary("system.durable_objects.shards", 8).system.durable_objects.shards
8

A scenario is a TOML file. ``base`` inherits all tables of another one. A value ``"platform:KEY"`` refers to a fact of
the platform file; the table ``[assumptions]`` gives the author's reasons for other numbers. Both are recorded as the
scenario's provenance.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, SerializerFunctionWrapHandler, ValidationError, field_serializer

from sim.flow import Match
from sim.foundation.errors import ScenarioError, UsageError
from sim.foundation.schema import PAGE, Place, Table, as_tuples, place_of, problems, refuse
from sim.foundation.views import Shown
from sim.models.component import Instance, Tier
from sim.models.registry import inner_columns, time_columns
from sim.scenario.arrivals import Arrivals, Closed, TraceReplay
from sim.scenario.bases import beside, changed, declared_in, file_of, named, tables_of
from sim.scenario.deployment import paths
from sim.scenario.fault_checks import fault_problems, run_s
from sim.scenario.faults import Fault
from sim.scenario.injection import Injected, injected
from sim.scenario.messages import (
    message_problems,
    message_routes,
    messages_per_request,
    own_table,
    with_both_rates,
    with_messages,
)
from sim.scenario.placement import placed, placement_problems
from sim.scenario.platform import Platform, load_platform
from sim.scenario.provenance import Provenance, assumed, resolved
from sim.scenario.reached import keys_of, touched
from sim.scenario.recorded import trace_of
from sim.scenario.route_checks import Surroundings, route_problems
from sim.scenario.routes import Request, Route, counted_uses
from sim.scenario.shares import shares_of
from sim.scenario.system import System, filled, read_system
from sim.scenario.volume import Volume, with_rate
from sim.scenario.workload import Keys, Workload


class Scenario(Table, Shown):
    """A scenario: workload, routes, system, targets."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    schema_version: Literal[2]
    """Version of this schema."""
    name: Annotated[str, Field(min_length=1)]
    """Short name, for reports."""
    question: Annotated[str, Field(min_length=1)]
    """The question that it answers, in one sentence."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Seed of all random numbers."""
    platform: Annotated[str, Field(min_length=1)]
    """Platform file; relative to the scenario's folder, then to ``scenarios/``."""
    targets: Annotated[str, Field(min_length=1)]
    """File of targets and alert lines; found in the same way."""
    api: Literal["", "superinstance"] = ""
    """API that the reference implements in its own code; empty: it executes the steps of the routes."""
    workload: Workload
    demand: Volume | None = None
    """Volume of the month, which the bill counts; the rate is that of the peak."""
    routes: dict[str, Route]
    """Kinds of requests, by name; after them those that the messages of others are played as."""
    bodies: Annotated[dict[str, dict[str, Any]], Field(default_factory=dict)]
    """JSON bodies of requests, by name; placeholders in braces as in a path."""
    system: System
    faults: tuple[Fault, ...] = ()
    """Faults that occur during the run."""
    notes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """What a reader of its results must know, a sentence each: what it leaves out, of what its numbers were made."""
    assumptions: Annotated[dict[str, str], Field(default_factory=dict)]
    """The author's reasons for numbers that no platform fact gives: dotted path = reason, with a letter in brackets
    when it is not a plain assumption, ``"1000 / 410 tx/s [D]"``."""

    _origin: "_Origin" = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Record the tables and files that the scenario was made from."""
        if not isinstance(context, _Origin):
            raise UsageError("a Scenario is made by load_scenario(), vary() or with_(), not by its class")
        self._origin = context

    def __repr__(self) -> str:
        return f"<Scenario {self.name}: {len(self.routes)} routes over {', '.join(self.system)}>"

    @field_serializer("system")
    def _tables(self, system: System) -> dict[str, Any]:
        return system.numbers()

    @field_serializer("routes", mode="wrap")
    def _own_routes(self, routes: dict[str, Route], handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return own_table(handler(routes), message_routes(routes))

    @property
    def unused(self) -> tuple[str, ...]:
        """Instances that the scenario's own file names, not only its base, and that no route reaches."""
        return tuple(name for name in self._origin.declared if name in self.system and name not in self.reached)

    @property
    def facts(self) -> Platform:
        """The platform's facts."""
        return self._origin.facts

    @property
    def provenance(self) -> tuple[Provenance, ...]:
        """Provenance of the numbers: platform facts in the order of the file, then the author's assumptions."""
        return (*self._origin.used, *assumed(self.assumptions, self._origin.numbers))

    @property
    def relied_on(self) -> tuple[Provenance, ...]:
        """The provenance without the numbers of instances that no request meets."""
        unmet = tuple(f"system.{name}." for name in self.system if name not in self.reached)
        return tuple(row for row in self.provenance if not row.path.startswith(unmet))

    @property
    def given(self) -> str:
        """The path or name that it was loaded by, as it was given; its own name since it was renamed."""
        return self._origin.given or self.name

    @property
    def targets_path(self) -> Path:
        """The file of targets."""
        return beside(self.targets, self._origin.folder)

    def find(self, file: str) -> Path:
        """Return the path of a file that the scenario names.

        Parameters
        ----------
        file : str
            Absolute, or relative to the scenario's folder or else to the working directory.

        Raises
        ------
        ScenarioError
            It is in neither folder.
        """
        for folder in (self._origin.folder, Path()):
            if (folder / file).is_file():
                return folder / file
        raise ScenarioError(f"{file} does not exist, neither in {self._origin.folder} nor here ({PAGE})")

    def vary(self, path: str, value: Any) -> "Scenario":
        """Return the scenario with another value at a dotted *path*, validated again.

        Parameters
        ----------
        path : str
            ``"system.d1.rtt_ms"``, ``"routes.search.share"``, ``"routes.feed.steps[2].chance"``.
        value : number, text, list or dict
            As it would stand in the file; a dict replaces a whole distribution or table.

        Raises
        ------
        ScenarioError
            No such key, or the value breaks a rule.
        """
        return self.with_(**{path: value})

    def with_(self, **changes: Any) -> "Scenario":
        """Return the scenario with several values changed at once: ``with_(**{"workload.keys.count": 10})``."""
        places: dict[Place, Any] = {place_of(path): value for path, value in changes.items()}
        facts = None if ("platform",) in places else self.facts
        origin = self._origin
        given = "" if ("name",) in places else origin.given
        raw = changed(origin.raw, places)
        return _scenario(raw, origin.folder, facts=facts, declared=origin.declared, given=given)

    def priced_on(self, first_day: dt.date) -> "Scenario":
        """Return the scenario with the prices of the month that begins on *first_day*."""
        facts = replace(self.facts, first_day=first_day)
        origin = self._origin
        return _scenario(origin.raw, origin.folder, facts=facts, declared=origin.declared, given=origin.given)

    def with_shares(self, **shares: float) -> "Scenario":
        """Return the scenario with other shares of its routes; a route that is not named has share 0.

        Messages on WebSockets are then a route like any other, with a share of its own.

        Raises
        ------
        ScenarioError
            No such route, a negative share, or none above 0.
        """
        given = {f"routes.{route}.share": share for route, share in shares.items()}
        whole = self._with_plain_messages()
        return whole.with_(**{**{f"routes.{route}.share": 0.0 for route in self.routes}, **given})

    def _with_plain_messages(self) -> "Scenario":
        """Return the scenario whose messages are routes of the file, among the arrivals."""
        derived = message_routes(self.routes)
        if not derived:
            return self
        changes: dict[str, Any] = {f"routes.{name}.messages": None for name in derived.values()}
        for name in derived:
            changes[f"routes.{name}"] = self.routes[name].model_dump(mode="json", exclude_none=True)
        if not isinstance(self.workload.arrivals, TraceReplay):
            changes["workload.arrivals"] = self.arrivals.model_dump(mode="json")
        if self.demand is not None:
            changes["demand"] = self.demand.times(1 + self.messages_per_request)
        return self.with_(**changes)

    def at_rate(self, rate_per_s: float) -> "Scenario":
        """Return the scenario at another arrival rate: all its rates are multiplied by the same factor, and its volume.

        Parameters
        ----------
        rate_per_s : float
            New value of ``rate_per_s`` (``mean_rate_per_s`` of a diurnal wave, the mean rate of a trace). With messages
            on WebSockets the rate of requests and messages together.

        Raises
        ------
        UsageError
            The rate is not positive, or a closed loop has none.
        """
        if not 0 < rate_per_s < float("inf"):
            raise UsageError(f"rate_per_s={rate_per_s:g} must be > 0 and finite")
        arrivals = self.workload.arrivals
        if isinstance(arrivals, Closed):
            raise UsageError("rate_per_s cannot be set for a closed loop: its users set it (workload.arrivals.users)")
        trace = trace_of(self)
        if trace is not None:
            return self.vary("workload.arrivals.time_scale", trace.rate_per_s / rate_per_s)
        assert not isinstance(arrivals, TraceReplay), "a trace's rate was changed above"
        factor = rate_per_s / arrivals.nominal_per_s / (1 + self.messages_per_request)
        demand = {} if self.demand is None else {"demand": self.demand.times(factor)}
        return self.with_(**{"workload.arrivals": arrivals.multiplied(factor), **demand})

    @cached_property
    def time_columns(self) -> tuple[str, ...]:
        """Columns of a result that break down a request's time: see :func:`sim.models.registry.time_columns`."""
        return time_columns(self.met)

    @cached_property
    def inner_columns(self) -> dict[str, str]:
        """Time columns that are part of another one, with that other one."""
        return inner_columns(self.met)

    @property
    def met(self) -> list[Instance]:
        """Instances that some request reaches; one that no route uses has no column."""
        return [one for name, one in self.system.instances.items() if name in self.reached]

    @cached_property
    def operations(self) -> dict[str, dict[str, int]]:
        """Uses of each operation by each route's steps: ``{"search": {"workers.compute": 1, "d1.read": 1}}``."""
        return {name: dict(counted_uses(route.steps)) for name, route in self.routes.items()}

    @cached_property
    def reached(self) -> frozenset[str]:
        """Instances that requests reach: their entries, those they use, and those that these are linked to."""
        found = {route.enter for route in self.routes.values()}
        for used in self.operations.values():
            found.update(touched(self.system, used))
        return frozenset(
            found | {one.name for one in self.system.instances.values() if one.component.tier == Tier.CALLER}
        )

    @cached_property
    def injected(self) -> tuple[Injected, ...]:
        """Faults by instance, with their windows in ms."""
        return injected(self.faults, self.system, run_s=run_s(self)) if self.faults else ()

    @cached_property
    def messages_per_request(self) -> float:
        """Messages on WebSockets that come with each request which no schedule makes."""
        return messages_per_request(self)

    def both_rates(self, rate_per_s: float) -> str:
        """Return " (139 HTTP requests/s and 69 messages/s)", of a rate of both together; empty without messages."""
        return with_both_rates(self, rate_per_s)

    @cached_property
    def arrivals(self) -> Arrivals:
        """Arrivals that are played: those of the workload, and with them the messages on WebSockets."""
        own = self.workload.arrivals
        if isinstance(own, Closed | TraceReplay) or not self.messages_per_request:
            return own
        return type(own).model_validate(as_tuples(own.multiplied(1 + self.messages_per_request)))

    @cached_property
    def shares(self) -> dict[str, float]:
        """Share of each route in the traffic, by its name; they add up to 1.

        Raises
        ------
        ScenarioError
            Schedules alone would run as often as all requests come, or a closed loop has no rate to compare them with.
        """
        return shares_of(self)

    def request(self, route: str) -> Request:
        """Return a route's HTTP request: its own, or one derived from its name."""
        asked = self.routes[route].request
        if asked is not None:
            return asked
        operations = [operation.partition(".") for operation in self.operations[route]]
        reads = all(self.system.instances[name].component.operations[what].reads for name, _, what in operations)
        return Request(method="GET" if reads else "POST", path=f"/{route}?key={{key}}")

    def population(self, route: str) -> Keys:
        """Return the population that a route's keys are drawn from."""
        name = self.routes[route].keys
        return self.workload.populations[name] if name else self.workload.keys


@dataclass(frozen=True)
class _Origin:
    """The source of a scenario: its tables as written and with references resolved, and its files."""

    raw: dict[str, Any]
    numbers: dict[str, Any]
    used: tuple[Provenance, ...]
    folder: Path
    facts: Platform
    declared: tuple[str, ...] = ()
    """Instances that the file itself names, and not only its base."""
    given: str = ""


def load_scenario(scenario: str | Path) -> Scenario:
    """Read a scenario.

    Parameters
    ----------
    scenario : str or Path
        A file, or the name of one in ``scenarios/``: ``"launch"`` is ``scenarios/launch.toml``.

    Raises
    ------
    ScenarioError
        One line with the dotted path, the value, the rule, and how to fix it. Further problems are in its notes.
    """
    path = file_of(scenario)
    return _scenario(tables_of(path), path.parent, declared=declared_in(path), given=str(scenario))


def _scenario(
    raw: dict[str, Any],
    folder: Path,
    *,
    facts: Platform | None = None,
    declared: tuple[str, ...] = (),
    given: str = "",
) -> Scenario:
    """Resolve the references of *raw* and validate it; *facts* are those of its platform file, if loaded already."""
    facts = facts or load_platform(named(raw, "platform", folder=folder))
    used: list[Provenance] = []
    numbers = with_rate(resolved({**raw, "system": filled(raw.get("system", {}))}, (), facts=facts, used=used))
    origin = _Origin(raw, numbers, tuple(used), folder, facts, declared, given)
    system, wrong = read_system(numbers["system"])
    try:
        tables = {**as_tuples(numbers), "system": system}
        scenario = Scenario.model_validate(tables, strict=True, context=origin)
        refuse(wrong)  # Before the routes, whose errors would only repeat that the instances they use are missing.
    except ValidationError as error:
        refuse([*problems(error, model=Scenario, raw=numbers), *wrong])
        raise
    refuse(_problems(scenario))
    scenario = scenario.model_copy(update={"routes": with_messages(scenario)})
    named(raw, "targets", folder=folder)
    tuple(scenario.provenance)  # An assumption about a path that does not exist is an error now, not at first use.
    whole = scenario.model_copy(update={"system": placed(system.with_keys(keys_of(scenario)))})
    if whole.faults:
        refuse(fault_problems(whole, (Match(tuple(paths(whole).items())),)))
    return whole


def _problems(scenario: Scenario) -> Iterator[str]:
    """Yield the problems of the system and of the routes, one line each."""
    around = Surroundings(scenario.system, scenario.workload.populations, scenario.bodies)
    yield from placement_problems(scenario.system)
    yield from route_problems(scenario.routes, around)
    yield from message_problems(scenario)
