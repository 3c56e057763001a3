"""Which distributions of a scenario a run shows: from the steps of its routes, without a word on any component.

Every distribution is replaced by a constant that occurs nowhere else; where that constant stands in a route's Flow is
where the distribution's draws enter a time category. So a new component is calibrated without code of its own. Shares
of requests that take a step are marked and found in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.experiments.calibration.steps import chances, step_of
from sim.flow import (
    Attempt,
    Branch,
    Chance,
    Delay,
    Finally,
    Flow,
    Hedge,
    Hold,
    Parallel,
    Repeat,
    Serve,
    Spawn,
    Step,
    Transfer,
)
from sim.flow.inspection import as_time, categories, category_of, flows_of
from sim.randomness.distributions import AnyDistribution, Constant
from sim.scenario.deployment import paths

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

MARK = 1e-6
"""Marks are 1, 1 + MARK, 1 + 2 MARK, ...: unlike any number that a scenario holds, and without effect on its rules."""

MARKED_CHANCE = 0.25
"""Marks of shares begin here."""

Event = tuple[str, bool]
"""A share's path in the scenario (of one that has none, its stream), and whether the requests are those it counts."""


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
    events : tuple of Event
        The chances by which a request has it.
    """

    path: str
    stream: str
    scale: float
    chance: float = 1.0
    station: str = ""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Hedged:
    """A step of which a second copy is started when the first takes too long.

    Attributes
    ----------
    step : str
        ``routes.search.steps[1] (d1.read)``.
    after_ms : float
    categories : tuple of str
        Those that its time is attributed to, queues included.
    """

    step: str
    after_ms: float
    categories: tuple[str, ...]


@dataclass
class Column:
    """What one time category of one route consists of.

    Attributes
    ----------
    terms : list of Term
    bytes_per_s : list of float
        Bandwidths over which the request's bytes are sent, within this category.
    hedges : list of Hedged
        Steps inside of which it is a plain sum only as long as no second copy is started.
    opaque : str
        Why its time is no plain sum; empty if it is.
    """

    terms: list[Term] = field(default_factory=list)
    bytes_per_s: list[float] = field(default_factory=list)
    hedges: list[Hedged] = field(default_factory=list)
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
    known, shares = distributions(scenario), chances(scenario)
    marks = {path: 1 + MARK * number for number, path in enumerate(known)}
    share_marks = {path: MARKED_CHANCE + MARK * number for number, path in enumerate(shares)}
    constants = {path: {"distribution": "constant", "value": mark} for path, mark in marks.items()}
    marked = scenario.with_(**constants, **share_marks)
    by_mark = {mark: path for path, mark in marks.items()}
    by_share = {mark: (path, shares[path]) for path, mark in share_marks.items()}
    return {route: _Reader(scenario, route, by_mark, by_share).read(flow) for route, flow in paths(marked).items()}


class _Reader:
    """Reads the Flow of one route."""

    def __init__(
        self,
        scenario: "Scenario",
        route: str,
        by_mark: Mapping[float, str],
        by_share: Mapping[float, tuple[str, float]],
    ) -> None:
        self._scenario, self._route = scenario, route
        self._by_mark, self._by_share = by_mark, by_share
        self._found: dict[str, Column] = {}

    def read(self, flow: Flow) -> dict[str, Column]:
        self._flow(flow, Term("", "", 1.0))
        return self._found

    def _flow(self, flow: Flow, within: Term) -> None:
        """Read steps; *within* says by which chances requests take them, and what they hold meanwhile."""
        for step in flow:
            self._step(step, within)

    def _step(self, step: Step, within: Term) -> None:
        match step:
            case Delay() | Serve():
                self._time(step, within)
            case Hold():
                self._flow(step.steps, _inside(within, station=step.station.name))
            case Transfer():
                self._column(step.category).bytes_per_s.append(step.link.bytes_per_s)
                if within.events:
                    self._column(step.category).opaque = "only some requests send their bytes"
            case Branch():
                name, share = self._share(step)
                self._flow(step.then, _inside(within, share=share, event=(name, True)))
                self._flow(step.otherwise, _inside(within, share=1 - share, event=(name, False)))
            case Attempt():
                self._flow(step.steps, within)
            case Finally():
                self._flow((*step.steps, *step.after), within)
            case Hedge():
                self._hedge(step, within)
            case Parallel():
                self._close(step, f"{self._named(step.stream)} runs at once, so that its time is the latest one's")
            case Repeat():
                self._close(step, f"{step.stream} repeats steps as often as state decides")
            case Spawn():
                pass  # Nobody waits for it.
            case _:
                pass  # Takes no time of its own.

    def _time(self, step: Delay | Serve, within: Term) -> None:
        time, column = as_time(step.time), self._column(category_of(step))
        station = step.station.name if isinstance(step, Serve) else within.station
        if time.of is not None:
            column.opaque = f"{step.stream} grows with {getattr(time.of, 'name', time.of)}"
        if time.since is not None:
            column.opaque = f"{step.stream} is what is left of a time since {time.since.name}"
        if isinstance(time.distribution, Constant) and time.distribution.value in self._by_mark:
            path = self._by_mark[time.distribution.value]
            column.terms.append(Term(path, step.stream, time.scale, within.chance, station, within.events))
        elif time.distribution.expected() * time.scale > 0:
            column.opaque = f"{step.stream} adds a time that is not a key of the scenario"

    def _column(self, category: str) -> Column:
        return self._found.setdefault(category, Column())

    def _share(self, step: Branch) -> tuple[str, float]:
        """Return the name of a chance, and the share of requests that it counts; NaN where state decides."""
        if not isinstance(step.condition, Chance):
            return type(step.condition).__name__, float("nan")
        chance = step.condition
        return self._by_share.get(chance.probability, (chance.stream, chance.probability))

    def _hedge(self, step: Hedge, within: Term) -> None:
        """Read a hedged step as if it were not, and note when that holds."""
        self._flow(step.steps, within)
        hedged = Hedged(self._named(step.stream), step.after_ms, categories(step.steps))
        for category in hedged.categories:
            if category in self._found:
                self._found[category].hedges.append(hedged)

    def _close(self, step: Step, why: str) -> None:
        """Mark every category inside of a step that does not add times up."""
        inner = _Reader(self._scenario, self._route, self._by_mark, self._by_share)
        for flow in flows_of(step):
            inner._flow(flow, Term("", "", 1.0))
        for category, column in inner._found.items():
            mine = self._column(category)
            mine.terms += column.terms
            mine.opaque = why

    def _named(self, stream: str) -> str:
        return step_of(self._scenario, self._route, stream=stream)


def _inside(within: Term, *, station: str = "", share: float = 1.0, event: Event | None = None) -> Term:
    """Return what holds inside of a step: another station, or one chance more."""
    events = within.events if event is None or share == 1 else (*within.events, event)
    return Term("", "", 1.0, within.chance * share, station or within.station, events)


def draws(column: Column) -> dict[tuple[str, str], Term]:
    """Return the independent draws of a column, with the scales of one draw's parts added, by path and stream."""
    found: dict[tuple[str, str], Term] = {}
    for term in column.terms:
        place = (term.path, term.stream)
        before = found.get(place)
        scale = term.scale + (before.scale if before else 0.0)
        found[place] = Term(term.path, term.stream, scale, term.chance, term.station, term.events)
    return found
