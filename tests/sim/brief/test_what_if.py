"""Questions of the brief that no other test of the simulation asks (docs/BRIEF.md).

Goal: each is answered by a scenario, without code of its own. Method: constant times, so that the answer is arithmetic;
where chance decides, four standard deviations.
"""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import by_route, d1, judge, load_run, run, save_run
from sim.foundation.errors import UsageError
from sim.judgement.cost import usage_per_month
from sim.judgement.targets import Verdict
from sim.models.d1_plans import plan_of
from sim.results.stations import by_object
from sim.scenario.scenario import load_scenario
from tests.project.tidy import ROOT
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, played, served

# --- Pipeline (DOM5, C2) --------------------------------------------------------------------------


def test_a_push_takes_the_longer_job_and_both_deployments() -> None:
    pipeline = load_scenario("pipeline")
    minutes = {"check": 4.0, "security_scan": 1.5, "staging": 1.0, "production": 1.2}
    changes = {f"system.{name}.answer_ms": took * 60_000 for name, took in minutes.items()}
    changes |= {f"system.{name}.error_fraction": 0.0 for name in minutes}
    frame = played(pipeline.with_(**changes, **at_rate(1e-5, 50)), 50).frame
    # Each job is also reached and left once: 2 s.
    expected_s = 60 * (max(4.0, 1.5) + 1.0 + 1.2) + 3 * 2.0
    assert frame["latency_ms"].min() / 1_000 == pytest.approx(expected_s)
    busy = played(pipeline.with_(**changes, **at_rate(0.01, 200)), 200).frame
    assert busy["staging_queue_ms"].max() > 0, "a second deployment waits for the one before"


def test_a_push_fails_where_one_of_its_jobs_does() -> None:
    """Product of the four shares that succeed."""
    frame = run("pipeline", rng=1).frame
    done = (frame["outcome"] == "ok").mean()
    expected = 0.95 * 0.99 * 0.98 * 0.99
    assert abs(done - expected) < 4 * sqrt(expected * (1 - expected) / len(frame))


# --- Requests that are refused, hashed, or asked twice (B8, X2, X4, X5) -----------------------------


def test_an_object_serves_others_while_a_reply_waits_at_its_output_gate() -> None:
    """N writes at once take N times the write, one by one, and the wait for the disk once: the gate is no lock."""
    requests, write_ms, gate_ms = 100, 5.0, 45.0
    times = {"write_ms": write_ms, "output_gate_ms": gate_ms, "cold_start_ms": 0.0, "shards": 1}
    changes = {f"system.durable_objects.{key}": value for key, value in times.items()}
    scenario = of_steps("durable_objects.write", scenario=KNOWN_TIMES.with_(**changes, **at_rate(1e5, requests)))
    frame = played(scenario, requests).frame.sort_values("latency_ms")
    gaps_ms = frame["latency_ms"].diff().dropna().to_numpy()
    assert gaps_ms == pytest.approx(np.full(requests - 1, write_ms), abs=0.2)
    assert frame["durable_objects_queue_ms"].max() == pytest.approx((requests - 1) * write_ms, rel=0.01)
    assert (frame["durable_objects_ms"] >= gate_ms + write_ms - 1e-6).all()


def test_a_refused_request_costs_its_cpu_and_nothing_behind_it() -> None:
    requests, share = 20_000, 0.3
    routes = {
        "valid": {"share": 1 - share, "steps": ["workers.compute", "d1.read"]},
        "invalid": {"share": share, "steps": ["workers.compute"]},
    }
    result = played(KNOWN_TIMES.with_(routes=routes, **at_rate(50.0, requests)), requests)
    assert served(result, "workers") == requests
    reached = served(result, "d1") / requests
    assert abs(reached - (1 - share)) < 4 * sqrt(share * (1 - share) / requests)
    cpu_ms = KNOWN_TIMES.system.workers.cpu_ms.expected()
    used = usage_per_month(result.scenario, 1_000)
    assert used["workers.cpu"] == pytest.approx(1_000 * cpu_ms), "the refused ones are billed for it too"


