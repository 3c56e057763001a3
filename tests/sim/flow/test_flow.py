"""Goal: a Flow that cannot be executed is refused where it is written. Method: one impossible part at a time."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import FrozenInstanceError, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from sim import flow as f
from sim.flow.validation import check
from sim.foundation.errors import ModelError
from sim.randomness.distributions import Constant, Exponential
from tests.support.flows import any_flow

ONE = Constant(value=1.0)
STATION, OTHER, SHARING = f.Station("s"), f.Station("o"), f.Station("p", discipline="ps")
DELAY = f.Delay(ONE, "d.d")

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
many = settings(suppress_health_check=SLOW_TO_DRAW)


def loop(step: f.Step) -> f.Step:
    """Five thousand turns of one step."""
    return f.Repeat(f.During(0.0, 1.0), (step,), "l.l", limit=5000)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: f.Station("s", servers=0), r"Station.servers=0 must be >= 1 \(s\)"),
        (lambda: f.Station("s", instances=0), r"Station.instances=0 must be >= 1"),
        (lambda: f.Station("s", queue_limit=-1), r"Station.queue_limit=-1 must be >= 0"),
        (lambda: f.Station("s", servers=10**20), r"Station.servers=100000000000000000000 must be <= 9007199254740992"),
        (lambda: f.Station("s", queue_limit=10**20), r"Station.queue_limit=10{20} must be <= 9007199254740992 \(s\)"),
        (lambda: f.Station("s", servers=cast("int", "2")), r"Station.servers='2' must be a whole number \(s\)"),
        (lambda: f.Station("s", servers=cast("int", 2.5)), r"Station.servers=2.5 must be a whole number \(s\)"),
        (lambda: f.Station("s", servers=True), r"Station.servers=True must be a whole number \(s\)"),
        (lambda: f.Station(""), r"Station.name='' must not be empty"),
        (lambda: f.Station(cast("str", 5)), r"Station.name=5 must be a text"),
        (cast("Any", f.Station), r"Station.name is missing"),
        (cast("Any", f.Delay), r"Delay.time is missing"),
        (lambda: cast("Any", f.Counter)("c", 1, 2), r"Counter.argument 3 is one too many \(c\)"),
        (lambda: cast("Any", f.Counter)("c", name="d"), r"Counter.name='d' got multiple values"),
        (lambda: f.Station("s", color="red"), r"Station.color='red' is not a field \(s\)"),  # type: ignore[call-arg]  # wrong on purpose
        (lambda: f.Station("s", discipline=cast("Any", "lifo")), r"Station.discipline='lifo' must be 'fcfs', 'lcfs'"),
        (lambda: f.Station("s", error=cast("Any", "ok")), r"Station.error='ok' must be 'timeout', 'overloaded'"),
        (lambda: f.Chance(cast("Any", "half"), "s.c"), r"Chance.probability='half' must be a number \(s.c\)"),
        (lambda: f.Chance(1.5, "s.c"), r"Chance.probability=1.5 must be <= 1 \(s.c\)"),
        (lambda: f.Idle(STATION, float("nan")), r"Idle.longer_than_ms=nan must be >= 0"),
        (lambda: f.Idle(SHARING, 1.0), r"Idle\(station='p'\) must not hold a processor-sharing station; use Serve"),
        (lambda: f.During(5.0, 4.0), r"During.end_ms=4.0 must be >= start_ms=5.0"),
        (lambda: f.During(5.0, float("nan")), r"During.end_ms=nan must be >= start_ms=5.0"),
        (lambda: f.CountAtLeast(f.Counter("c"), float("nan")), r"CountAtLeast.at_least=nan must be a finite number"),
        (lambda: f.Time(ONE, at_most=-1), r"Time.at_most=-1 must be >= 0"),
        (lambda: f.Time(ONE, scale=-0.5), r"Time.scale=-0.5 must be >= 0"),
        (lambda: f.Time(ONE, each_ms=float("nan")), r"Time.each_ms=nan must be a finite number"),
        (lambda: f.Time(cast("Any", -5.0)), r"Time.distribution=-5.0 must be a distribution"),
        (lambda: f.Time(ONE, of=cast("Any", "route")), r"Time.of='route' must be a Counter or one of key, size_bytes"),
        (lambda: f.Link("l", bytes_per_s=0.0), r"Link.bytes_per_s=0.0 must be > 0 \(l\)"),
        (lambda: f.Bucket("b", per_s=1.0, burst=0.5), r"Bucket.burst=0.5 must be >= 1"),
        (lambda: f.Serve(STATION, cast("Any", 5.0), "s.a"), r"Serve.time=5.0 must be a distribution or Time \(s.a\)"),
        (lambda: f.Serve(STATION, ONE, "s.a", priority=cast("int", 0.5)), r"Serve.priority=0.5 must be a whole number"),
        (lambda: f.Delay(ONE, cast("str", None)), r"Delay.stream=None must be a text"),
        (lambda: f.Hold(cast("Any", "s"), ()), r"Hold.station='s' must be a Station"),
        (lambda: f.Hold(STATION, cast("f.Flow", ("work",))), r"Hold.steps=\('work',\) must be a tuple of steps"),
        (lambda: f.Hold(STATION, cast("f.Flow", [DELAY])), r"Hold.steps=\[Delay.*\.\.\. must be a tuple of steps"),
        (lambda: f.Hold(SHARING, ()), r"Hold\(station='p'\) must not hold a processor-sharing station; use Serve"),
        (lambda: f.Guard(cast("Any", None), "error"), r"Guard.condition=None must be a condition of sim/flow/condit"),
        (lambda: f.Guard(f.Waiting(STATION, 1), cast("Any", "exploded")), r"Guard.error='exploded' must be 'timeout',"),
        (lambda: f.Guard(f.Waiting(STATION, 1), cast("Any", "ok")), r"Guard.error='ok' must be 'timeout', 'overloaded"),
        (lambda: f.Parallel(((), ()), 3, "p.p"), r"Parallel.need=3 must be <= 2, the number of flows \(p.p\)"),
        (lambda: f.Parallel(((), ()), 0, "p.p"), r"Parallel.need=0 must be >= 1 \(p.p\)"),
        (lambda: f.Parallel(((), ()), cast("int", 1.5), "p.p"), r"Parallel.need=1.5 must be a whole number \(p.p\)"),
        (lambda: f.Parallel(cast("Any", (DELAY,)), 1, "p.p"), r"Parallel.flows=.* must be a tuple of tuples of steps"),
        (lambda: f.Match(cast("Any", {"log": ()})), r"Match.routes={'log': \(\)} must be a tuple of pairs"),
        (lambda: f.Attempt((), "a.a", timeout_ms=0.0), r"Attempt.timeout_ms=0.0 must be > 0"),
        (lambda: f.Attempt((), "a.a", retries=20_000), r"Attempt.retries=20000 must be <= 10000 \(a.a\)"),
        (lambda: f.Attempt((), "a.a", retries=-1), r"Attempt.retries=-1 must be >= 0"),
        (lambda: f.Attempt((), "a.a", backoff_max_ms=-1.0), r"Attempt.backoff_max_ms=-1.0 must be >= 0"),
        (lambda: f.Attempt((), "a.a", backoff_ms=float("inf")), r"Attempt.backoff_ms=inf must be a finite number"),
        (
            lambda: f.Attempt((), "a.a", final=cast("Any", "refused")),
            r"Attempt.final='refused' must be a tuple of out",
        ),
        (lambda: f.Attempt((), "a.a", final=cast("Any", ("refusd",))), r"Attempt.final=\('refusd',\) must be a tuple"),
        (lambda: f.Repeat(f.Waiting(STATION, 1), (DELAY,), "r.r", limit=0), r"Repeat.limit=0 must be >= 1 \(r.r\)"),
        (lambda: f.Repeat(f.Waiting(STATION, 1), (), "r.r", limit=1), r"Repeat.steps=\(\) must be a tuple of at least"),
        (lambda: f.Count(f.Counter("c"), by=cast("Any", "route")), r"Count.by='route' must be a finite number or one "),
        (lambda: f.Count(f.Counter("c"), by=float("nan")), r"Count.by=nan must be a finite number or one of key"),
        (lambda: f.Count(f.Counter("c"), by=float("inf")), r"Count.by=inf must be a finite number"),
        (lambda: f.Custom(cast("Any", None), "mine"), r"Custom.process=None must be callable"),
    ],
)
def test_an_impossible_part_is_refused_where_it_is_built(build: Callable[[], Any], message: str) -> None:
    """The value, the rule, and which part, in one line."""
    with pytest.raises(ModelError, match=message) as refused:
        build()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ((), r"at least one step"),
        (
            (f.Serve(STATION, ONE, "s.a"), f.Serve(f.Station("s", servers=2), ONE, "s.b")),
            r"Station 's' is declared twice",
        ),
        ((cast("f.Step", "work"),), r"'work' is no step"),
        (cast("f.Flow", [DELAY]), r"flow=\[Delay.* must be a tuple of steps"),
        ((f.Hold(STATION, (f.Hold(STATION, ()),)),), r"Hold\(station='s'\) waits, while it holds"),
        ((f.Hold(STATION, (f.Hold(OTHER, ()),)), f.Hold(OTHER, (f.Serve(STATION, ONE, "s.a"),))), r"may wait for 'o'"),
        ((loop(loop(DELAY)),), r"may take 25000000 turns; loops and tries together must take <= 20000000"),
        (
            (f.Attempt((loop(f.Count(f.Counter("c"))),), "a.a", retries=9999),),
            r"Repeat\('l.l'\) may take 50000000 turns",
        ),
    ],
    ids=str,
)
def test_an_impossible_flow_is_refused(flow: f.Flow, message: str) -> None:
    """What no engine could execute is named."""
    with pytest.raises(ModelError, match=message):
        check(flow)


NOT_ON_THE_WAY_BACK: tuple[f.Step, ...] = (
    f.Guard(f.Chance(0.5, "s.fails"), "error"),
    f.Serve(STATION, ONE, "s.a"),
    f.Hold(STATION, ()),
    f.Attempt((DELAY,), "s.try"),
    f.Parallel(((DELAY,),), 1, "s.fork"),
    f.Hedge((DELAY,), 1.0, "s.hedge"),
    f.Spawn((DELAY,), "s.spawn"),
    f.Custom(lambda *_: iter(()), "mine"),
)


@pytest.mark.parametrize("step", NOT_ON_THE_WAY_BACK, ids=lambda step: type(step).__name__)
def test_a_way_back_that_could_fail_is_refused(step: f.Step) -> None:
    """Also inside of a branch of it."""
    name = type(step).__name__
    for after in ((step,), (f.Branch(f.During(0.0, 9.0), (DELAY, step)),)):
        with pytest.raises(ModelError, match=rf"Finally.after holds {name}, must hold only"):
            check((f.Finally((DELAY,), after),))


@many
@given(any_flow())
def test_parts_are_values(flow: f.Flow) -> None:
    """A part equals its copies, however they are made, and takes apart in a ``match``."""
    for part in f.walk(flow):
        fields = {name: getattr(part, name) for name in part.__dataclass_fields__}
        for copy in (replace(part), type(part)(**fields), pickle.loads(pickle.dumps(part)), deepcopy(part)):
            assert copy == part
            assert hash(copy) == hash(part)
    match flow[0]:
        case f.Delay(time, stream):
            assert (time, stream) == (flow[0].time, flow[0].stream)
    with pytest.raises(FrozenInstanceError):
        flow[0].stream = "another"  # type: ignore[misc, union-attr]  # frozen


def test_numbers_may_come_from_numpy() -> None:
    """A sweep over an array builds what the plain numbers build; a whole number may be written as a float."""
    station = f.Station("s", servers=cast("int", np.int64(2)), queue_limit=cast("int", 3.0))
    assert station == f.Station("s", servers=2, queue_limit=3)
    assert type(station.servers) is int
    assert f.Time(ONE, scale=cast("float", np.float32(0.5)), at_most=cast("int", np.uint8(4))) == f.Time(
        ONE, 0.5, at_most=4
    )


def test_categories_come_from_streams_and_stations() -> None:
    """Column names of the frame: the stream's first word, a station's queue, and what a step says itself."""
    flow: f.Flow = (
        f.Delay(ONE, "network.rtt"),
        f.Hold(f.Station("object"), (f.Serve(STATION, Exponential(mean=1.0), "s.work", category="cpu"),)),
        f.Attempt((f.Transfer(f.Link("wire", bytes_per_s=1.0), "r2"),), "client.attempt"),
    )
    assert f.categories(flow) == ("client", "cpu", "network", "object_queue", "r2", "s_queue")


@pytest.mark.parametrize(
    "inner",
    [f.Spawn((f.Hold(STATION, ()),), "s.later"), f.Attempt((f.Hold(STATION, ()),), "s.try", timeout_ms=1.0)],
    ids=["spawned", "timed"],
)
def test_a_wait_that_ends_by_itself_is_no_circle(inner: f.Step) -> None:
    """A follower waits without holding; a caller gives up and lets go."""
    check((f.Hold(STATION, (inner,)),))
