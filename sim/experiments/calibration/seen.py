"""Which distributions of a scenario a run shows: from the steps of its routes, without a word on any component.

Every distribution is replaced by a constant that occurs nowhere else; where that constant stands in a route's Flow is
where the distribution's draws enter a time category. So a new component is calibrated without code of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.flow import Attempt, Branch, Chance, Delay, Flow, Hedge, Hold, Parallel, Repeat, Serve, Spawn, Step, Transfer
from sim.flow.inspection import as_time, category_of, flows_of
from sim.randomness.distributions import AnyDistribution, Constant
from sim.scenario.deployment import paths

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

MARK = 1e-6
"""Marks are 1, 1 + MARK, 1 + 2 MARK, ...: unlike any number that a scenario holds, and without effect on its rules."""


@dataclass(frozen=True)
class Term:
    """Draws of one distribution in one time category of a route.

    Attributes
    ----------
    path : str
        Of the distribution in the scenario: ``system.d1.read_ms``.
    stream : str
        Terms of one stream are the same draw.
    scale : float
    chance : float
        Share of requests that have it; NaN where state decides (an object that was evicted).
    station : str
        What it holds; empty for a delay.
    """

    path: str
    stream: str
    scale: float
    chance: float = 1.0
    station: str = ""


@dataclass
class Column:
    """What one time category of one route consists of.

    Attributes
    ----------
    terms : list of Term
    bytes_per_s : list of float
        Bandwidths over which the request's bytes are sent, within this category.
    opaque : str
        Why its time is no plain sum; empty if it is.
    """

    terms: list[Term] = field(default_factory=list)
    bytes_per_s: list[float] = field(default_factory=list)
    opaque: str = ""


def distributions(scenario: "Scenario") -> dict[str, AnyDistribution]:
    """Return every distribution of the instances that requests reach, by path."""
    found = {}
    for instance in scenario.met:
        for name in type(instance.table).model_fields:
            value = getattr(instance.table, name)
            if hasattr(value, "distribution"):
                found[f"system.{instance.name}.{name}"] = value
    return found


def columns(scenario: "Scenario") -> dict[str, dict[str, Column]]:
    """Return what each time category consists of, by route and category."""
    known = distributions(scenario)
    marks = {path: 1 + MARK * number for number, path in enumerate(known)}
    marked = scenario.with_(**{path: {"distribution": "constant", "value": mark} for path, mark in marks.items()})
    by_mark = {mark: path for path, mark in marks.items()}
    return {route: _Reader(by_mark).read(flow) for route, flow in paths(marked).items()}


class _Reader:
    """Reads the Flow of one route."""

    def __init__(self, by_mark: Mapping[float, str]) -> None:
        self._by_mark = by_mark
        self._found: dict[str, Column] = {}

    def read(self, flow: Flow) -> dict[str, Column]:
        self._flow(flow, chance=1.0, station="")
        return self._found

    def _flow(self, flow: Flow, *, chance: float, station: str) -> None:
        for step in flow:
            self._step(step, chance=chance, station=station)

    def _step(self, step: Step, *, chance: float, station: str) -> None:
        match step:
            case Delay() | Serve():
                held = step.station.name if isinstance(step, Serve) else station
                self._time(step, chance=chance, station=held)
            case Hold():
                self._flow(step.steps, chance=chance, station=step.station.name)
            case Transfer():
                self._column(step.category).bytes_per_s.append(step.link.bytes_per_s)
            case Branch():
                for then, share in ((step.then, _share(step)), (step.otherwise, 1 - _share(step))):
                    self._flow(then, chance=chance * share, station=station)
            case Attempt():
                self._flow(step.steps, chance=chance, station=station)
            case Parallel() | Hedge() | Repeat():
                self._close(step, f"{type(step).__name__} of {step.stream}")
            case Spawn():
                pass  # Nobody waits for it.
            case _:
                pass  # Takes no time of its own.

    def _time(self, step: Delay | Serve, *, chance: float, station: str) -> None:
        time, column = as_time(step.time), self._column(category_of(step))
        if time.of is not None:
            column.opaque = f"{step.stream} grows with {getattr(time.of, 'name', time.of)}"
        if isinstance(time.distribution, Constant) and time.distribution.value in self._by_mark:
            path = self._by_mark[time.distribution.value]
            column.terms.append(Term(path, step.stream, time.scale, chance, station))
        elif time.distribution.expected() * time.scale > 0:
            column.opaque = f"{step.stream} adds a time that is not a key of the scenario"

    def _column(self, category: str) -> Column:
        return self._found.setdefault(category, Column())

    def _close(self, step: Step, why: str) -> None:
        """Mark every category inside of a step that does not add times up."""
        inner = _Reader(self._by_mark)
        for flow in flows_of(step):
            inner._flow(flow, chance=1.0, station="")
        for category, column in inner._found.items():
            mine = self._column(category)
            mine.terms += column.terms
            mine.opaque = why


def _share(step: Branch) -> float:
    """Return the share of requests that take a branch; NaN where the state of the system decides."""
    return step.condition.probability if isinstance(step.condition, Chance) else float("nan")


def draws(column: Column) -> dict[tuple[str, str], Term]:
    """Return the independent draws of a column, with the scales of one draw's parts added, by path and stream."""
    found: dict[tuple[str, str], Term] = {}
    for term in column.terms:
        place = (term.path, term.stream)
        before = found.get(place)
        scale = term.scale + (before.scale if before else 0.0)
        found[place] = Term(term.path, term.stream, scale, term.chance, term.station)
    return found
