"""Sizings: the choices of one design number.

Goal: what a sizing says beside its choices is what theory says, the answer is one of those that cannot be told from
the best, and nonsense is refused in one line. Method: closed forms (cold share, detection delay, Erlang C, parts),
scenarios that are known queues, and properties over drawn options.
"""

from math import exp, inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.experiments.capacity import capacity
from sim.experiments.sizing import probes
from sim.experiments.sizing.choices import Option, compared
from sim.experiments.sizing.one_down import one_down
from sim.experiments.sizing.runs import long_enough
from sim.experiments.sizing.servers import most_busy, needed, rate_at, servers
from sim.experiments.sizing.shards import cold_share
from sim.experiments.sizing.size import SIZINGS, size
from sim.foundation.errors import UsageError
from sim.report import plots
from sim.report.sizing_tables import ANSWER, WORSE, answer, mark, sizing
from sim.runners.play import run
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening import screen
from sim.theory import erlang_c
from tests.support.one_queue import CHANGES, MU_PER_S, NOTHING, as_one_queue, judged_by

DEVICES = {"system.tunnel.idle_timeout_s": 30.0, "system.tunnel.reconnect_ms": 200.0}


def one_object(folder: Path, *, service_ms: float, target_ms: float) -> Scenario:
    """One Durable Object that is never evicted: M/M/1."""
    changes: dict[str, Any] = {
        **CHANGES,
        "system.durable_objects.shards": 1,
        "system.durable_objects.rtt_ms": NOTHING,
        "system.durable_objects.evict_idle_ms": 1e12,
        "system.durable_objects.cold_start_ms": NOTHING,
        "system.durable_objects.output_gate_ms": NOTHING,
        "system.durable_objects.write_ms": {"distribution": "exponential", "mean": service_ms},
        "system.durable_objects.queue_limit": 1_000_000,
        "workload.duration_s": 60,
        "workload.warm_up_s": 0,
        "routes": {"write": {"share": 1, "steps": ["durable_objects.write"]}},
    }
    return judged_by(folder, ("api_latency_ms", target_ms)).with_(**changes)


@pytest.mark.parametrize(("service_ms", "target_ms"), [(2.44, 50.0), (5.0, 200.0), (16.0, 500.0)])
def test_capacity_of_one_object_is_that_of_the_closed_form(tmp_path: Path, service_ms: float, target_ms: float) -> None:
    """``1/S - ln(100)/T``: the P99 of M/M/1 is ln 100 / (mu - lambda)."""
    found = capacity(one_object(tmp_path, service_ms=service_ms, target_ms=target_ms))
    assert found.estimate.holds(1000 / service_ms - 1000 * np.log(100) / target_ms)
    assert found.bottleneck == "durable_objects"


# Choices.

seen = st.lists(st.floats(1.0, 1_000.0), min_size=3, max_size=3).map(np.array)


@given(st.lists(seen, min_size=1, max_size=6), st.sampled_from(["below", "above"]))
def test_answer_is_as_good_and_the_best_is_among_them(rows: list[Any], direction: Any) -> None:
    options = [Option(place, str(place), float(place), row) for place, row in enumerate(rows)]
    choices, place = compared(options, unit="ms", direction=direction)
    means = [row.mean() for row in rows]
    best = int(np.argmin(means) if direction == "below" else np.argmax(means))
    assert choices[place].as_good
    assert choices[best].as_good
    assert place == min(number for number, one in enumerate(choices) if one.as_good)


def test_difference_beyond_the_zone_is_worse_and_within_it_is_not() -> None:
    base = np.array([100.0, 110.0, 90.0, 105.0])
    options = [Option(k, str(k), 0.0, base * factor) for k, factor in enumerate((1.5, 1.01, 1.0))]
    choices, place = compared(options, unit="ms")
    assert [one.as_good for one in choices] == [False, True, True]
    assert place == 1, "the plainest of those that are as good"


