"""Read replicas of D1: whose distance a read has, and how long it waits for what its session knows of.

Goal: a session reads its own writes and pays for it with what is left of the lag; nobody else waits; replicas share the
load, and the bill does not see them. Method: constant times, so that each latency is a sum written out here; Poisson
writes against the closed form of the wait; both engines, whose paths must be equal; the approximation beside them.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.experiments.calibration.seen import columns
from sim.flow import Mark, Stamp, Time
from sim.foundation.errors import ModelError
from sim.judgement.cost import usage_per_month
from sim.randomness.distributions import Constant
from sim.scenario.deployment import deployment
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening.approximation import screen
from tests.support.routes import KNOWN_TIMES, of_steps, refusal
from tests.support.shown import at_rate, played, served

PRIMARY_MS, REPLICA_MS, LAG_MS = 80.0, 6.0, 500.0
READ_MS, WRITE_MS = 5.0, 7.0
"""As in ``KNOWN_TIMES``."""

FAR: dict[str, Any] = {"system.d1.rtt_ms": PRIMARY_MS, "system.workers.cpu_ms": 0.0}
REPLICATED: dict[str, Any] = {
    **FAR,
    "system.d1.replicas": 3,
    "system.d1.replica_rtt_ms": REPLICA_MS,
    "system.d1.replica_lag_ms": LAG_MS,
}
LONELY: dict[str, Any] = at_rate(0.01, 20, kind="constant")
"""So few requests that none meets what another did."""

WRITE = {"use": "d1.write", "session": True}


def read(session: str) -> dict[str, Any]:
    """A read in a session with this constraint."""
    return {"use": "d1.read", "session": session}


def latency_ms(*steps: Any, **changes: Any) -> float:
    """The latency of a route that takes *steps*, of whose requests each has the same."""
    frame = played(of_steps(*steps).with_(**{**REPLICATED, **LONELY, **changes}), 20).frame
    assert frame["latency_ms"].to_numpy() == pytest.approx(frame["latency_ms"].iloc[0])
    return float(frame["latency_ms"].iloc[0])


@pytest.mark.parametrize(
    ("session", "distance_ms"),
    [("", PRIMARY_MS), ("first-primary", PRIMARY_MS), ("first-unconstrained", REPLICA_MS), ("bookmark", REPLICA_MS)],
)
def test_a_read_has_the_distance_of_what_serves_it(session: str, distance_ms: float) -> None:
    assert latency_ms(read(session)) == pytest.approx(distance_ms + READ_MS)


def test_a_write_has_that_of_the_primary() -> None:
    assert latency_ms(WRITE) == pytest.approx(PRIMARY_MS + WRITE_MS)


def test_wait_for_a_bookmark_and_in_a_queue_are_the_database_s_own_time() -> None:
    """What a request spends at replicas is in the columns of the database, so that a query is judged with it."""
    scenario = of_steps(WRITE, read("bookmark")).with_(**REPLICATED, **at_rate(60.0, 2_000))
    frame = played(scenario, 2_000).frame
    assert (frame["d1_ms"] + frame["d1_queue_ms"]).to_numpy() == pytest.approx(frame["latency_ms"].to_numpy())
    assert (frame["d1_queue_ms"] > 0).any()


@given(
    primary_ms=st.floats(0, 300), replica_ms=st.floats(0, 300), lag_ms=st.floats(0, 1_000), pause_ms=st.floats(0, 600)
)
def test_a_session_waits_for_what_is_left_of_the_lag(
    primary_ms: float, replica_ms: float, lag_ms: float, pause_ms: float
) -> None:
    """Since its commit a write has come back, the Worker has computed, and the read has gone to the replica."""
    times = {"rtt_ms": primary_ms, "replica_rtt_ms": replica_ms, "replica_lag_ms": lag_ms}
    changes = {f"system.d1.{name}": value for name, value in times.items()}
    found = latency_ms(WRITE, "workers.compute", read("bookmark"), **changes, **{"system.workers.cpu_ms": pause_ms})
    passed_ms = primary_ms / 2 + pause_ms + replica_ms / 2
    assert found == pytest.approx(
        primary_ms + WRITE_MS + pause_ms + replica_ms + READ_MS + max(0.0, lag_ms - passed_ms)
    )


def test_who_belongs_to_no_session_does_not_wait() -> None:
    """Neither after a write outside of the session, nor for a read that takes what there is."""
    apart = PRIMARY_MS + WRITE_MS + REPLICA_MS + READ_MS
    assert latency_ms("d1.write", read("bookmark")) == pytest.approx(apart)
    assert latency_ms(WRITE, read("first-unconstrained")) == pytest.approx(apart)


def test_after_a_first_read_of_the_primary_a_session_waits_for_the_writes_of_others_too() -> None:
    """A write of anybody is in the newest state, and so in the bookmark, even one that belongs to no session."""

    def waited_ms(first: str, requests: int = 4_000) -> "np.ndarray[Any, Any]":
        steps = {"theirs": ["d1.write"], "ours": [read(first), read("bookmark")]}
        routes = {name: {"share": 1.0, "steps": taken} for name, taken in steps.items()}
        changes = {**REPLICATED, **at_rate(20.0, requests), "system.d1.read_ms": 0.0}
        frame = played(KNOWN_TIMES.with_(routes=routes, **changes), requests).frame
        found = frame.loc[frame["route"] == "ours", "d1_ms"].to_numpy() - PRIMARY_MS - REPLICA_MS
        return np.asarray(found)

    assert waited_ms("") == pytest.approx(0.0, abs=1e-9)
    # Those of the last LAG_MS before the first read are waited for, less the way from the primary to the replica.
    rate_per_ms, left_ms = 10 / 1_000, LAG_MS - PRIMARY_MS / 2 - REPLICA_MS / 2
    expected_ms = left_ms + np.expm1(-rate_per_ms * left_ms) / rate_per_ms
    found_ms = waited_ms("first-primary")
    # Reads within one lag of each other see the same writes.
    apart = 4_000 / 20 / (LAG_MS / 1_000)
    assert abs(found_ms.mean() - expected_ms) < 4 * found_ms.std() / apart**0.5


def profiles(*, write_per_s: float, read_per_s: float, keys: int = 1, **changes: Any) -> Scenario:
    """Profiles that are read with a bookmark and written, by sessions of so many keys."""
    routes = {
        "show": {"share": read_per_s, "steps": [read("bookmark")]},
        "edit": {"share": write_per_s, "steps": [WRITE]},
    }
    quick = {"system.d1.read_ms": 0.0, "system.d1.write_ms": 0.0, "workload.keys": {"count": keys, "zipf": 0.0}}
    return KNOWN_TIMES.with_(routes=routes, **{**REPLICATED, **quick, **changes})


@pytest.mark.parametrize("lag", [LAG_MS, {"distribution": "exponential", "mean": 400.0}])
def test_the_mean_wait_is_that_of_the_closed_form(lag: Any) -> None:
    """With writes of rate w, a lag L leaves L - (1 - exp(-w L)) / w, an exponential one of mean m w m² / (1 + w m)."""
    write_per_s, requests = 1.0, 40_000
    changes = {"system.d1.replica_lag_ms": lag, **at_rate(5.0, requests)}
    scenario = profiles(write_per_s=write_per_s, read_per_s=4.0, **changes)
    frame = played(scenario, requests).frame
    waited_ms = frame.loc[frame["route"] == "show", "d1_ms"].to_numpy() - REPLICA_MS
    w = write_per_s / 1_000
    expected = LAG_MS + np.expm1(-w * LAG_MS) / w if lag == LAG_MS else w * 400.0**2 / (1 + w * 400.0)
    # Reads behind one write wait together, so the error is that of the writes, of which there are a fifth.
    error_ms = waited_ms.std() / (requests / 5) ** 0.5
    assert abs(waited_ms.mean() - expected) < 4 * error_ms
    assert screen(scenario).routes["show"] == pytest.approx(expected + REPLICA_MS, rel=0.01)


def test_a_route_that_writes_first_is_screened_with_the_whole_lag_before_it() -> None:
    """The approximation does not know how much of it has passed on the way."""
    scenario = of_steps(WRITE, read("bookmark")).with_(**REPLICATED, **at_rate(0.01, 100))
    whole = PRIMARY_MS + WRITE_MS + REPLICA_MS + READ_MS + LAG_MS
    found = screen(scenario)
    assert found.latency_ms_mean == pytest.approx(whole, rel=0.01)
    assert any("'d1_bookmark'" in sentence for sentence in found.approximations)


def test_regions_share_the_reads_and_the_primary_keeps_the_writes() -> None:
    """Three replicas of 5 ms bear 600 reads a second where the one primary bears 200."""
    keys = {"workload.keys": {"count": 300, "zipf": 0.0}}
    one = of_steps(read("first-unconstrained")).with_(**FAR, **keys, **at_rate(150.0, 6_000))
    three = one.with_(**REPLICATED)
    assert screen(one).rate_per_s_max == pytest.approx(200.0)
    assert screen(three).rate_per_s_max == pytest.approx(600.0)
    result = played(three, 6_000)
    assert served(result, "d1_replica") == 6_000
    row = result.stations.set_index("station").loc["d1_replica"]
    assert (row["servers"], row["instances"]) == (1, 3)
    assert row["utilization"] == pytest.approx(150 / 600, rel=0.05)


def test_the_bill_does_not_see_replicas() -> None:
    steps = ({"use": "d1.read", "rows_read": 20, "session": "bookmark"}, {**WRITE, "rows_written": 4})
    alone, replicated = of_steps(*steps).with_(**FAR), of_steps(*steps).with_(**REPLICATED)
    assert usage_per_month(replicated, 1e6) == usage_per_month(alone, 1e6)
    assert usage_per_month(replicated, 1e6)["d1.rows_read"] == 20e6


def test_a_database_without_replicas_serves_every_session_itself() -> None:
    """The Sessions API may be used before replication is switched on: nothing changes, not even a draw."""
    plain, asked = ("d1.read", "d1.write"), (read("bookmark"), WRITE)
    one, other = (played(of_steps(*steps).with_(**at_rate(100.0, 2_000)), 2_000).frame for steps in (plain, asked))
    np.testing.assert_array_equal(one["latency_ms"], other["latency_ms"])
    assert deployment(of_steps(*plain)) == deployment(of_steps(*asked))


def test_replicas_change_no_draw_of_what_does_not_use_them() -> None:
    random = {"system.d1.read_ms": {"distribution": "exponential", "mean": 3.0}, **at_rate(50.0, 2_000)}
    one, other = (
        played(of_steps("d1.read", "d1.write").with_(**changes, **random), 2_000).frame for changes in (FAR, REPLICATED)
    )
    np.testing.assert_array_equal(one["latency_ms"], other["latency_ms"])


def test_a_stall_of_the_primary_leaves_the_replicas_alone_and_an_outage_does_not() -> None:
    steps = {"near": [read("first-unconstrained")], "far": [read("")]}
    routes = {name: {"share": 1.0, "steps": taken} for name, taken in steps.items()}

    def met(kind: str) -> Any:
        fault = {"instance": "d1", "kind": kind, "at_s": 5.0, "duration_s": 5.0}
        changes = {**REPLICATED, **at_rate(20.0, 400, kind="constant")}
        frame = played(KNOWN_TIMES.with_(routes=routes, faults=[fault], **changes), 400).frame
        return {name: frame[frame["route"] == name] for name in routes}

    stalled, out = met("stall"), met("outage")
    # Two readers may meet at one replica; nobody waits there for longer than one of them reads.
    assert stalled["near"]["latency_ms"].max() <= REPLICA_MS + 2 * READ_MS
    assert stalled["far"]["latency_ms"].max() > 1_000
    assert {name: (frame["outcome"] == "error").any() for name, frame in out.items()} == {"near": True, "far": True}


def test_a_wait_for_a_bookmark_is_no_plain_sum_for_the_calibration() -> None:
    shown = columns(of_steps(read("bookmark")).with_(**REPLICATED))["only"]["d1"]
    assert "d1_bookmark" in shown.opaque
    assert not columns(of_steps(read("first-unconstrained")).with_(**REPLICATED))["only"]["d1"].opaque


def test_regions_may_have_names() -> None:
    regions = ["weur", "enam"]
    one = of_steps(read("bookmark")).with_(**{**REPLICATED, "system.d1.replicas": regions})
    assert deployment(one) == deployment(one.vary("system.d1.replicas", 2))
    known = one.vary("system.d1.replicas", "platform:d1.limits.replica_regions")
    assert deployment(known) == deployment(one.vary("system.d1.replicas", 6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replicas": 6}, "has replicas=6, needs replica_rtt_ms"),
        ({"replicas": 6, "replica_rtt_ms": 5}, "has replicas=6, needs replica_lag_ms"),
        ({"replicas": ["weur"], "replica_lag_ms": 5}, "has replicas=1, needs replica_rtt_ms"),
        ({"replica_lag_ms": 5}, "has replica_lag_ms, needs replicas"),
        ({"replicas": 0}, "replicas=0 must be a whole number >= 1, or a list of regions"),
        ({"replicas": "six"}, 'replicas="six" must be a whole number >= 1, or a list of regions'),
        ({"replicas": []}, "must name at least one region"),
        ({"replicas": ["oc", "oc"]}, "each of them once"),
        ({"replicas": 2, "replica_rtt_ms": 5, "replica_lag_ms": -1}, "replica_lag_ms"),
    ],
)
def test_wrong_replicas_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    found = refusal({f"system.d1.{name}": value for name, value in changes.items()}, scenario=load_scenario("launch"))
    assert len(found) == 1
    assert message in found[0]
    assert "scenarios/README.md" in found[0]


def test_a_wrong_session_is_refused_in_one_line() -> None:
    found = refusal({"routes.search.steps": [read("first-secondary")]})
    assert len(found) == 1
    assert "session" in found[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Mark(Stamp("one"), at=Stamp("one")), "must be another stamp"),
        (lambda: Time(Constant(value=1.0), of="key", since=Stamp("one")), "must not stand beside of"),
    ],
)
def test_parts_that_contradict_themselves_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrong()
