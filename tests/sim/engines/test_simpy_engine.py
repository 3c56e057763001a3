"""Goal: every step means what ``sim/flow/steps.py`` says.

Method: a handful of requests with constant times, answers worked out by hand.
"""

import numpy as np
import pytest

from sim import flow as f
from sim.engines.simpy_engine import simulate
from sim.randomness.distributions import Constant, Exponential
from tests.support.schedules import at, poisson


def ms(value: float) -> Constant:
    """A constant time."""
    return Constant(value=value)


def latencies(flow: f.Flow, arrival_ms: list[float], **columns: object) -> list[float]:
    """Latency of each request, in ms."""
    return [float(x) for x in simulate(flow, at(arrival_ms, **columns), seed=1).latency_ms]


def outcomes(flow: f.Flow, arrival_ms: list[float], **columns: object) -> list[str]:
    """Outcome of each request."""
    return [f.OUTCOMES[code] for code in simulate(flow, at(arrival_ms, **columns), seed=1).outcome]


def test_one_server_serves_in_order_of_arrival() -> None:
    """Three requests at once wait 0, 10 and 20 ms for a server that takes 10."""
    assert latencies((f.Serve(f.Station("s"), ms(10), "s.work"),), [0, 0, 0]) == [10, 20, 30]


def test_instances_are_chosen_by_key() -> None:
    """Two keys have a server each."""
    flow = (f.Serve(f.Station("s", instances=2), ms(10), "s.work"),)
    assert latencies(flow, [0, 0, 0, 0], key=np.array([0, 1, 0, 1])) == [10, 10, 20, 20]


def test_a_full_queue_refuses_with_the_stations_error() -> None:
    """One in service, one waiting, the third is turned away at once."""
    flow = (f.Serve(f.Station("s", queue_limit=1), ms(10), "s.work"),)
    assert outcomes(flow, [0, 0, 0]) == ["ok", "ok", "overloaded"]
    assert latencies(flow, [0, 0, 0]) == [10, 20, 0]


def test_a_hold_keeps_the_server_across_its_steps() -> None:
    """The delay inside counts as occupation, the delay behind does not."""
    flow = (f.Hold(f.Station("s"), (f.Delay(ms(10), "a.a"),)), f.Delay(ms(5), "b.b"))
    assert latencies(flow, [0, 0]) == [15, 25]


def test_a_failure_releases_what_was_held() -> None:
    """The second request is served although the first failed inside the hold."""
    guard = f.Guard(f.AttributeOver("size_bytes", 100), "too_large")
    flow = (f.Hold(f.Station("s"), (f.Delay(ms(10), "a.a"), guard)),)
    assert outcomes(flow, [0, 0], size_bytes=np.array([200, 50])) == ["too_large", "ok"]
    assert latencies(flow, [0, 0], size_bytes=np.array([200, 50])) == [10, 20]


def test_idle_is_the_time_between_a_release_and_the_next_hold() -> None:
    """First use is cold; 50 ms of idling is not longer than 50; 51 is."""
    station = f.Station("s")
    flow = (f.Hold(station, (f.Branch(f.Idle(station, 50), (f.Delay(ms(100), "s.cold"),)), f.Delay(ms(1), "s.work"))),)
    assert latencies(flow, [0, 151, 203]) == [101, 1, 101]


def test_a_priority_station_serves_the_lowest_number_first() -> None:
    """Of two waiting requests the later one overtakes."""
    station = f.Station("s", discipline="priority")
    urgent = f.Serve(station, ms(10), "s.work", priority=0)
    plain = f.Serve(station, ms(10), "s.work", priority=1)
    flow = (f.Match((("plain", (plain,)), ("urgent", (urgent,)))),)
    codes = np.array([0, 0, 1], dtype=np.int16)
    assert latencies(flow, [0, 1, 2], routes=("plain", "urgent"), route_code=codes) == [10, 29, 18]


def test_the_newest_is_served_first() -> None:
    """Of three that wait the last goes first, and one that comes meanwhile before the others."""
    flow = (f.Serve(f.Station("s", discipline="lcfs"), ms(10), "s.work"),)
    assert latencies(flow, [0, 1, 2, 3, 15]) == [10, 49, 38, 17, 15]


def test_what_was_gathered_is_served_before_all_that_comes() -> None:
    """At 10 the first gathers the newest two of three; one that comes at 12 waits for them, but not for the oldest."""
    station, gathered = f.Station("s", discipline="lcfs"), f.Counter("gathered")
    lead = (f.Delay(ms(10), "s.lead"), f.Gather(station, gathered, at_most=2), f.Delay(ms(5), "s.rest"))
    once = f.Branch(f.CountAtLeast(gathered, 1), (f.Delay(ms(1), "s.work"),), lead)
    assert latencies((f.Hold(station, (once,)),), [0, 1, 2, 3, 12]) == [15, 18, 15, 13, 6]


