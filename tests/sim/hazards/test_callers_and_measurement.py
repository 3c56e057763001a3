"""Hazards of callers, of what a tunnel's ends take for granted, and of measurements, simulated beside their formulas.

Goal and method as in the other modules of this folder: times are constants wherever chance is not the point; a
tolerance is a few standard deviations where chance decides, and stated where the formula is an approximation.
"""

from math import ceil, exp, sqrt
from typing import Any

import numpy as np
import pytest

from sim.theory import MMcK
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, error_of_a_share, played, served, shown

ONE_KEY = KNOWN_TIMES.with_(**{"workload.keys": {"count": 1, "zipf": 0}})


def origin(**numbers: Any) -> dict[str, Any]:
    """A server outside of the provider."""
    table = {
        "component": "origin", "rtt_ms": 0.0, "answer_ms": 1.0, "servers": 1, "queue_limit": 100_000, "timeout_s": 1e6,
        "error_fraction": 0.0, "bandwidth_bytes_per_s": 1e9,
    }  # fmt: skip
    return {**table, **numbers}


# --- Callers --------------------------------------------------------------------------------------


def test_h10_anybody_may_flush() -> None:
    """Each call of /flush is one of the provider, which takes 100/s of us: own charges are refused as often as others.

    M/M/c/K: 20 at a time of 200 ms each, and one may wait.
    """
    own_per_s, attack_per_s, requests = 10.0, 140.0, 200_000
    answer = {"distribution": "exponential", "mean": 200.0}
    provider = origin(answer_ms=answer, servers=20, queue_limit=1)
    routes = {
        "own": {"share": own_per_s, "steps": ["provider.fetch"]},
        "attack": {"share": attack_per_s, "steps": ["provider.fetch"]},
    }
    changes = {"system.provider": provider, "routes": routes, **at_rate(own_per_s + attack_per_s, requests)}
    result = played(KNOWN_TIMES.with_(**changes), requests)
    own = result.frame[result.frame["route"] == "own"]
    refused = (own["outcome"] == "overloaded").mean()
    formula = MMcK(own_per_s + attack_per_s, 200.0, 20, 21).blocking_probability
    what = "share of own charges refused, 140 foreign flushes/s"
    shown("H10", what, formula=formula, simulated=refused, within=0.08)


@pytest.mark.parametrize("retries", [1, 3])
def test_h15_load_of_retries(retries: int) -> None:
    """Each attempt fails with the same chance q: 1 + q + ... + q^r attempts a request."""
    requests, chance = 100_000, 0.3
    changes = {
        "system.d1.error_chance": chance,
        "system.d1.read_retries": 0,
        "system.client.retries": retries,
        "system.client.backoff_ms": 10.0,
        **at_rate(50.0, requests),
    }
    result = played(of_steps("d1.read", scenario=KNOWN_TIMES.with_(**changes)), requests)
    formula = sum(chance**attempt for attempt in range(retries + 1))
    what = f"attempts a request, 30 % fail, {retries} retries"
    shown("H15", what, formula=formula, simulated=served(result, "d1") / requests, within=0.01)


def test_h43_ten_attempts_without_an_end() -> None:
    """Pauses of 1, 2, 4, 8, 16, 32 and four times 60 s: whoever finds nobody for so long never comes back."""
    client = {"timeout_ms": 30_000.0, "retries": 10, "backoff_ms": 1_000.0}
    scenario = of_steps("r2.get", scenario=KNOWN_TIMES.with_(**{"system.client": client, **at_rate(5.0, 20)}))
    outage = {"instance": "r2", "kind": "outage", "at_s": 0}
    gone = played(scenario.with_(**{"workload.duration_s": 600, "faults": [{**outage, "duration_s": 320}]}), 20).frame
    assert (gone["outcome"] == "error").all()
    shown("H43", "seconds until a device gives up", formula=303, simulated=gone["latency_ms"].max() / 1e3, within=1e-6)
    back = played(scenario.with_(**{"workload.duration_s": 600, "faults": [{**outage, "duration_s": 300}]}), 20).frame
    assert (back["outcome"] == "ok").all(), "an outage that is shorter is survived"


@pytest.mark.parametrize("clients", [200, 500])
def test_h43_a_wave_of_handshakes(clients: int) -> None:
    """All clients lost their connection at the same instant and pause equally long: the last waits for all others."""
    handshake_ms = 20.0
    changes: dict[str, Any] = {
        "system.client": {"timeout_ms": 1e9, "retries": 8, "backoff_ms": 1_000.0},
        "system.gateway": origin(answer_ms=handshake_ms),
        "workload.arrivals": {"kind": "closed", "users": clients, "think_ms": 0.0},
        "workload.requests": clients,
        "workload.warm_up_s": 0.0,
        "faults": [],
    }
    scenario = of_steps("gateway.fetch", scenario=KNOWN_TIMES.with_(**changes))
    outage = {"instance": "gateway", "kind": "outage", "at_s": 0, "duration_s": 45}
    frame = played(scenario.vary("faults", [outage]), clients).frame
    last_s = frame["gateway_queue_ms"].max() / 1_000
    formula = (clients - 1) * handshake_ms / 1_000
    shown("H43", f"seconds that the last of {clients} waits", formula=formula, simulated=last_s, within=1e-6)