def test_choice_that_is_far_behind_with_a_wide_interval_is_not_settled_and_never_the_answer() -> None:
    options = [Option(0, "cheap", 0.0, np.array([60.0, 80.0])), Option(1, "dear", 9.0, np.array([1.0, 1.0]))]
    choices, place = compared(options, unit="s")
    assert choices[0].behind is not None
    assert choices[0].behind.low < 0 < choices[0].behind.value, "two seeds leave it open"
    assert (place, choices[0].as_good, choices[0].undecided) == (1, False, True)


def test_cheaper_of_two_that_are_as_good_is_chosen() -> None:
    row = np.array([1.0, 2.0, 3.0])
    assert compared([Option(0, "a", 9.0, row), Option(1, "b", 3.0, row)], unit="s")[1] == 1


def test_choice_that_fails_a_seed_is_never_the_answer() -> None:
    bad, good = np.array([1.0, inf, 1.0]), np.array([9.0, 9.0, 9.0])
    choices, place = compared([Option(0, "bad", 0.0, bad), Option(1, "good", 1.0, good)], unit="ms")
    assert (place, choices[0].as_good) == (1, False)
    with pytest.raises(UsageError, match="every choice"):
        compared([Option(0, "bad", 0.0, bad)], unit="ms")


# Shards.


def valley(**changes: Any) -> Scenario:
    """Objects of which one is too few and one a key are too many."""
    routes = {"write": {"share": 1, "steps": ["durable_objects.write"]}}
    slow = {"distribution": "exponential", "mean": 8.0}
    changes = {"system.durable_objects.write_ms": slow, "workload.keys": {"count": 4_000, "zipf": 0.0}, **changes}
    return load_scenario("launch").with_(**{"routes": routes, "workload.arrivals.rate_per_s": 100.0, **changes})


def test_numbers_of_objects_have_a_valley() -> None:
    found = size(valley(), "shards", values=[1, 16, "per_key"], seeds=3)
    one, some, per_key = found.choices
    assert found.answer is some
    assert one.objective.low > some.objective.high
    assert per_key.objective.low > some.objective.high
    assert per_key.beside["cold, %"] > 10 > some.beside["cold, %"]
    assert [mark(found, choice) for choice in found.choices] == [WORSE, ANSWER, WORSE]


def test_cold_share_is_that_of_the_simulation() -> None:
    """A start takes a second, so whoever takes longer than half has met, or waited for, a cold object."""
    calm = {
        "system.durable_objects.cold_start_ms": {"distribution": "constant", "value": 1_000.0},
        "system.durable_objects.write_ms": NOTHING,
        "system.client.timeout_ms": 1e6,
        "workload.keys.count": 20_000,
        "workload.arrivals.rate_per_s": 50.0,
    }
    scenario = long_enough(valley(**calm), warm_up_s=80.0)
    frame = run(scenario, rng=3).steady().frame
    shown = (frame["durable_objects_ms"] > 500).mean()
    expected = cold_share(scenario, scenario.system.instances["durable_objects"])
    assert expected == pytest.approx(exp(-50.0 / 20_000 * 70.0), rel=0.01)
    assert shown == pytest.approx(expected, abs=0.01)


# Probes.


@pytest.mark.parametrize(("failures", "share"), [(1, 1.0), (3, 1.0), (1, 0.4), (2, 0.5), (3, 0.7)])
def test_detection_delay_is_that_of_the_closed_form(failures: int, share: float) -> None:
    delays_s = probes.delays_s(10.0, failures, seed=5, failing_share=share)
    error = 4 * delays_s.std() / np.sqrt(delays_s.size)
    assert delays_s.mean() == pytest.approx(probes.delay_mean_s(10.0, failures, failing_share=share), abs=error)


def test_rare_probes_are_late_and_probes_believed_at_once_raise_false_alarms() -> None:
    found = size(load_scenario("launch"), "probe_interval", values=[300, 10], seeds=3)
    by_name = {one.name: one for one in found.choices}
    assert by_name["300 s, 2 in a row"].beside["noticed after, s"] > 400
    assert (
        by_name["10 s, at once"].beside["false alarms a month"]
        > by_name["10 s, 2 in a row"].beside["false alarms a month"]
    )
    assert found.answer.name == "10 s, 2 in a row"


# The tunnel.