@pytest.mark.parametrize(("hash_ms", "verdict"), [(0.02, Verdict.PASS), (60.0, Verdict.ALERT)])
def test_a_slow_hash_of_keys_breaks_the_target_of_cpu_time(hash_ms: float, verdict: Verdict) -> None:
    """A keyed hash takes microseconds; a function that is made to be slow is above the alert line of 30 ms."""
    changes = {"system.auth.cpu_ms": hash_ms, **at_rate(20.0, 4_000)}
    result = played(of_steps("auth.compute", "workers.compute", scenario=KNOWN_TIMES.with_(**changes)), 4_000)
    (row,) = (row for row in judge(result) if row.metric == "worker_cpu_ms")
    assert row.value == pytest.approx(2.0 + hash_ms)
    assert row.verdict is verdict


def test_preflight_requests_are_billed() -> None:
    """One OPTIONS for each request that changes something doubles the Worker's requests of that route."""
    routes: dict[str, Any] = {"log": {"share": 0.5, "steps": ["workers.compute", "durable_objects.write"]}}
    alone = KNOWN_TIMES.with_(routes=routes)
    routes["preflight"] = {"share": 0.5, "steps": ["workers.compute"]}
    both = KNOWN_TIMES.with_(routes=routes)
    used = [usage_per_month(scenario, volume) for scenario, volume in ((alone, 1e6), (both, 2e6))]
    assert used[1]["workers.requests"] == pytest.approx(2 * used[0]["workers.requests"])
    assert used[1]["durable_objects.requests"] == pytest.approx(used[0]["durable_objects.requests"])


# --- Probes that fail themselves (W8) ---------------------------------------------------------------


def test_a_probe_runs_at_its_own_rate_fails_by_itself_and_reports_late() -> None:
    """Every five minutes whatever the traffic; while its trigger is out only the probe fails; the report travels."""
    report = {
        "component": "origin", "rtt_ms": 80.0, "answer_ms": 0.0, "servers": 10, "queue_limit": 10, "timeout_s": 10.0,
        "error_fraction": 0.0, "bandwidth_bytes_per_s": 1e9,
    }  # fmt: skip
    routes = {
        "search": {"share": 1, "steps": ["workers.compute", "d1.read"]},
        "probe": {"share": 1, "enter": "cron", "steps": ["workers.compute", "d1.read", "pager.fetch"]},
    }
    changes = {
        "system.pager": report, "system.cron.schedule": "*/5 * * * *", "system.cron.dispatch_ms": 0.0, "routes": routes,
        "workload.arrivals": {"kind": "poisson", "rate_per_s": 0.5}, "workload.duration_s": 200_000,
        "workload.warm_up_s": 0.0,
    }  # fmt: skip
    own = {"instance": "cron", "kind": "outage", "at_s": 50_000, "duration_s": 50_000}
    frame = run(KNOWN_TIMES.with_(**changes).vary("faults", [own]), rng=1).frame
    probes, others = (frame[frame["route"] == name] for name in ("probe", "search"))
    assert abs(len(probes) - 200_000 / 300) < 4 * sqrt(200_000 / 300)
    assert (others["outcome"] == "ok").all()
    out = probes["arrival_ms"].between(50_000_000, 99_999_999)
    assert (probes["outcome"][out] == "error").all()
    assert (probes["outcome"][~out] == "ok").all()
    assert np.median(probes["latency_ms"][~out]) == pytest.approx(2.0 + 5.0 + 80.0)


# --- Conservation (T6) ------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 7])
def test_each_event_is_flushed_to_the_database_once(shards: int) -> None:
    """In chunks of a row the database takes as many writes as there were events, none lost and none twice."""
    changes: dict[str, Any] = {
        "system.ledger.policy": "hardened", "system.ledger.flush_chunk_rows": 1, "system.ledger.flush_interval_s": 3.0,
        "system.durable_objects.shards": shards, **at_rate(40.0, 2_000),
    }  # fmt: skip
    result = played(of_steps("ledger.append", scenario=KNOWN_TIMES.with_(**changes)), 2_000)
    assert served(result, "d1") == 2_000


# --- Indexes of the schema (I1 to I5) -----------------------------------------------------------------

ROWS = {"api_keys": 10_000, "loras": 50_000, "usage_events": 1_000_000}
"""How large the tables are."""