# --- Tunnel ---------------------------------------------------------------------------------------


def test_h40_streams_leak_to_a_server_that_hangs() -> None:
    """A share p of the requests is never answered: the last of 100 streams is gone after 100 / (lambda p)."""
    rate_per_s, share, streams, seeds = 20.0, 0.05, 100, 40
    requests = 4_000
    changes = {"system.tunnel.streams": streams, "system.tunnel.overhead_ms": 0.0, **at_rate(rate_per_s, requests)}
    scenario = of_steps("r2.get", scenario=KNOWN_TIMES.with_(**changes), enter="tunnel")
    hang = {"instance": "r2", "kind": "hang", "share": share, "at_s": 0, "duration_s": scenario.workload.duration_s}
    hung = scenario.vary("faults", [hang])
    gone_s = []
    for seed in range(seeds):
        frame = played(hung, requests, seed=seed, both=seed == 0).frame
        waits = frame["tunnel_queue_ms"] > 5_000
        gone_s.append(frame.loc[waits, "arrival_ms"].min() / 1_000)
    formula = streams / (rate_per_s * share)
    what = "seconds until 100 streams are gone, 20/s, 5 % hang"
    shown("H40", what, formula=formula, simulated=np.mean(gone_s), within=0.07)
    # A timeout of the send gives the stream back: only those requests fail.
    timed = of_steps({"use": "r2.get", "timeout_ms": 2_000}, scenario=KNOWN_TIMES.with_(**changes), enter="tunnel")
    frame = played(timed.vary("faults", [hang]), requests).frame
    assert frame["tunnel_queue_ms"].max() == 0.0
    failed = (frame["outcome"] == "timeout").mean()
    within = error_of_a_share(share, requests)
    shown("H40", "share that fails with a timeout of 2 s", formula=share, simulated=failed, within=within)


@pytest.mark.parametrize("datagrams", ["unsent", "refused"])
def test_h37_heartbeats_that_nobody_negotiated(datagrams: str) -> None:
    """Unsent they keep nothing alive: e^(-T / gap). Refused, the first one ends the connection: 1 / (1 + h / gap)."""
    requests, gap_s, timeout_s, heartbeat_s = 40_000, 20.0, 30.0, 15.0
    tunnel = {
        "overhead_ms": 0.0, "reconnect_ms": 100.0, "idle_timeout_s": timeout_s, "heartbeat_s": heartbeat_s,
        "datagrams": datagrams,
    }  # fmt: skip
    changes = {f"system.tunnel.{key}": value for key, value in tunnel.items()}
    changes |= {"system.r2.get_ms": 0.0, **at_rate(1 / gap_s, requests)}
    scenario = of_steps("r2.get", scenario=ONE_KEY.with_(**changes), enter="tunnel")
    dead = (played(scenario, requests).frame["tunnel_ms"] > 50).mean()
    formula = exp(-timeout_s / gap_s) if datagrams == "unsent" else 1 / (1 + heartbeat_s / gap_s)
    played(scenario, 2_000)
    within = error_of_a_share(formula, requests)
    shown("H37", f"share that find a dead tunnel, {datagrams}", formula=formula, simulated=dead, within=within)


def test_h44_a_gateway_in_front_of_the_worker() -> None:
    """A server that takes QUIC counts in the availability: up for mean_between / (mean_between + mean_length)."""
    requests, between_s, length_s, chance = 100_000, 90.0, 10.0, 0.02
    changes = {
        "system.gateway": origin(answer_ms=0.0),
        "system.d1.error_chance": chance,
        "system.d1.read_retries": 0,
        **at_rate(1.0, requests),
    }
    scenario = of_steps("gateway.fetch", "d1.read", scenario=KNOWN_TIMES.with_(**changes))
    outages = {"instance": "gateway", "kind": "outage", "mean_between_s": between_s, "mean_length_s": length_s}
    found = (played(scenario.vary("faults", [outages]), requests).frame["outcome"] == "ok").mean()
    formula = between_s / (between_s + length_s) * (1 - chance)
    what = "availability behind a gateway that is up 90 %"
    # The share of a thousand windows has a relative standard deviation of 4 %, that of the rest 0.5 %.
    shown("H44", what, formula=formula, simulated=found, within=0.02)


# --- Batches, labels, clocks ----------------------------------------------------------------------