def test_heartbeat_must_come_before_the_timeout() -> None:
    found = size(load_scenario("launch").with_(**DEVICES), "heartbeat", values=[0, 30, 20], seeds=3)
    assert [one.as_good for one in found.choices] == [False, False, True]
    assert found.choices[0].objective == found.choices[1].objective, "a heartbeat at the timeout is none (H36)"


def test_longer_idle_timeout_finds_fewer_dead_connections() -> None:
    found = size(load_scenario("launch").with_(**DEVICES), "idle", values=[5, 300], seeds=3)
    short, long = found.choices
    assert short.objective.low > long.objective.high
    assert short.beside["found quiet, %"] == pytest.approx(100 * exp(-0.15 * 57.9 / 200 * 5), rel=0.01)


def test_heartbeat_needs_a_timer() -> None:
    with pytest.raises(UsageError, match=r"idle_timeout_s=0 must be > 0"):
        size(load_scenario("launch"), "heartbeat")


# R2 and D1.


def test_parts_lose_what_the_closed_form_says() -> None:
    big = {"distribution": "constant", "value": 1e9}
    changes = {"system.r2.part_rtt_ms": 50.0, "routes.upload.size_bytes": big, "system.client.timeout_ms": 1e6}
    found = size(load_scenario("launch").with_(**changes), "part_size", values=[5], seeds=2)
    for one in found.choices:
        assert one.objective.value == pytest.approx(one.beside["closed form, MB/s"], rel=0.01)
    assert found.choices[0].name == "5 MiB x 1", "a body of 1 GB is refused whole"
    assert not found.choices[0].as_good


def test_split_database_is_the_queue_with_that_share_of_the_load(tmp_path: Path) -> None:
    """Even keys on two databases: each is M/M/1 at half the rate."""
    rate = {"workload.arrivals.rate_per_s": 160.0, "workload.keys.zipf": 0.0, "workload.duration_s": 600}
    queue = as_one_queue(judged_by(tmp_path, ("api_latency_ms", 200.0)), **rate)
    found = size(queue, "d1_split", values=[1, 2], seeds=6)
    for one, load in zip(found.choices, (160.0, 80.0), strict=True):
        assert one.objective.value == pytest.approx(1000 * np.log(100) / (MU_PER_S - load), rel=0.06)
        assert one.beside["busiest database, %"] == pytest.approx(100 * load / MU_PER_S, rel=0.03)
    assert found.answer.name == "2"


# Servers.


@given(st.floats(0.01, 200.0), st.floats(0.05, 0.9))
def test_servers_that_are_needed_are_the_fewest(busy: float, limit: float) -> None:
    count = needed(busy, limit=limit)
    assert busy < count
    assert erlang_c(busy, count) <= limit + 1e-9
    assert count == 1 or busy >= count - 1 or erlang_c(busy, count - 1) > limit - 1e-9


@given(st.integers(1, 100), st.floats(0.05, 0.9))
def test_most_busy_is_the_load_at_the_limit(count: int, limit: float) -> None:
    assert erlang_c(most_busy(count, limit=limit), count) == pytest.approx(limit, rel=1e-6)


def test_share_that_waits_is_erlang_c(tmp_path: Path) -> None:
    queue = as_one_queue(judged_by(tmp_path, ("api_latency_ms", 200.0)), **{"workload.arrivals.rate_per_s": 100.0})
    row = next(row for row in servers(queue, seeds=6).rows if row.station == "d1")
    assert row.waiting_share == pytest.approx(0.5, rel=0.01)
    assert row.simulated_share.value == pytest.approx(0.5, abs=0.02)
    assert (row.needed_servers, row.needed_instances) == (2, 2)
    assert row.kept_per_s == pytest.approx(0.3 * MU_PER_S, rel=0.01)


def test_rate_that_is_kept_counts_the_work_that_does_not_grow_with_the_requests() -> None:
    phase4 = load_scenario("phase4")
    row = next(row for row in servers(phase4, seeds=2).rows if row.station == "d1")
    at_the_limit = next(one for one in screen(phase4, row.kept_per_s).rows if one.station == "d1")
    assert erlang_c(at_the_limit.busiest_utilization, 1) == pytest.approx(0.3, rel=1e-3)
    in_proportion = screen(phase4).rate_per_s * 0.3 / row.busy_servers_mean
    assert row.kept_per_s < 0.85 * in_proportion


