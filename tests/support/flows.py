"""Random Flows and schedules for engine tests: every step, nested, with state that is shared and ties that are many.

Most times are small whole numbers, so that events often fall on one instant; some are so small, or so large, that the
clock cannot resolve them, or nothing beside them; the rest come from every distribution. Parts are drawn one by one,
since a strategy for whole nested Flows would be a thousand times larger than any Flow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from hypothesis import strategies as st

from sim import flow as f
from sim.randomness import distributions as d
from sim.scenario.schedule import Schedule
from tests.support.schedules import at

Draw = Callable[[st.SearchStrategy[Any]], Any]


def one(*values: Any) -> st.SearchStrategy[Any]:
    """One of some values."""
    return st.sampled_from(values)


ROUTES = ("log", "balance", "search")
FAR = (1e-300, 1e-9, 1e6, 1e15)
"""Times beyond all measure: so short that the clock does not move, so long that it stands on whole milliseconds."""
WAYS = st.sampled_from([*ROUTES, "nobody's"])
NUMBERS = ("key", "size_bytes", "tokens_in", "tokens_out")
STREAMS = st.sampled_from(["a.one", "a.two", "b.one", "c.one", "alone"])
SHARED = one(False, False, True)
ERRORS = st.sampled_from(["overloaded", "refused", "error"])
INSTANCES, PRIORITIES, LOW = one(1, 1, 2, 3), one(0, 0, 1, 2, -5), st.integers(0, 3)
WHOLE = st.integers(0, 5).map(float)
TIMES = st.one_of(WHOLE, WHOLE, WHOLE, one(*FAR))
DISTRIBUTIONS = st.one_of(
    TIMES.map(lambda value: d.Constant(value=value)),
    st.sampled_from(
        [
            d.Uniform(low=0.0, high=4.0),
            d.Exponential(mean=2.0),
            d.Lognormal(median=2.0, p99=9.0),
            d.Weibull(mean=2.0, shape=0.7),
            d.Pareto(minimum=0.5, shape=1.5, maximum=50.0),
            d.Erlang(mean=3.0, stages=9),
            d.Hyperexponential(mean=2.0, cv2=4.0),
            d.Empirical(values=(0.0, 1.0, 1.0, 6.0)),
        ]
    ),
)


@dataclass(frozen=True)
class States:
    """The state that the steps of one Flow share.

    Attributes
    ----------
    stations : tuple of Station
        Those that may be waited for here.
    declared : tuple of Station
        All of them.
    """

    stations: tuple[f.Station, ...]
    declared: tuple[f.Station, ...]
    links: tuple[f.Link, ...]
    counters: tuple[f.Counter, ...]
    stamps: tuple[f.Stamp, ...]
    latch: f.Latch
    buckets: tuple[f.Bucket, ...]
    budgets: tuple[f.RetryBudget, ...]

    def inside(self, held: f.Station) -> "States":
        """What may be waited for while *held* is held: what comes after it, so that nobody waits in a circle."""
        return replace(self, stations=tuple(s for s in self.stations if s.discipline == "ps" or s.name > held.name))

    @property
    def whole(self) -> "States":
        """The same without any station held."""
        return replace(self, stations=self.declared)


def queues(stations: tuple[f.Station, ...]) -> tuple[f.Station, ...]:
    """Stations that have a queue, and so can be held."""
    return tuple(station for station in stations if station.discipline != "ps")


def states(draw: Draw) -> States:
    """Few names, so that steps meet at them; the first station always has a queue."""
    kinds = ("fcfs", draw(one("fcfs", "lcfs", "priority", "ps")), draw(one("lcfs", "priority", "ps")))
    stations = tuple(
        f.Station(
            f"s{i}",
            draw(one(1, 1, 2)),
            draw(INSTANCES),
            draw(one(None, None, 0, 1, 2)),
            kind,
            draw(ERRORS),
            queue=draw(one("", "", "s0", "b")),
        )
        for i, kind in enumerate(kinds)
    )
    return States(
        stations=stations,
        declared=stations,
        links=(f.Link("wire", 1000.0), f.Link("shared", 1000.0, shared=True, instances=draw(INSTANCES))),
        counters=tuple(f.Counter(name, draw(INSTANCES)) for name in ("rows", "log")),
        stamps=tuple(f.Stamp(name, draw(INSTANCES)) for name in ("written", "seen")),
        latch=f.Latch("alarm", draw(INSTANCES)),
        buckets=(f.Bucket("rate", draw(one(100.0, 700.0)), 2.0, draw(INSTANCES)), f.Bucket("wide", 1e9, 1.5)),
        budgets=(f.RetryBudget("budget", draw(one(0.0, 0.5)), 2.0), f.RetryBudget("rich", 2.0, 10.0)),
    )


def windows(draw: Draw) -> f.Windows:
    """Windows of a fault: scheduled or drawn, for all keys or some."""
    keys = draw(one({}, {}, {"keys": (0, 2)}, {"keys": (1,), "instances": 2}))
    if draw(one(False, False, True)):
        return f.Windows(random=f.Renewal("faults.one", draw(one(0.5, 3.0)), draw(one(1.0, 4.0)), 20.0), **keys)
    edges = sorted(draw(st.lists(one(-1.0, 0.0, 1.0, 2.5, 3.0, 7.0), min_size=0, max_size=6)))
    return f.Windows(tuple(zip(edges[::2], edges[1::2], strict=False)), **keys)


def time(draw: Draw, s: States) -> Any:
    """A distribution, or one that is scaled and grows."""
    distribution = draw(DISTRIBUTIONS)
    if draw(st.booleans()):
        return distribution
    of = draw(one(None, *s.counters, *NUMBERS))
    since = draw(one(None, *s.stamps)) if of is None else None
    paces = tuple(f.Pace(windows(draw), draw(one(0.0, 0.0, 0.1, 0.5, 1.0))) for _ in range(draw(one(0, 0, 1, 3))))
    return f.Time(
        distribution, draw(one(0.0, 0.5, 1.0)), draw(one(0.0, 0.25, 1.0)), of, draw(one(None, 0, 2)), paces, since
    )


CONDITIONS: tuple[Callable[[Draw, States], f.Condition], ...] = (
    *[lambda draw, _: f.Chance(draw(one(0.0, 0.3, 0.7, 1.0)), draw(STREAMS), shared=draw(SHARED))] * 2,
    lambda draw, s: f.Idle(draw(one(*queues(s.declared))), draw(WHOLE)),
    lambda draw, s: f.Waiting(draw(one(*s.declared)), draw(LOW)),
    lambda draw, s: f.CountAtLeast(draw(one(*s.counters)), draw(one(-1.0, 0.5, 1, 2, 3))),
    lambda draw, _: f.AttributeOver(draw(one(*NUMBERS)), draw(one(-1, 0, 1, 2.5))),
    lambda draw, _: f.During(start := draw(one(-1.0, 0.0, 1.0, 3.0)), start + draw(one(0.0, 1.0, 4.0, inf))),
    lambda draw, _: f.Within(windows(draw)),
    lambda draw, s: f.Drained(draw(one(*s.buckets))),
)


def condition(draw: Draw, s: States) -> f.Condition:
    """Any condition."""
    kind: Callable[[Draw, States], f.Condition] = draw(one(*CONDITIONS))
    return kind(draw, s)


def flow(draw: Draw, s: States, depth: int, least: int = 0) -> f.Flow:
    """Up to three steps; nested up to *depth*. Half of them nest, so that most flows are deep."""
    kinds = one(SIMPLE, NESTED) if depth else one(SIMPLE)
    return tuple(draw(one(*draw(kinds)))(draw, s, depth - 1) for _ in range(draw(st.integers(least, 3))))


def serve(draw: Draw, s: States, depth: int) -> f.Step:
    """Service, or a delay where nothing may be waited for."""
    if not s.stations:
        return f.Delay(time(draw, s), draw(STREAMS))
    where, category = draw(one(*s.stations)), draw(one("", "b"))
    return f.Serve(where, time(draw, s), draw(STREAMS), category, draw(PRIORITIES), shared=draw(SHARED))


def hold(draw: Draw, s: States, depth: int) -> f.Step:
    """A hold, or a branch where nothing may be held."""
    if not queues(s.stations):
        return f.Branch(condition(draw, s), flow(draw, s, depth))
    station = draw(one(*queues(s.stations)))
    return f.Hold(station, flow(draw, s.inside(station), depth), draw(PRIORITIES))


def parallel(draw: Draw, s: States, depth: int) -> f.Step:
    """One to three flows, or one many times over, of which some are needed."""
    flows = tuple(flow(draw, s, depth) for _ in range(draw(st.integers(1, 3)))) * draw(one(1, 1, 1, 7))
    return f.Parallel(flows, draw(st.integers(1, len(flows))), draw(STREAMS))


def attempt(draw: Draw, s: States, depth: int) -> f.Step:
    """A caller who tries again; only one that gives up in time may wait for what is held around it."""
    timeout_ms = draw(one(None, 1.0, 1.0, 2.0, 2.0, 4.5, 4.5, 1e-9, 1e300))
    return f.Attempt(
        flow(draw, s if timeout_ms is None else s.whole, depth),
        draw(STREAMS),
        timeout_ms=timeout_ms,
        retries=draw(one(0, 1, 1, 1, 2, 2, 5, 5)),
        backoff_ms=draw(one(0.0, 0.0, 1.0, 1.5, 1e308)),
        backoff_max_ms=draw(one(0.0, 2.0, 2.0, 60_000.0)),
        jitter=draw(st.booleans()),
        budget=draw(one(None, None, *s.budgets)),
        final=draw(one((), ("refused",), ("timeout",), ("error", "overloaded"))),
    )


def way_back(draw: Draw, s: States, depth: int) -> f.Flow:
    """Up to three steps that can neither fail nor wait; some of them in a branch or a loop."""

    def inside() -> f.Flow:
        return way_back(draw, s, depth - 1) if depth > 0 else ()

    steps: list[f.Step] = []
    for kind in draw(st.lists(one("delay", "delay", "transfer", "count", "mark", "branch", "repeat"), max_size=3)):
        if kind == "delay":
            steps.append(f.Delay(time(draw, s), draw(STREAMS), shared=draw(SHARED)))
        elif kind == "transfer":
            steps.append(f.Transfer(draw(one(*s.links)), "wire"))
        elif kind == "count":
            steps.append(f.Count(draw(one(*s.counters)), draw(one(1.0, -1.0, "key"))))
        elif kind == "mark":
            steps.append(f.Mark(draw(one(*s.stamps))))
        elif kind == "branch":
            steps.append(f.Branch(condition(draw, s), inside(), inside()))
        else:
            steps.append(
                f.Repeat(condition(draw, s), (f.Delay(time(draw, s), draw(STREAMS)), *inside()), draw(STREAMS), 2)
            )
    return tuple(steps)


SIMPLE: tuple[Callable[[Draw, States, int], f.Step], ...] = (
    *[serve] * 5,
    lambda draw, s, _: f.Delay(time(draw, s), draw(STREAMS), draw(one("", "b")), shared=draw(SHARED)),
    lambda draw, s, _: f.Transfer(draw(one(*s.links)), draw(one("wire", "b")), draw(one(*NUMBERS))),
    lambda draw, s, _: f.Guard(condition(draw, s), draw(ERRORS)),
    lambda draw, s, _: f.Count(draw(one(*s.counters)), draw(one(1.0, 0.5, -1.0, "tokens_in", "key"))),
    lambda draw, s, _: f.Reset(draw(one(*s.counters))),
    lambda draw, s, _: f.Move(*draw(st.permutations(s.counters))),
    lambda draw, s, _: f.Gather(draw(one(*queues(s.declared))), draw(one(*s.counters)), draw(one(None, 1, 2))),
    lambda draw, s, _: f.Mark(*draw(st.permutations(s.stamps))[: draw(one(1, 2))]),
)
NESTED: tuple[Callable[[Draw, States, int], f.Step], ...] = (
    hold,
    hold,
    parallel,
    attempt,
    attempt,
    lambda draw, s, depth: f.Finally(flow(draw, s, depth), way_back(draw, s, 1)),
    lambda draw, s, depth: f.Branch(condition(draw, s), flow(draw, s, depth), flow(draw, s, depth)),
    lambda draw, s, depth: f.Match(tuple((draw(WAYS), flow(draw, s, depth)) for _ in range(draw(LOW)))),
    lambda draw, s, depth: f.Hedge(flow(draw, s, depth), draw(one(0.0, 1.0, 2.5, 1e-9)), draw(STREAMS)),
    lambda draw, s, depth: f.Spawn(flow(draw, s.whole, depth), draw(STREAMS), time(draw, s), draw(one(None, s.latch))),
    lambda draw, s, depth: f.Repeat(
        condition(draw, s), flow(draw, s, depth, 1), draw(STREAMS), draw(st.integers(1, 3))
    ),
)


@st.composite
def any_flow(draw: Draw) -> f.Flow:
    """A Flow with at least two steps."""
    return flow(draw, states(draw), depth=3, least=2)


@st.composite
def any_schedule(draw: Draw) -> Schedule:
    """Up to 20 requests: an open loop with many ties, or a closed loop of a few users."""
    count = draw(st.integers(1, 20))

    def column(values: st.SearchStrategy[Any], kind: type = np.int64) -> Any:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype=kind)

    gaps_ms = column(one(0.0, 0.0, 0.5, 1.0, 2.0, 0.3, 1e-9, draw(one(0.0, 1e12))), np.float64)
    columns = {
        "routes": ROUTES,
        "route_code": column(st.integers(0, 2), np.int16),
        "key": column(one(0, 1, 2, 3, 4, 2**40)),
        "size_bytes": column(one(0, 1, 2, 1000, 2500)),
        "tokens_in": column(st.integers(0, 4)),
        "tokens_out": column(st.integers(0, 4)),
    }
    if draw(st.booleans()):
        return at(np.cumsum(gaps_ms), **columns)
    return at(np.zeros(count), user=column(LOW), think_ms=gaps_ms, **columns)
