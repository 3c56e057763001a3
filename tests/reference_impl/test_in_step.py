"""The reference in step with the simulation: the same requests, the same random numbers, no machine in between.

Goal: two codes that share nothing but a page (docs/DRAWS.md) give every request the same latency, and a defect planted
in either one's queueing is found and named. Method: the whole deployment under a virtual clock, beside the SimPy
engine.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reference_impl.timing import stopwatch
from sim.judgement.pairing import pair_frames
from sim.models import d1, durable_objects
from sim.models.component import Instance
from sim.runners.play import play
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from tests.support.in_step import on_the_reference

NEAR_MS = 1e-6
"""Two codes add the same times in another order."""

LAUNCH = load_scenario("launch")
NEVER = {"system.ledger.flush_interval_s": 1e6}
"""The reference's alarms ring at whole milliseconds, as the platform's do; the model's do not."""

SESSIONS = ("first-primary", "bookmark", "first-unconstrained")
REPLICATED = load_scenario("feed").with_(
    **{
        "system.posts.replicas": 3,
        "system.posts.replica_rtt_ms": {"distribution": "lognormal", "median": 5.0, "p99": 20.0},
        "system.posts.replica_lag_ms": {"distribution": "lognormal", "median": 100.0, "p99": 1_500.0},
        "routes.feed.steps": ["workers.compute", *({"use": "posts.read", "session": name} for name in SESSIONS)],
        "routes.post.steps": [
            "workers.compute",
            {"use": "posts.write", "rows_written": 3, "session": True},
            {"use": "posts.read", "rows_read": 3, "session": "bookmark", "chance": 0.5},
            {"use": "posts.write", "spawn": True},
        ],
        "workload.keys.count": 40,
    }
)
"""Reads that wait for what their session has seen, on three replicas, beside writes that belong to no session."""

PLACED = load_scenario("feed").with_(
    **{
        "system.workers.placement": "smart",
        "system.workers.placement_rtt_ms": {"distribution": "lognormal", "median": 80.0, "p99": 160.0},
        "system.workers.calls_rtt_ms": {"users": 2.0, "posts": {"distribution": "lognormal", "median": 90, "p99": 170}},
    }
)
"""Requests that travel on to a Worker which runs near one database, and far from the other."""

TROUBLED = load_scenario("feed").with_(
    **{
        "system.posts.error_chance": 0.3,
        "system.posts.stall_chance": 0.1,
        "system.posts.stall_ms": 7.0,
        "system.posts.read_retries": 1,
        "system.client.retries": 0,
        "workload.keys.count": 40,
    }
)
"""Errors travel back from the database and to the client; the platform repeats reads, and what still fails ends so."""

SCENARIOS: dict[str, tuple[Scenario, float, int]] = {
    "launch at its peak": (LAUNCH.with_(**NEVER), 57.9, 1_000),
    "launch, a database at 80 %": (LAUNCH.with_(**NEVER).with_shares(search=1.0), 800.0, 2_000),
    "launch, one ledger at 80 %": (LAUNCH.with_(**NEVER, **{"system.durable_objects.shards": 1}), 500.0, 2_000),
    "launch, one ledger whose turns are shared": (
        LAUNCH.with_(
            **NEVER,
            **{
                "system.durable_objects.shards": 1,
                "system.durable_objects.coalesced_ms": 0.4,
                "system.durable_objects.collection_every_requests": 70,
                "system.durable_objects.collection_ms": {"distribution": "exponential", "mean": 30.0},
            },
        ),
        900.0,
        2_500,
    ),
    "launch, one ledger that serves some of the newest at once": (
        LAUNCH.with_(
            **{
                "system.durable_objects.shards": 1,
                "system.durable_objects.coalesced_ms": 0.5,
                "system.durable_objects.turn_requests_max": 6,
                "system.durable_objects.turn_order": "newest",
                "system.durable_objects.intake_ms": 0.2,
                "system.durable_objects.collection_every_requests": 150,
                "system.durable_objects.collection_ms": 20.0,
            },
        ),
        900.0,
        2_500,
    ),
    "the policy seed": (LAUNCH.with_(**{"system.ledger.policy": "seed"}), 57.9, 600),
    "feed: chances, spawned and concurrent steps": (load_scenario("feed"), 50.0, 1_000),
    "feed: sessions on replicas of D1": (REPLICATED, 150.0, 1_500),
    "feed: Workers near their far database": (PLACED, 50.0, 600),
    "feed: a database that loses queries, and stalls": (TROUBLED, 150.0, 1_500),
    "social: cache, KV, queues, rooms": (load_scenario("social"), 138.9, 1_000),
    "assistant: adapters, a full minute, vectors": (load_scenario("assistant"), 8.0, 1_000),
}