@pytest.mark.parametrize(
    ("sql", "matching", "reads"),
    [
        ("SELECT * FROM api_keys WHERE user_id = ?", 3, 4),
        ("SELECT * FROM loras WHERE domain = ?", 500, 501),
        ("SELECT * FROM loras WHERE is_public = 1", 45_000, 45_001),
        ("SELECT * FROM usage_events WHERE user_id = ? ORDER BY created_at DESC LIMIT 20", 900, 20),
        ("SELECT * FROM usage_events WHERE organization_id = ? ORDER BY created_at DESC LIMIT 20", 90_000, 20),
    ],
    ids=["I1", "I2", "I3", "I4", "I5"],
)
def test_an_index_of_the_schema_is_used(sql: str, matching: int, reads: int) -> None:
    """Rows read are those that match and the entry that ends the search, or what the limit leaves.

    That of is_public still reads most of its table.
    """
    planned = plan_of(sql, ROWS, matching=matching)
    assert any("USING INDEX" in step for step in planned.steps)
    assert planned.rows_read == reads
    assert not planned.missing_index


# --- Patterns of a search (F6) --------------------------------------------------------------------------


def test_a_pattern_of_fifty_bytes_is_searched_and_one_more_is_refused() -> None:
    """The limit of the platform, by the bytes: a letter with an accent is two."""
    migrations, rows = ROOT / "deploy/migrations", {"loras": 200}
    for pattern in ("%" + "x" * 48 + "%", "%" + "é" * 24 + "%"):
        found = d1(migrations, query=f"SELECT id FROM loras WHERE name LIKE '{pattern}'", rows=rows)
        assert found.queries[0].measured.last.rows_read == 200
    for pattern in ("%" + "x" * 49 + "%", "%" + "é" * 25 + "%"):
        with pytest.raises(UsageError, match="LIKE or GLOB pattern too complex"):
            d1(migrations, query=f"SELECT id FROM loras WHERE name LIKE '{pattern}'", rows=rows)


# --- Objects (A2, R1, R3, R4) -------------------------------------------------------------------------


@pytest.mark.parametrize("size_gb", [2.0, 3.5, 5.0])
def test_a_model_file_takes_its_size_over_the_bandwidth(size_gb: float) -> None:
    """And is one operation, free of egress, however large it is."""
    changes = {"system.r2.bandwidth_bytes_per_s": 12.5e6, "system.client.timeout_ms": 1e9, **at_rate(0.001, 20)}
    scenario = of_steps("r2.get", scenario=KNOWN_TIMES.with_(**changes), size_bytes=size_gb * 1e9)
    frame = played(scenario, 20).frame
    assert frame["latency_ms"].to_numpy() == pytest.approx(23.0 + size_gb * 1e9 / 12.5e3)
    assert usage_per_month(scenario, 1_000)["r2.class_b"] == pytest.approx(1_000)


def test_datasets_that_stay_are_billed_by_the_months_that_they_are_kept() -> None:
    """1,000 uploads a month of 1 GB that nobody deletes: each month is billed for those before it, too."""
    scenario = of_steps("r2.put", scenario=KNOWN_TIMES, size_bytes=1e9)
    stored_gb = [usage_per_month(scenario, 1_000, month=month)["r2.storage"] for month in (1, 2, 3)]
    # Of the month itself half, on average; of those before it all.
    assert stored_gb == [pytest.approx(500, rel=0.01), pytest.approx(1_500, rel=0.01), pytest.approx(2_500, rel=0.01)]


def test_a_training_output_is_promoted_by_a_copy() -> None:
    """Read and written once: both times, an operation of each class, and its bytes a second time."""
    scenario = of_steps("r2.get", "r2.put", scenario=KNOWN_TIMES.with_(**at_rate(0.01, 20)), size_bytes=127e6)
    frame = played(scenario, 20).frame
    assert frame["latency_ms"].to_numpy() == pytest.approx(23.0 + 29.0 + 2 * 127e6 / 1e3)
    used = usage_per_month(scenario, 1_000)
    assert used["r2.class_a"] == pytest.approx(1_000)
    assert used["r2.class_b"] == pytest.approx(1_000)
    assert used["r2.storage"] == pytest.approx(1_000 * 127e6 / 1e9 / 2), "it grows over the month"


# --- Rounds of a council (W6), bytes of a small answer (B7) --------------------------------------------


