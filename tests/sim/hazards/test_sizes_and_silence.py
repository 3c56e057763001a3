"""Hazards of large bodies, of parts of uploads, of one key, of silent tunnels, and of units of 4 KiB."""

from math import ceil, exp
from typing import Any

import pytest

from sim.judgement.cost import usage_per_month
from sim.scenario.scenario import Scenario
from tests.support.routes import KNOWN_TIMES, of_steps, refusal
from tests.support.shown import at_rate, error_of_a_share, played, shown

UPLOADS = {"distribution": "uniform", "low": 50e6, "high": 500e6}
"""The brief's adapters."""
FAST = KNOWN_TIMES.with_(**{"system.r2.bandwidth_bytes_per_s": 1e9, "system.r2.put_ms": 0.0})


# --- Units of the bill ----------------------------------------------------------------------------


def test_h4_write_units_of_a_growing_value() -> None:
    """One organisation's 606 events, the last that its value holds; 606 rows where each event is one."""
    changes = {
        "workload.keys.count": 1,
        "system.ledger.policy": "seed",
        "system.durable_objects.storage": "kv",
        "system.durable_objects.kv_value_bytes_max": 131_072,
        "system.durable_objects.kv_unit_bytes": 4_096,
    }
    scenario = of_steps("ledger.append", scenario=KNOWN_TIMES.with_(**changes))
    formula = sum(ceil((n * 216 + 1) / 4_096) for n in range(1, 607))
    assert formula == 10_004
    units = usage_per_month(scenario, 606)["durable_objects.kv_write_units"]
    shown("H4", "write units of 606 events", formula=formula, simulated=units, within=0)
    assert usage_per_month(scenario, 2_000)["durable_objects.kv_write_units"] == units, "nothing is stored after them"
    on_sqlite = scenario.with_(**{"system.durable_objects.storage": "sqlite"})
    assert "durable_objects.kv_write_units" not in usage_per_month(on_sqlite, 606)


# --- Bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "limit_bytes", "predicted"), [("Pro", 100_000_000, 0.89), ("Business", 200_000_000, 0.67)]
)
def test_h28_uploads_through_a_worker(plan: str, limit_bytes: int, predicted: float) -> None:
    scenario = FAST.with_(**{"system.workers.body_bytes_max": limit_bytes, **at_rate(1.0, 20_000)})
    steps = ({"use": "workers.compute", "body": "stream"}, "r2.put")
    outcome = played(of_steps(*steps, scenario=scenario, size_bytes=UPLOADS), 20_000).frame["outcome"]
    share = (500e6 - limit_bytes) / 450e6
    assert share == pytest.approx(predicted, abs=0.005)
    refused = (outcome == "too_large").mean()
    what = f"share of adapters refused, {plan}"
    shown("H28", what, formula=share, simulated=refused, within=error_of_a_share(share, 20_000))


@pytest.mark.parametrize(("ratio", "largest"), [(1.0, 128_000_000), (4 / 3, 96_000_000)])
@pytest.mark.parametrize("more", [0, 1])
def test_h29_a_body_in_memory(ratio: float, largest: int, more: int) -> None:
    """To the byte; a body that is passed on as it comes has no such limit."""
    scenario = FAST.with_(**{"system.workers.memory_bytes": 128_000_000, "system.workers.body_bytes_max": 500_000_000})
    step: dict[str, Any] = {"use": "workers.compute", "body": "whole", "body_ratio": ratio}
    outcomes = {
        how: set(
            played(of_steps({**step, "body": how}, scenario=scenario, size_bytes=largest + more), 10).frame["outcome"]
        )
        for how in ("whole", "stream", "")
    }
    assert outcomes == {"whole": {"error" if more else "ok"}, "stream": {"ok"}, "": {"ok"}}


@pytest.mark.parametrize("ratio", [1.0, 4 / 3])
def test_h29_share_of_adapters_that_kill_an_isolate(ratio: float) -> None:
    changes = {"system.workers.memory_bytes": 128_000_000, "system.workers.body_bytes_max": 700_000_000}
    step = {"use": "workers.compute", "body": "whole", "body_ratio": ratio}
    scenario = of_steps(step, scenario=FAST.with_(**changes, **at_rate(1.0, 20_000)), size_bytes=UPLOADS)
    killed = (played(scenario, 20_000).frame["outcome"] == "error").mean()
    share = (500e6 - 128e6 / ratio) / 450e6
    what = "share of adapters that an isolate cannot hold" + (", in base64" if ratio > 1 else "")
    shown("H29", what, formula=share, simulated=killed, within=error_of_a_share(share, 20_000))


# --- Parts of uploads, and one key ----------------------------------------------------------------

PARTS = KNOWN_TIMES.with_(
    **{"system.r2.put_ms": 0.0, "system.r2.bandwidth_bytes_per_s": 12_500_000, "system.r2.part_rtt_ms": 100.0}
)
"""100 Mbit/s and 100 ms."""


@pytest.mark.parametrize(("mib", "parallel"), [(1, 1), (5, 1), (16, 1), (64, 1), (5, 2)])
def test_h30_size_of_parts(mib: int, parallel: int) -> None:
    part = mib * 1_048_576
    scenario = PARTS.with_(
        **{"system.r2.part_bytes": part, "system.r2.parallel_parts": parallel, "system.r2.part_bytes_min": 0}
    )
    size = 320 * 1_048_576
    took_ms = played(of_steps("r2.put", scenario=scenario, size_bytes=size), 50).frame["latency_ms"].max()
    formula = min(12.5, parallel * part / (0.1 + part / 12.5e6) / 1e6)
    what = f"MB/s of parts of {mib} MiB, {parallel} at a time"
    shown("H30", what, formula=formula, simulated=size / took_ms / 1_000, within=1e-6)


