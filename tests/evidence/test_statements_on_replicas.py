"""Statements of routes together with read replicas: sessions whose queries are executed on real tables.

Goal: a statement keeps its rows, its bill and its time wherever a session lets it run, a session finds its own writes,
and others find what is a lag old. Method: Hypothesis over statements, sessions, sizes, distances and lags; the model on
both engines, and the whole reference under a virtual clock with the same random numbers.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.messages import Request
from sim.judgement.cost import usage_per_month
from sim.runners.play import play
from sim.runners.reference import deployment_tables
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario
from tests.evidence.test_statement_rows import (
    INDEX,
    POSTS,
    READS,
    USERS,
    WRITES,
    counted_and_billed,
    scenario_of,
    step,
)
from tests.support.in_step import on_the_reference
from tests.support.world import world_of

SESSIONS = ("", "first-primary", "first-unconstrained", "bookmark")
LAGGING: dict[str, Any] = {
    "system.d1.replica_rtt_ms": {"distribution": "lognormal", "median": 5.0, "p99": 20.0},
    "system.d1.replica_lag_ms": {"distribution": "lognormal", "median": 100.0, "p99": 1_500.0},
}
CONSTANT: dict[str, Any] = {
    "system.network.client_rtt_ms": 0.0,
    "system.workers": {"isolates": 1_000, "cpu_ms": 0.0, "cold_start_ms": 0.0, "cold_fraction": 0.0},
    "system.d1.rtt_ms": 80.0,
    "system.d1.read_ms": 5.0,
    "system.d1.write_ms": 7.0,
    "system.d1.replicas": 3,
    "system.d1.replica_rtt_ms": 6.0,
    "system.d1.replica_lag_ms": 500.0,
    "workload.arrivals.rate_per_s": 0.01,
    "workload.duration_s": 2_000,
}

reads = st.builds(
    lambda name, session: step("read", {**READS[name], "session": session}),
    st.sampled_from(sorted(READS)),
    st.sampled_from(SESSIONS),
)
writes = st.builds(
    lambda name, of_session: step("write", {**WRITES[name], "session": of_session}),
    st.sampled_from(["insert", "update one", "update an index"]),  # Whose rows do not depend on what was done before.
    st.booleans(),
)
SLOW = [HealthCheck.function_scoped_fixture]


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW)
@given(
    steps=st.lists(st.one_of(reads, writes), min_size=1, max_size=4),
    replicas=st.integers(1, 4),
    row_us=st.sampled_from([0.0, 0.08, 50.0]),
    users=st.sampled_from([40, 30_000]),
    rate_per_s=st.sampled_from([5.0, 60.0]),
)
def test_model_and_reference_give_every_request_the_same_latency(
    tmp_path: Path, steps: list[dict[str, Any]], replicas: int, row_us: float, users: int, rate_per_s: float
) -> None:
    """Executed on small tables and timed on large ones, alone and in queues."""
    changes = {**LAGGING, "system.d1.replicas": replicas, "system.d1.row_us": row_us}
    scenario = scenario_of(tmp_path, steps, users=users).with_(**changes)
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s})
    planned = schedule(asked, 1).head(80)
    simulated, compiled = (play(asked, planned, on=engine, seed=1).frame for engine in ("simpy", "compiled"))
    np.testing.assert_array_equal(simulated["latency_ms"], compiled["latency_ms"])
    measured = on_the_reference(asked, planned, seed=1)
    assert measured["outcome"].tolist() == simulated["outcome"].astype(str).tolist()
    back_ms = np.where(measured["outcome"] == "ok", 0.0, measured["network_ms"] / 2)  # See README, limits.
    assert np.allclose(measured["latency_ms"] - back_ms, simulated["latency_ms"], rtol=0, atol=1e-6)


@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(
    steps=st.lists(reads, min_size=1, max_size=3),
    write=st.sampled_from(["update one", "insert"]),
    is_indexed=st.booleans(),
    keys=st.sets(st.integers(0, 10**6), min_size=1, max_size=4),
)
def test_rows_are_those_of_the_bill_wherever_they_are_read(
    tmp_path: Path, steps: list[dict[str, Any]], write: str, is_indexed: bool, keys: set[int]
) -> None:
    """The reference counts what the model bills, and replicas change neither. The write comes last: it adds rows.

    Not here: one search with the rows that match and one without; see the next test.
    """
    said = {"matching_rows" in one for one in steps if "author = ?" in one["sql"]}
    assume(len(said) < 2)
    schema = USERS + POSTS + (INDEX if is_indexed else "")
    everything = [*steps, step("write", {**WRITES[write], "session": True})]
    alone = scenario_of(tmp_path, everything, schema=schema)
    replicated = alone.with_(**LAGGING, **{"system.d1.replicas": 3})
    keys = set(list(keys)[:1]) if write == "insert" else keys
    counted, billed = counted_and_billed(replicated, keys=sorted(keys))
    assert counted == billed
    assert usage_per_month(replicated, 1e6) == usage_per_month(alone, 1e6)


def test_statements_that_say_different_things_of_one_column_are_refused(tmp_path: Path) -> None:
    """Found by the test above: 121 rows were billed for the search without ``matching_rows``, and 6 were read."""
    searches = [step("read", {**READS[name], "session": ""}) for name in ("a literal", "the worst case")]
    for steps in (searches, searches[::-1]):
        scenario = scenario_of(tmp_path, steps, schema=USERS + POSTS + INDEX)
        with pytest.raises(ConfigError, match=r"^matching_rows=4 of one .* posts\.author must be said by all"):
            counted_and_billed(scenario, keys=[0])
    counted, billed = counted_and_billed(scenario_of(tmp_path, searches, schema=USERS + POSTS), keys=[0])
    assert counted == billed, "without an index both scan the table"


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(name=st.sampled_from(sorted(READS)), session=st.sampled_from(SESSIONS), row_us=st.floats(0.0, 100.0))
def test_a_statement_takes_its_rows_time_at_the_replica_too(
    tmp_path: Path, name: str, session: str, row_us: float
) -> None:
    """A write of the session, then a read: its distance, what is left of the lag, and its rows."""
    write = step("write", {**WRITES["update one"], "session": True})
    scenario = scenario_of(tmp_path, [write, step("read", {**READS[name], "session": session})])
    scenario = scenario.with_(**{**CONSTANT, "system.d1.row_us": row_us})
    alone = scenario_of(tmp_path, [step("read", READS[name])])
    rows = usage_per_month(alone, 1.0)["d1.rows_read"]
    at_replica = session in ("bookmark", "first-unconstrained")
    waits_ms = 500.0 - 40.0 - 3.0 if session == "bookmark" else 0.0
    read_ms = (6.0 if at_replica else 80.0) + waits_ms + 5.0 + rows * row_us / 1_000
    frame = play(scenario, schedule(scenario, 1).head(3), on="simpy", seed=1).frame
    assert frame["latency_ms"].to_numpy() == pytest.approx(80.0 + 7.0 + row_us / 1_000 + read_ms)


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(lag_ms=st.floats(100.0, 1_000.0), pause_ms=st.floats(0.0, 2_000.0), key=st.integers(0, 10**6))
def test_a_session_finds_its_own_write_and_others_what_is_a_lag_old(
    tmp_path: Path, lag_ms: float, pause_ms: float, key: int
) -> None:
    """All posts of an author are deleted; how many rows a search for them reads says who has heard of it."""
    search = READS["all of an author"]
    routes = {
        "edit": [step("write", {**WRITES["delete all of an author"], "session": True})],
        "look": [step("read", {**search, "session": "first-unconstrained"})],
        "mine": [step("read", {**search, "session": "bookmark"})],
        "newest": [step("read", search)],
    }
    request = {"method": "GET", "path": ""}
    tables = {
        name: {"share": 1.0, "steps": steps, "request": {**request, "path": f"/{name}/{{key}}"}}
        for name, steps in routes.items()
    }
    lagging = {**CONSTANT, "system.d1.replica_lag_ms": lag_ms}
    with world_of(Specification.read(deployment_tables(asked(tmp_path, tables, lagging), seed=3))) as world:

        def rows_read(route: str) -> int:
            headers = {"headroom-key": str(key), "headroom-request": "1"}
            answer, _ = world.ask(Request("GET", f"/{route}/{key}", headers=headers))
            return int(json.loads(answer.body)["meta"]["rows_read"])

        before = rows_read("newest")
        assert rows_read("look") == rows_read("mine") == before
        rows_read("edit")  # Committed half a round trip before its answer.
        gone = rows_read("newest")
        # Since the commit: 40 ms back, a read of 85 ms, the pause, and 3 ms to the replica.
        world.clock.run_until(world.clock.now_ms() + pause_ms)
        since_ms = 40.0 + 85.0 + pause_ms + 3.0
        if abs(since_ms - lag_ms) > 1e-3:
            assert rows_read("look") == (gone if since_ms > lag_ms else before)
        assert rows_read("mine") == gone < before


def asked(folder: Path, routes: dict[str, Any], changes: dict[str, Any]) -> Scenario:
    """A deployment with these routes."""
    return scenario_of(folder, [{"use": "workers.compute"}]).with_(routes=routes, **changes)