def test_a_council_takes_the_rounds_that_were_measured() -> None:
    """Three roles answer one after another and the room hears it; 78 % need one round, 19 % two, 3 % three."""
    model = {
        "rtt_ms": 0.0, "first_token_ms": 100.0, "tokens_in": 0.0, "tokens_out": 0.0, "input_token_us": 0.0,
        "output_token_ms": 0.0, "loras": 0, "minute_calls_max": 1_000_000,
    }  # fmt: skip
    room = {"message_ms": 1.0, "send_us": 0.0, "members": 5, "connect_ms": 0.0}
    changes: dict[str, Any] = {f"system.workers_ai.{key}": value for key, value in model.items()}
    changes |= {f"system.websocket.{key}": value for key, value in room.items()}
    once = [{"use": "workers_ai.infer", "times": 3}, "websocket.message"]
    third = {"steps": once, "chance": 0.03 / 0.22}
    requests, round_ms = 20_000, 301.0
    scenario = of_steps(
        *once,
        {"steps": [*once, third], "chance": 0.22},
        scenario=KNOWN_TIMES.with_(**changes, **at_rate(0.1, requests)),
    )
    rounds = np.rint(played(scenario, requests).frame["latency_ms"].to_numpy() / round_ms)
    for number, share in {1: 0.78, 2: 0.19, 3: 0.03}.items():
        assert abs((rounds == number).mean() - share) < 4 * sqrt(share * (1 - share) / requests)
    assert usage_per_month(scenario, 1_000)["durable_objects.requests"] == pytest.approx(1_250 / 20)


def test_the_ledgers_answer_is_one_packet_and_so_adds_no_round_trip() -> None:
    """What a device waits for is the trip and not the bytes, until an answer has more than ten packets."""
    answer = {"success": True, "charge_microusd": 10**9, "balance_microusd": 10**12, "duplicate": False}
    small, rtt_ms = len(json.dumps(answer)), 80.0
    tunnel: dict[str, Any] = {"overhead_ms": rtt_ms, "packet_bytes": 1_200, "window_packets": 10}
    changes = {f"system.tunnel.{key}": value for key, value in tunnel.items()}
    device = KNOWN_TIMES.with_(**changes, **at_rate(0.1, 20))
    for size_bytes, rounds in ((small, 1), (12_000, 1), (12_001, 2)):
        scenario = of_steps("durable_objects.write", scenario=device, enter="tunnel", size_bytes=float(size_bytes))
        assert played(scenario, 20).frame["latency_ms"].to_numpy() == pytest.approx(rounds * rtt_ms + 19.0)


# --- Regions (G1) -------------------------------------------------------------------------------------


def test_targets_are_judged_by_region_and_by_route(tmp_path: Path) -> None:
    """Two entries of different distance; each region's P50 is its own, and so is its verdict."""
    routes = {
        "near": {"share": 0.5, "enter": "network", "steps": ["workers.compute"]},
        "far": {"share": 0.5, "enter": "overseas", "steps": ["workers.compute"]},
    }
    changes: dict[str, Any] = {
        "system.network.client_rtt_ms": 20.0,
        "system.overseas": {"component": "network", "like": "network", "client_rtt_ms": 180.0},
        "routes": routes,
        "targets": str(tmp_path / "targets.toml"),
        **at_rate(50.0, 4_000),
    }
    line = 'metric = "api_latency_ms"\nstatistic = "p50"\ntarget = 50\nalert = 100\ndirection = "below"\nunit = "ms"\n'
    rows = "".join(f'[[targets]]\n{line}route = "{name}"\n' for name in routes)
    (tmp_path / "targets.toml").write_text(rows)
    result = played(KNOWN_TIMES.with_(**changes), 4_000)
    medians = result.frame.groupby("route", observed=True)["latency_ms"].median()
    assert (medians["near"], medians["far"]) == (pytest.approx(22.0), pytest.approx(182.0))
    verdicts = {row.scope: row.verdict for row in judge(result)}
    assert verdicts == {"of near": Verdict.PASS, "of far": Verdict.ALERT}
    assert set(by_route([result])["route"]) >= {"near", "far"}


# --- Queries without their distance (G4), sessions (F1), questions to a run (K3) ------------------------