@given(st.floats(0, 2), st.floats(1e-3, 1e3), st.floats(0.01, 1), st.floats(0.1, 1e3))
def test_rate_at_a_load_is_found_where_a_straight_line_meets_it(
    own: float, per: float, limit: float, near: float
) -> None:
    found, exact = rate_at(lambda rate: own + per * rate, limit=limit, near=near), (limit - own) / per
    if exact < near / 2**21:
        assert found == 0
    elif exact > near * 2**21:
        assert found == inf
    elif near / 2**18 < exact < near * 2**18:
        assert found == pytest.approx(exact, rel=1e-6)


# One down.


def test_load_that_is_left_with_one_of_two_down_is_about_half() -> None:
    queue = valley(**{"system.durable_objects.shards": 2, "system.durable_objects.evict_idle_ms": 1e9})
    found = one_down(queue, seeds=2)
    assert found.path == "system.durable_objects.shards"
    assert found.kept_share == pytest.approx(0.5, abs=0.06)
    assert found.verdict == ("kept" if found.left.low >= 100 else "not kept")


def test_one_of_one_cannot_be_lost() -> None:
    with pytest.raises(UsageError, match="no number of equal parts"):
        one_down(load_scenario("launch"))
    with pytest.raises(UsageError, match="must be a number >= 2"):
        one_down(valley(**{"system.durable_objects.shards": 1}), "system.durable_objects.shards")


# What is shown.


def test_table_and_figure_say_the_same() -> None:
    found = size(valley(), "shards", values=[1, 16], seeds=2)
    assert answer(found).startswith("16: ")
    assert [row[3].text for row in sizing(found).rows] == [WORSE, ANSWER]
    assert "16: " in plots.sizing(found).get_title(loc="left")
    assert list(found.frame["choice"]) == ["1", "16"]


def test_another_namespace_is_sized_when_asked_for() -> None:
    """Of two namespaces the one with more traffic is sized, and the other one is named."""
    both = valley().with_(
        **{
            "system.rooms": {"component": "durable_objects", "like": "durable_objects"},
            "routes.room": {"share": 0.1, "steps": ["workers.compute", "rooms.read"]},
        }
    )
    plain, asked = (size(both, "shards", values=[1, 4], seeds=2, of=of) for of in (None, "rooms"))
    assert "objects of durable_objects share" in plain.question
    assert any("--of: rooms" in note for note in plain.notes)
    assert "objects of rooms share" in asked.question
    assert not any("--of" in note for note in asked.notes)


def test_same_seed_gives_the_same_sizing() -> None:
    first, second = (size(valley(), "shards", values=[2, 16], seeds=2, rng=9) for _ in range(2))
    assert first.choices == second.choices


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("nothing", {}, "what='nothing' must be one of shards, part_size"),
        ("shards", {"seeds": 1}, "seeds=1 must be >= 2"),
        ("shards", {"values": []}, "must be a list of at least one value"),
        ("d1_split", {"values": ["x"]}, "'x' must be a number >= 0"),
        ("d1_split", {"values": [0]}, "whole numbers of databases >= 1"),
        ("probe_interval", {"values": [0]}, "must be times between probes"),
        ("part_size", {"values": [1]}, "the store's smallest part"),
        ("shards", {"of": "rooms"}, "of='rooms' must be one that a route uses: durable_objects"),
        ("idle", {"of": "tunnel"}, "of='tunnel' must not be given with idle, but with shards"),
    ],
)
def test_nonsense_is_refused_in_one_line(what: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        size(load_scenario("launch"), what, **options)


@pytest.mark.parametrize("what", [name for name in SIZINGS if name != "probe_interval"])
def test_scenario_without_the_part_is_refused(what: str) -> None:
    bare = load_scenario("launch").with_(routes={"only": {"share": 1, "steps": ["workers.compute"]}})
    with pytest.raises(UsageError, match=f"{what} needs a route that uses"):
        size(bare, what)