def test_processor_sharing_slows_all_alike() -> None:
    """Two jobs of 10 ms from 0 and 5: alone 5, shared 10, then the second alone for 5."""
    flow = (f.Serve(f.Station("s", discipline="ps"), ms(10), "s.work"),)
    assert latencies(flow, [0, 5]) == [15, 15]


def test_a_shared_link_divides_its_bandwidth_and_a_private_one_does_not() -> None:
    """1,000 bytes at 1,000 B/s: alone a second, two at once two seconds."""
    shared = (f.Transfer(f.Link("wire", bytes_per_s=1000.0, shared=True), "wire"),)
    private = (f.Transfer(f.Link("wire", bytes_per_s=1000.0), "wire"),)
    sizes = np.array([1000, 1000])
    assert latencies(shared, [0, 0], size_bytes=sizes) == [2000, 2000]
    assert latencies(private, [0, 0], size_bytes=sizes) == [1000, 1000]


def test_times_grow_with_counters_up_to_a_bound() -> None:
    """The n-th append costs 1 + n ms, at most 3."""
    log = f.Counter("log")
    grows = f.Time(ms(1), each_ms=1.0, of=log, at_most=2)
    flow = (f.Delay(grows, "a.a"), f.Count(log))
    assert latencies(flow, [0, 100, 200, 300]) == [1, 2, 3, 3]


def test_parallel_waits_for_as_many_as_it_needs() -> None:
    """All, the first, and two of three."""
    flows = tuple((f.Delay(ms(t), f"a.{t}"),) for t in (10, 20, 30))
    assert [latencies((f.Parallel(flows, need, "p.p"),), [0])[0] for need in (1, 2, 3)] == [10, 20, 30]


def test_parallel_fails_when_success_has_become_impossible() -> None:
    """Two needed of two, one fails at 10 ms: nobody waits for the other."""
    failing = (f.Delay(ms(10), "a.a"), f.Guard(f.AttributeOver("key", -1), "error"))
    flow = (f.Parallel((failing, (f.Delay(ms(50), "b.b"),)), 2, "p.p"),)
    assert (latencies(flow, [0]), outcomes(flow, [0])) == ([10], ["error"])


def test_a_hedge_sends_a_second_copy_only_when_the_first_is_late() -> None:
    """One server of 10 ms hedged after 15 ms: never; after 4 ms: the copy queues behind the original."""
    serve = (f.Serve(f.Station("s"), ms(10), "s.work"),)
    late = simulate((f.Hedge(serve, 15.0, "h.h"),), at([0]), seed=1)
    early = simulate((f.Hedge(serve, 4.0, "h.h"),), at([0]), seed=1)
    assert (late.stations[0].served, early.stations[0].served) == (1, 2)
    assert early.latency_ms[0] == 10


def test_a_timed_out_attempt_keeps_its_place_and_its_server() -> None:
    """A retry after 15 ms of a 20 ms job waits behind its own zombie until 20, then works to 40."""
    flow = (f.Attempt((f.Serve(f.Station("s"), ms(20), "s.work"),), "c.a", timeout_ms=15.0, retries=1),)
    run = simulate(flow, at([0]), seed=1)
    assert (run.latency_ms[0], f.OUTCOMES[run.outcome[0]], run.attempts[0]) == (30, "timeout", 2)
    assert (run.stations[0].served, run.end_ms) == (2, 40)


def test_backoff_doubles_up_to_its_bound() -> None:
    """Four tries that fail at once wait 10, 20 and, bounded, 25 ms."""
    broken = (f.Guard(f.AttributeOver("key", -1), "error"),)
    flow = (f.Attempt(broken, "c.a", retries=3, backoff_ms=10.0, backoff_max_ms=25.0),)
    assert (latencies(flow, [0]), outcomes(flow, [0])) == ([55], ["error"])


def test_a_final_error_is_not_tried_again() -> None:
    """A request that is itself wrong fails once."""
    broken = (f.Guard(f.AttributeOver("key", -1), "refused"),)
    flow = (f.Attempt(broken, "c.a", retries=3, backoff_ms=10.0, final=("refused",)),)
    assert (latencies(flow, [0]), outcomes(flow, [0])) == ([0], ["refused"])


def test_a_retry_budget_is_spent_and_earned() -> None:
    """Burst 1: the first failing request retries once, the next earns 0.5 and cannot, the third has 1 again."""
    broken = (f.Guard(f.AttributeOver("key", -1), "error"),)
    flow = (f.Attempt(broken, "c.a", retries=1, budget=f.RetryBudget("b", ratio=0.5, burst=1.0)),)
    assert simulate(flow, at([0, 10, 20]), seed=1).attempts.tolist() == [2, 1, 2]