def test_a_query_is_judged_with_and_without_its_distance() -> None:
    """The same requests with a round trip of 0: what is left is the queue and the execution, request by request."""
    rtt = {"distribution": "lognormal", "median": 12.0, "p99": 60.0}
    read = {"distribution": "exponential", "mean": 3.0}
    far = KNOWN_TIMES.with_(**{"system.d1.rtt_ms": rtt, "system.d1.read_ms": read, **at_rate(5.0, 20_000)})
    results = [played(of_steps("d1.read", scenario=one), 20_000) for one in (far, far.vary("system.d1.rtt_ms", 0.0))]
    verdicts = [next(row for row in judge(one) if row.metric == "d1_query_ms").verdict for one in results]
    assert verdicts == [Verdict.ALERT, Verdict.PASS]
    travelled = results[0].frame["d1_ms"] - results[1].frame["d1_ms"]
    assert travelled.median() == pytest.approx(12.0, rel=0.03)
    assert travelled.quantile(0.99) == pytest.approx(60.0, rel=0.1)


def test_sessions_in_kv_are_stale_and_in_an_object_never() -> None:
    """A copy of age a has missed a write with 1 - e^(-w a); hot reads see ages spread evenly over the time to live."""
    ttl_s, reads_per_s, writes_per_s, requests = 60.0, 0.5, 0.02, 80_000
    kv = {
        "component": "kv", "hot_ms": 7.0, "cold_ms": 200.0, "cache_ttl_s": ttl_s, "write_ms": 0.0, "list_ms": 80.0,
        "value_bytes_max": 26_214_400, "writes_per_s": 1e6,
    }  # fmt: skip
    routes = {
        "read": {"share": reads_per_s, "steps": ["kv.get"]},
        "write": {"share": writes_per_s, "steps": [{"use": "kv.put", "new_fraction": 0.0}]},
    }
    changes = {"system.kv": kv, "routes": routes, "workload.keys": {"count": 1, "zipf": 0}}
    frame = played(KNOWN_TIMES.with_(**changes, **at_rate(reads_per_s + writes_per_s, requests)), requests).frame
    reads = frame[frame["route"] == "read"]
    ends_ms = (reads["arrival_ms"] + reads["latency_ms"]).to_numpy()
    is_cold = (reads["kv_ms"] == 200.0).to_numpy()
    written_ms = frame.loc[frame["route"] == "write", "arrival_ms"].to_numpy()
    copied_ms = np.maximum.accumulate(np.where(is_cold, ends_ms, 0.0))
    hot = ~is_cold & (copied_ms > 0)
    missed = np.searchsorted(written_ms, ends_ms[hot]) > np.searchsorted(written_ms, copied_ms[hot])
    age = writes_per_s * ttl_s
    assert missed.mean() == pytest.approx(1 - (1 - np.exp(-age)) / age, rel=0.05)
    # What is read in an object, or in D1's primary, is what was written; a warm object is as near as a copy.
    objects = of_steps("durable_objects.read", scenario=KNOWN_TIMES.with_(**at_rate(0.5, 2_000)))
    database = of_steps("d1.read", scenario=KNOWN_TIMES.with_(**{"system.d1.rtt_ms": 40.0}, **at_rate(0.5, 2_000)))
    p99_ms = [played(one, 2_000).frame["latency_ms"].quantile(0.99) for one in (objects, database)]
    assert p99_ms == [pytest.approx(17.0), pytest.approx(45.0)]
    assert reads["latency_ms"].quantile(0.99) == pytest.approx(200.0)


def test_a_recorded_run_answers_the_questions_of_a_debugger(tmp_path: Path) -> None:
    """Which requests failed, when; the last ones; which objects there are, and what each had."""
    lost = {"instance": "durable_objects", "kind": "outage", "keys": [3], "at_s": 5, "duration_s": 10}
    changes: dict[str, Any] = {"system.durable_objects.shards": 8, **at_rate(40.0, 1_000)}
    scenario = of_steps("durable_objects.read", scenario=KNOWN_TIMES.with_(**changes)).vary("faults", [lost])
    save_run(played(scenario, 1_000), tmp_path / "run.parquet")
    loaded = load_run(tmp_path / "run.parquet")
    failed = loaded.frame[loaded.frame["outcome"] == "error"]
    assert len(failed) > 0
    assert failed["arrival_ms"].between(5_000, 15_000).all()
    assert loaded.frame.tail(5)["request"].tolist() == [995, 996, 997, 998, 999]
    objects = by_object(loaded, "durable_objects")
    assert objects["object"].nunique() == 8
    assert objects.loc[objects["failed"] > 0, "object"].tolist() == [3]
