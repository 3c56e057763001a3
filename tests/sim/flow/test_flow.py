"""Goal: a Flow that cannot be executed is refused where it is written. Method: one impossible part at a time."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from sim import flow as f
from sim.errors import ModelError
from sim.flow.validation import check
from sim.randomness.distributions import Constant, Exponential

ONE = Constant(value=1.0)
STATION, OTHER = f.Station("s"), f.Station("o")


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
        (lambda: f.Station("s", servers=cast("int", "2")), r"Station.servers='2' must be a number \(s\)"),
        (lambda: f.Chance(cast("Any", "half"), "s.c"), r"Chance.probability='half' must be a number \(s.c\)"),
        (lambda: f.Station("s", servers=cast("int", 2.5)), r"Station.servers=2.5 must be a whole"),
        (
            lambda: f.Station("s", discipline=cast("Any", "lifo")),
            r"Station.discipline='lifo' must be one of fcfs, priority, ps \(s\)",
        ),
        (lambda: f.Idle(STATION, float("nan")), r"Idle.longer_than_ms=nan must be >= 0"),
        (lambda: f.During(5.0, 4.0), r"During.end_ms=4.0 must be >= 5.0"),
        (lambda: f.Time(ONE, at_most=-1), r"Time.at_most=-1 must be >= 0"),
        (lambda: f.Link("l", bytes_per_s=0.0), r"Link.bytes_per_s=0.0 must be > 0"),
        (lambda: f.Bucket("b", per_s=1.0, burst=0.5), r"Bucket.burst=0.5 must be >= 1"),
        (lambda: f.Time(ONE, scale=-0.5), r"Time.scale=-0.5 must be >= 0"),
        (lambda: f.Time(ONE, each_ms=float("nan")), r"Time.each_ms=nan must be >= 0"),
        (lambda: f.Chance(1.5, "s.c"), r"probability=1.5 must be between 0 and 1"),
        (lambda: f.Parallel(((), ()), 3, "p.p"), r"need=3 must be between 1 and the number of flows, 2"),
        (lambda: f.Attempt((), "a.a", timeout_ms=0.0), r"Attempt.timeout_ms=0.0 must be > 0"),
        (lambda: f.Attempt((), "a.a", retries=20_000), r"Attempt.retries=20000 must be <= 10000 \(a.a\)"),
        (lambda: f.Attempt((), "a.a", backoff_max_ms=-1.0), r"Attempt.backoff_max_ms=-1.0 must be >= 0 and finite"),
        (lambda: f.Attempt((), "a.a", retries=-1), r"Attempt.retries=-1 must be >= 0"),
        (lambda: f.Repeat(f.Waiting(STATION, 1), (), "r.r", limit=0), r"Repeat.limit=0 must be >= 1"),
    ],
)
def test_an_impossible_part_is_refused_with_its_value(build: Callable[[], Any], message: str) -> None:
    """The value, the rule, and which part."""
    with pytest.raises(ModelError, match=message):
        build()


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ((), r"at least one step"),
        (
            (f.Serve(STATION, ONE, "s.a"), f.Serve(f.Station("s", servers=2), ONE, "s.b")),
            r"Station 's' is declared twice",
        ),
        ((f.Hold(f.Station("p", discipline="ps"), ()),), r"must not hold a processor-sharing station"),
        ((f.Guard(f.Waiting(STATION, 1), "exploded"),), r"error='exploded' must be one of timeout, overloaded"),
        ((f.Repeat(f.Waiting(STATION, 1), (), "r.r", limit=1),), r"must repeat at least one step"),
        ((f.Guard(f.Waiting(STATION, 1), "ok"),), r"error='ok' must be one of timeout"),
        ((f.Branch(f.Idle(f.Station("p", discipline="ps"), 1.0), ()),), r"must not hold a processor-sharing station"),
        ((f.Hold(STATION, cast("f.Flow", ("work",))),), r"Hold.steps=\('work',\) must be a tuple of steps"),
        ((cast("f.Step", "work"),), r"'work' is no step"),
        (cast("f.Flow", [f.Delay(ONE, "d.d")]), r"flow=\[Delay.* must be a tuple of steps"),
        ((f.Serve(STATION, cast("Any", 5.0), "s.a"),), r"Serve.time=5.0 must be a law or Time \(s.a\)"),
        ((f.Delay(f.Time(cast("Any", -5.0)), "d.d"),), r"Time.law=-5.0 must be a law"),
        ((f.Hold(cast("Any", "s"), ()),), r"Hold.station='s' must be Station"),
        ((f.Guard(cast("Any", None), "error"),), r"Guard.condition=None must be Chance or Idle or"),
        (
            (f.Guard(f.CountAtLeast(f.Counter("c"), float("nan")), "error"),),
            r"CountAtLeast.at_least=nan must be a number",
        ),
        ((f.Serve(STATION, ONE, "s.a", priority=cast("int", 0.5)),), r"Serve.priority=0.5 must be a whole number"),
        ((f.Parallel(((), ()), cast("int", 1.5), "p.p"),), r"Parallel.need=1.5 must be a whole number \(p.p\)"),
        ((f.Parallel(cast("Any", (f.Delay(ONE, "d.d"),)), 1, "p.p"),), r"must be a tuple, each entry a tuple of steps"),
        ((f.Match(cast("Any", {"log": ()})),), r"Match.routes={'log': \(\)} must be a tuple, each entry \(a text, a"),
        (
            (f.Attempt((), "a.a", final=cast("Any", "refused")),),
            r"Attempt.final='refused' must be a tuple, each entry a",
        ),
        ((f.Attempt((), "a.a", final=("refusd",)),), r"Attempt.final=\('refusd',\) must hold none but timeout, overl"),
        ((f.Custom(None, "mine"),), r"Custom.process=None must be a function"),
        ((f.Count(f.Counter("c"), by="route"),), r"Count.by='route' must be one of key, size_bytes"),
        ((f.Count(f.Counter("c"), by=float("nan")),), r"Count.by=nan must be a number or one of"),
        ((f.Count(f.Counter("c"), by=float("inf")),), r"Count.by=inf must be finite"),
        ((f.Hold(STATION, (f.Hold(STATION, ()),)),), r"Hold\(station='s'\) waits, while it holds"),
        ((f.Hold(STATION, (f.Hold(OTHER, ()),)), f.Hold(OTHER, (f.Serve(STATION, ONE, "s.a"),))), r"may wait for 'o'"),
        (
            (loop(loop(f.Delay(ONE, "d.d"))),),
            r"may take 25000000 turns; loops and tries together must take <= 20000000",
        ),
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