@pytest.mark.parametrize("events", [1_000, 6])
def test_h23_rows_of_a_statement(events: int) -> None:
    """100 parameters of 8 columns are 12 rows: a flush takes ceil(n / 12) statements, the last one perhaps short."""
    changes: dict[str, Any] = {
        "system.ledger.policy": "hardened",
        "system.ledger.flush_interval_s": 3_600.0,
        "system.ledger.flush_chunk_rows": 100 // 8,
        **at_rate(50.0, events),
    }
    result = played(of_steps("ledger.append", scenario=ONE_KEY.with_(**changes)), events)
    what = f"statements of a flush of {events:,} events"
    shown("H23", what, formula=ceil(events / 12), simulated=served(result, "d1"), within=0)


def test_h58_a_label_from_what_clients_send() -> None:
    """A series for each route and key that has come, times buckets + 2; a value comes with 1 - (1 - p)^n."""
    requests, buckets = 20_000, 11
    routes = {"read": {"share": 0.9, "steps": ["d1.read"]}, "write": {"share": 0.1, "steps": ["d1.write"]}}
    changes: dict[str, Any] = {"workload.keys": {"count": 50_000, "zipf": 0.8}, "routes": routes}
    frame = played(KNOWN_TIMES.with_(**changes, **at_rate(50.0, requests)), requests).frame
    series = len(frame[["route", "key"]].drop_duplicates()) * (buckets + 2)
    weights = np.arange(1, 50_001) ** -0.8
    popularity = weights / weights.sum()
    come = sum(float((1 - (1 - share * popularity) ** requests).sum()) for share in (0.9, 0.1))
    what = "time series of two routes after 20,000 requests"
    shown("H58", what, formula=come * (buckets + 2), simulated=series, within=0.02)


@pytest.mark.parametrize("load", [0.2, 0.8])
def test_h55_a_clock_that_stands_still(load: float) -> None:
    """What is computed after the last input is not seen: the M/M/1 time 1 / (mu - lambda) of the last step."""
    requests, cpu_ms = 400_000, 10.0
    cpu = {"distribution": "exponential", "mean": cpu_ms}
    changes = {
        "system.trailing": {"like": "workers", "component": "workers", "isolates": 1, "cpu_ms": cpu},
        "system.d1.read_ms": 0.0,
        **at_rate(load / cpu_ms * 1_000, requests),
    }
    frame = played(of_steps("d1.read", "trailing.compute", scenario=KNOWN_TIMES.with_(**changes)), requests).frame
    # The handler's clock shows the end of its last input: what it records is the time until then.
    recorded_ms = frame["d1_queue_ms"] + frame["d1_ms"]
    unseen_ms = (frame["latency_ms"] - recorded_ms).mean()
    formula = cpu_ms / (1 - load)
    what = f"ms of a request that its handler does not see, isolate {load:.0%} busy"
    shown("H55", what, formula=formula, simulated=unseen_ms, within=0.04)


# --- Measurement ----------------------------------------------------------------------------------


def test_h61_an_interval_that_assumes_independence() -> None:
    """Outages of exponential length, seen at equal times, are a Markov chain: its correlation is r^k at lag k.

    So the error of a mean is sqrt((1 + r) / (1 - r)) of what independent requests would have.
    """
    block, blocks, step_s, mean_s = 1_000, 300, 1.0, 20.0
    requests = block * blocks
    scenario = of_steps("d1.read", scenario=KNOWN_TIMES.with_(**at_rate(1 / step_s, requests, kind="constant")))
    outages = {"instance": "d1", "kind": "outage", "mean_between_s": mean_s, "mean_length_s": mean_s}
    ok = (played(scenario.vary("faults", [outages]), requests).frame["outcome"] == "ok").to_numpy()
    found = ok.reshape(blocks, block).mean(axis=1).std() / sqrt(ok.mean() * (1 - ok.mean()) / block)
    correlation = exp(-step_s * 2 / mean_s)
    formula = sqrt((1 + correlation) / (1 - correlation))
    what = "how much too narrow an interval is, r = 0.905"
    shown("H61", what, formula=formula, simulated=found, within=0.16)


def test_h62_a_generator_that_is_the_bottleneck() -> None:
    """800/s are offered by a generator that can send 1 / c = 500/s: that is what arrives, at a server half idle."""
    requests, send_ms, serve_ms = 20_000, 2.0, 1.0
    changes = {"system.generator": origin(answer_ms=send_ms), "system.d1.read_ms": serve_ms, **at_rate(800.0, requests)}
    result = played(of_steps("generator.fetch", "d1.read", scenario=KNOWN_TIMES.with_(**changes)), requests)
    frame = result.frame
    lasting_s = (frame["arrival_ms"] + frame["latency_ms"]).max() / 1_000
    what = "requests/s that a generator of 2 ms a request sends, 800 offered"
    shown("H62", what, formula=1_000 / send_ms, simulated=requests / lasting_s, within=0.01)
    busy = frame["d1_ms"].sum() / 1_000 / lasting_s
    shown("H62", "share of the time that its server is busy", formula=serve_ms / send_ms, simulated=busy, within=0.01)