def test_a_token_bucket_refills_with_time() -> None:
    """Two tokens at once, then one every 100 ms."""
    flow = (f.Guard(f.Drained(f.Bucket("b", per_s=10.0, burst=2.0)), "refused"), f.Delay(ms(1), "a.a"))
    assert outcomes(flow, [0, 0, 0, 99, 101]) == ["ok", "ok", "refused", "refused", "ok"]


def test_an_outage_window_includes_its_start_and_not_its_end() -> None:
    """From 10 to 20."""
    flow = (f.Guard(f.During(10.0, 20.0), "error"), f.Delay(ms(1), "a.a"))
    assert outcomes(flow, [9, 10, 19, 20]) == ["ok", "error", "error", "ok"]


def test_a_latched_spawn_starts_once_and_again_after_it_started() -> None:
    """Three requests within the alarm's delay arm it once; a fourth, after it rang, arms it again."""
    alarm = f.Spawn((f.Serve(f.Station("alarm"), ms(1), "alarm.work"),), "alarm.set", after=ms(50), once=f.Latch("a"))
    flow = (f.Delay(ms(1), "a.a"), alarm)
    run = simulate(flow, at([0, 10, 20, 100]), seed=1)
    assert run.stations[0].served == 2
    assert run.latency_ms.tolist() == [1, 1, 1, 1]


def test_a_repeat_ends_when_its_condition_does() -> None:
    """Five pending rows leave in chunks of two: three turns of 10 ms."""
    rows = f.Counter("rows")
    turn = (f.Delay(ms(10), "a.a"), f.Count(rows, by=-2.0))
    flow = (f.Count(rows, by=5.0), f.Repeat(f.CountAtLeast(rows, 1), turn, "r.r", limit=100))
    assert latencies(flow, [0]) == [30]


def test_a_closed_loop_user_asks_again_only_after_the_answer() -> None:
    """One user thinks 5 ms before each of three requests of 10 ms."""
    user = np.zeros(3, dtype=np.int64)
    run = simulate((f.Delay(ms(10), "a.a"),), at([0.0, 0.0, 0.0], user=user, think_ms=np.full(3, 5.0)), seed=1)
    assert run.arrival_ms.tolist() == [5, 20, 35]


def test_a_custom_process_takes_part_in_the_clock() -> None:
    """A user's own SimPy generator is attributed to its category."""

    def process(env, token):  # type: ignore[no-untyped-def]  # the simplest thing a user would write
        yield env.timeout(7)

    run = simulate((f.Custom(process, "mine"),), at([0.0, 1.0]), seed=1)
    assert run.categories["mine"].tolist() == [7, 7]


@pytest.mark.parametrize("seed", [1, 2])
def test_categories_add_up_to_the_latency(seed: int) -> None:
    """Also across retries, joins and queues: what a request waited for is attributed somewhere, once."""
    station = f.Station("s", servers=2, queue_limit=4)
    work = (f.Delay(Exponential(mean=1.0), "a.a"), f.Serve(station, Exponential(mean=5.0), "s.work"))
    flow = (
        f.Attempt(
            (f.Parallel((work, work), 2, "p.p"),), "c.a", timeout_ms=30.0, retries=2, backoff_ms=3.0, jitter=True
        ),
        f.Hedge(work, 8.0, "h.h"),
    )
    run = simulate(flow, poisson(3000, rate_per_s=120), seed=seed)
    attributed = sum(run.categories.values())
    assert len(set(run.outcome.tolist())) > 1
    assert np.allclose(attributed, run.latency_ms, rtol=1e-9, atol=1e-9)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two runs in one process are equal to the last bit, another seed is not."""
    flow = (f.Serve(f.Station("s"), Exponential(mean=5.0), "s.work"),)
    one, two, other = (simulate(flow, poisson(500, rate_per_s=100), seed=seed) for seed in (3, 3, 4))
    assert one.latency_ms.tobytes() == two.latency_ms.tobytes() != other.latency_ms.tobytes()


def test_a_what_if_keeps_the_draws_that_it_does_not_change() -> None:
    """With twice the servers every request draws the same service time: no request gets slower."""
    few, many = (
        simulate(
            (f.Serve(f.Station("s", servers=c), Exponential(mean=5.0), "s.work"),),
            poisson(2000, rate_per_s=150),
            seed=5,
        )
        for c in (1, 2)
    )
    assert few.categories["s"].tobytes() == many.categories["s"].tobytes()
    assert (many.latency_ms <= few.latency_ms + 1e-9).all()