def test_h30_parts_below_5_mib_are_refused() -> None:
    least = 5_242_880
    limits = {"system.r2.part_bytes_min": least}
    (line,) = refusal({**limits, "system.r2.part_bytes": least - 1})
    assert line.startswith(f"system.r2 needs part_bytes={least - 1} to be 0, or >= part_bytes_min={least}")
    assert refusal({**limits, "system.r2.part_bytes": least}) == refusal({**limits, "system.r2.part_bytes": 0}) == []


@pytest.mark.parametrize("rate_per_s", [0.5, 4.0])
def test_h31_one_write_of_a_key_a_second(rate_per_s: float) -> None:
    """An index that is rewritten for every document: a document a second, less the pause until the next one."""
    changes = {"workload.keys.count": 1, **at_rate(rate_per_s, 40_000)}
    step = {"use": "r2.put", "new_fraction": 0.0}
    frame = played(of_steps(step, scenario=FAST.with_(**changes)), 40_000).frame
    refused = (frame["outcome"] == "refused").mean()
    formula = rate_per_s / (1 + rate_per_s)
    within = error_of_a_share(formula, 40_000)
    shown("H31", f"share of rewrites refused, {rate_per_s:g}/s", formula=formula, simulated=refused, within=within)


def test_h31_new_keys_have_no_such_limit() -> None:
    changes = {"workload.keys.count": 1, **at_rate(50.0, 2_000)}
    frame = played(of_steps({"use": "r2.put", "new_fraction": 0.5}, scenario=FAST.with_(**changes)), 2_000).frame
    assert 0.4 < (frame["outcome"] == "refused").mean() < 0.6
    assert (played(of_steps("r2.put", scenario=FAST.with_(**changes)), 2_000).frame["outcome"] == "ok").all()


def test_h35_bytes_of_abandoned_uploads() -> None:
    """GB-months of a month's bill, beside those of what was completed."""
    per_day, share, size_gb, days = 1_000.0, 0.1, 0.127, 7.0
    changes = {
        "system.r2.abandoned_fraction": share,
        "system.r2.abandoned_days": days,
        "system.r2.part_bytes": 8_388_608,
    }
    used = usage_per_month(_of_127_mb(FAST.with_(**changes)), per_day * 30)["r2.storage"]
    without = usage_per_month(_of_127_mb(FAST), per_day * 30)["r2.storage"]
    formula = per_day * share * size_gb * days
    shown("H35", "GB of abandoned uploads, 1,000 a day, 10 %", formula=formula, simulated=used - without, within=1e-6)


def _of_127_mb(scenario: Scenario) -> Scenario:
    return of_steps("r2.put", scenario=scenario, size_bytes=127e6)


# --- Tunnel ---------------------------------------------------------------------------------------

QUIET_S = 20.0
"""Mean time between two requests of a device."""


def _device(requests: int, **tunnel: Any) -> Scenario:
    numbers = {"overhead_ms": 0.0, "reconnect_ms": 100.0, **tunnel}
    changes = {f"system.tunnel.{key}": value for key, value in numbers.items()}
    changes |= {"workload.keys.count": 1, **at_rate(1 / QUIET_S, requests), "system.r2.get_ms": 0.0}
    return of_steps("r2.get", scenario=KNOWN_TIMES.with_(**changes), enter="tunnel")


@pytest.mark.parametrize("heartbeat_s", [0.0, 30.0, 15.0])
def test_h36_heartbeat_and_idle_timeout(heartbeat_s: float) -> None:
    """A heartbeat as long as the timeout is none: every silence of 30 s ends the connection."""
    requests = 40_000
    scenario = _device(requests, idle_timeout_s=30.0, heartbeat_s=heartbeat_s)
    dead = (played(scenario, requests).frame["tunnel_ms"] > 50).mean()
    formula = 0.0 if 0 < heartbeat_s < 30 else exp(-30 / QUIET_S)
    # The requests are seldom: the time of an answer does not count.
    within = error_of_a_share(formula, requests) if formula else 0
    shown(
        "H36",
        f"share that find a dead tunnel, heartbeat {heartbeat_s:g} s",
        formula=formula,
        simulated=dead,
        within=within,
    )


def test_h39_a_dead_connection_is_not_replaced() -> None:
    """Each gap is longer than the timeout with chance q: alive after t with exp(-rate q t)."""
    alive, clients, minutes, timeout_s = 0, 600, 8.0, 60.0
    scenario = _device(60, idle_timeout_s=timeout_s, heartbeat_s=0.0, reconnects=False)
    for client in range(clients):
        frame = played(scenario, 60, seed=client, both=client < 5).frame
        within = frame[frame["arrival_ms"] <= minutes * 60_000]
        alive += bool((within["outcome"] == "ok").all())
    failures_per_s = exp(-timeout_s / QUIET_S) / QUIET_S
    formula = exp(-failures_per_s * (minutes * 60 - timeout_s))
    shown("H39", "share of clients alive after 8 minutes", formula=formula, simulated=alive / clients, within=0.2)


def test_h45_a_nat_forgets_a_quiet_flow() -> None:
    requests = 40_000
    scenario = _device(requests, nat_timeout_s=30.0, overhead_ms=10.0)
    moved = (played(scenario, requests).frame["tunnel_ms"] > 15).mean()
    formula = exp(-30 / QUIET_S)
    within = error_of_a_share(formula, requests)
    shown("H45", "share of requests from a new address", formula=formula, simulated=moved, within=within)
    kept = _device(2_000, nat_timeout_s=30.0, overhead_ms=10.0, heartbeat_s=15.0)
    assert (played(kept, 2_000).frame["tunnel_ms"] == 10.0).all()