def both(scenario: Scenario, rate_per_s: float, requests: int, *, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames of simulation and reference."""
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s})
    planned = schedule(asked, seed).head(requests)
    measured = on_the_reference(asked, planned, seed=seed)
    return play(asked, planned, on="simpy", seed=seed).frame, measured


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_request_has_the_same_latency(name: str) -> None:
    simulated, measured = both(*SCENARIOS[name])
    assert measured["outcome"].tolist() == simulated["outcome"].astype(str).tolist()
    assert np.allclose(measured["latency_ms"], simulated["latency_ms"], rtol=0, atol=NEAR_MS)


def test_the_assistant_of_this_comparison_meets_every_limit() -> None:
    """Refused calls, loads of adapters and warm ones occur, so that agreement says something of them."""
    scenario, rate_per_s, requests = SCENARIOS["assistant: adapters, a full minute, vectors"]
    simulated, _ = both(scenario, rate_per_s, requests)
    asked = simulated[simulated["route"] == "ask"]
    assert 0.1 < (asked["outcome"] == "refused").mean() < 0.6
    load_ms = 1_000 * scenario.system.workers_ai.lora_bytes / scenario.system.workers_ai.lora_bytes_per_s
    assert (asked["workers_ai_ms"] > load_ms).any()
    assert asked["key"].nunique() > scenario.system.workers_ai.loras


def test_a_full_queue_refuses_the_same_requests_where_turns_are_shared() -> None:
    scenario, rate_per_s, requests = SCENARIOS["launch, one ledger whose turns are shared"]
    limits = {"system.durable_objects.queue_limit": 10, "system.client.retries": 0}
    simulated, measured = both(scenario.with_(**limits), rate_per_s, requests)
    outcomes = simulated["outcome"].astype(str)
    assert measured["outcome"].tolist() == outcomes.tolist()
    assert 100 < (outcomes == "overloaded").sum() < 1_000
    assert np.allclose(measured["latency_ms"], simulated["latency_ms"], rtol=0, atol=NEAR_MS)


def test_queries_of_this_comparison_are_lost_repeated_and_stalled() -> None:
    """Some requests end with the error, more were repeated, so that agreement says something of both."""
    simulated, _ = both(*SCENARIOS["feed: a database that loses queries, and stalls"])
    failed = (simulated["outcome"] == "error").mean()
    assert 0.02 < failed < 0.6
    assert (simulated["posts_ms"] > 2 * simulated["posts_ms"].median()).any()


def test_the_sessions_of_this_comparison_wait_and_queue() -> None:
    """Reads wait for bookmarks, some for long, and for each other, so that agreement says something of it."""
    simulated, _ = both(*SCENARIOS["feed: sessions on replicas of D1"])
    assert (simulated["posts_ms"] > 300.0).sum() > 50
    assert (simulated["posts_queue_ms"] > 0.0).sum() > 50


def test_flushes_are_in_step_but_for_the_whole_milliseconds_of_an_alarm() -> None:
    """A search that comes within that millisecond changes places with a flush in D1's queue."""
    simulated, measured = both(LAUNCH, 57.9, 2_000)
    found = pair_frames(simulated, measured)
    assert set(found.parted) <= {"d1_queue"}
    assert sum(found.parted.values()) < 0.03 * found.pairs
    assert found.errors[0.99].value == pytest.approx(0.0, abs=0.01)


# --- planted defects -----------------------------------------------------------------------------


def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's stations have one server more than they should."""
    real = stopwatch.Station.__init__

    def init(self: stopwatch.Station, clock: Any, name: str, **options: Any) -> None:
        servers = options.get("servers")
        real(self, clock, name, **{**options, "servers": None if servers is None else servers + 1})

    monkeypatch.setattr(stopwatch.Station, "__init__", init)


def time_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference draws the CPU time of a request, and then another."""
    real = stopwatch.Stopwatch.draw_ms

    def draw_ms(self: stopwatch.Stopwatch, tape: Any) -> float:
        return real(self, tape) + (tape.draw() if tape.stream == "workers.cpu" else 0.0)

    monkeypatch.setattr(stopwatch.Stopwatch, "draw_ms", draw_ms)


def half_a_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference forgets the way back from an object."""
    real = stopwatch.Stopwatch.delay

    def delay(self: stopwatch.Stopwatch, category: str, duration_ms: float) -> None:
        gone = category == "durable_objects" and self.spent_ms.get("ledger")
        real(self, category, 0.0 if gone else duration_ms)

    monkeypatch.setattr(stopwatch.Stopwatch, "delay", delay)


def two_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's database executes two queries at a time."""
    real = d1.station

    def station(instance: Instance) -> Any:
        return replace(real(instance), servers=2)

    monkeypatch.setattr(d1, "station", station)


def two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's objects handle two events at a time."""
    real = durable_objects.station

    def station(instance: Instance) -> Any:
        return replace(real(instance), servers=2)

    monkeypatch.setattr(durable_objects, "station", station)


SEARCHES = LAUNCH.with_shares(search=1.0)
EVENTS = LAUNCH.with_(**NEVER, **{"system.durable_objects.shards": 1}).with_shares(log=1.0)

DEFECTS: list[tuple[Callable[[pytest.MonkeyPatch], None], Scenario, float, str]] = [
    (two_threads, SEARCHES, 700.0, "d1_queue"),
    (time_drawn_twice, SEARCHES, 50.0, "workers"),
    (half_a_round_trip, EVENTS, 50.0, "durable_objects"),
    (two_databases, SEARCHES, 700.0, "d1_queue"),
    (two_events, EVENTS, 350.0, "durable_objects_queue"),
]


@pytest.mark.parametrize(("plant", "scenario", "rate_per_s", "named"), DEFECTS, ids=[d[0].__name__ for d in DEFECTS])
def test_planted_defect_is_named(
    plant: Callable[[pytest.MonkeyPatch], None],
    scenario: Scenario,
    rate_per_s: float,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = pair_frames(*both(scenario, rate_per_s, 400), noise_ms=NEAR_MS)
    assert sound.parted == {}
    plant(monkeypatch)
    found = pair_frames(*both(scenario, rate_per_s, 400), noise_ms=NEAR_MS)
    assert next(iter(found.parted)) == named


def test_requests_without_numbers_read_the_tapes() -> None:
    """Whoever sends no ``headroom-request`` is served as before, in the order of arrival."""
    simulated, measured = both(SEARCHES, 50.0, 50, seed=3)
    again_simulated, again = both(SEARCHES, 50.0, 50, seed=4)
    assert not np.allclose(measured["latency_ms"], again["latency_ms"])
    assert np.allclose(again["latency_ms"], again_simulated["latency_ms"], atol=NEAR_MS)
    assert len(simulated) == len(measured)
