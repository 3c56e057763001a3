"""Hazards of the ledger, simulated beside their formulas: limits of a value, lost replies, objects, prices.

Goal: the model shows each prediction of docs/hazards.toml that it can. Method: times are constants wherever chance is
not the point, so that counts are exact; what chance decides has a tolerance of a few standard deviations.
"""

from math import exp, floor, log
from typing import Any

import numpy as np
import pytest

from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, lasting_s, played, served, shown

ONE_KEY = KNOWN_TIMES.with_(**{"workload.keys.count": 1})
COUNTING = ONE_KEY.with_(
    **{"system.ledger.policy": "seed", "system.ledger.write_ms": 0.0, "system.ledger.append_us_per_event": 1.0}
)
"""An append takes a microsecond for each event before it."""


@pytest.mark.parametrize(("storage", "limit", "head"), [("kv", 131_072, 1), ("sqlite", 2_000_000, 9)])
@pytest.mark.parametrize("event_bytes", [77, 216])
def test_h1_events_of_a_value(storage: str, limit: int, head: int, event_bytes: int) -> None:
    changes = {
        "system.ledger.event_bytes": event_bytes,
        "system.durable_objects.storage": storage,
        "system.durable_objects.sqlite_value_bytes_max": 2_000_000,
        "system.durable_objects.kv_value_bytes_max": 131_072,
    }
    predicted = (limit - head) // event_bytes
    frame = played(of_steps("ledger.append", scenario=COUNTING.with_(**changes)), predicted + 10).frame
    stored = (frame["outcome"] == "ok").sum()
    shown("H1", f"events of {event_bytes} bytes, {storage}", formula=predicted, simulated=stored, within=0)
    if event_bytes == 216 and storage == "kv":
        lost = (frame["outcome"] == "error").sum()
        shown("H2", "events lost of 10 after the limit", formula=10, simulated=lost, within=0)


def test_h3_time_of_an_append() -> None:
    times = {"system.ledger.write_ms": 0.04, "system.ledger.append_us_per_event": 1.2}
    times |= {"workload.arrivals.rate_per_s": 20.0}
    frame = played(of_steps("ledger.append", scenario=COUNTING.with_(**times)), 9_000).frame
    crossed = np.flatnonzero(np.sort(frame["ledger_ms"]) > 10.0)[0]
    shown("H3", "events at which an append takes 10 ms", formula=(10 - 0.04) / 0.0012, simulated=crossed, within=1e-3)


@pytest.mark.parametrize(("chance", "retries", "within"), [(0.01, 10, 0.2), (0.3, 10, 0.02), (0.3, 2, 0.02)])
def test_h5_lost_replies(chance: float, retries: int, within: float) -> None:
    """The event is stored, the step behind it fails: the caller knows nothing of it and sends it again."""
    changes = {"system.d1.error_chance": chance, "system.d1.read_retries": 0, "system.durable_objects.write_ms": 0.0}
    changes |= {"workload.duration_s": 4_000, "system.d1.read_ms": 0.0}
    step = {"steps": ["durable_objects.write", "d1.read"], "retries": retries}
    requests = 200_000
    stored = served(played(of_steps(step, scenario=ONE_KEY.with_(**changes)), requests), "durable_objects")
    formula = sum(chance**retry for retry in range(1, retries + 1))
    what = f"share billed too much, {chance:.0%} of replies lost, {retries} retries"
    shown("H5", what, formula=formula, simulated=stored / requests - 1, within=within)


def test_h7_whole_cents() -> None:
    """A charge is spread over many cents, so that rounding up adds half a cent to each."""
    tokens = {"distribution": "uniform", "low": 0, "high": 20_000}
    scenario = of_steps(
        "ledger.append", scenario=ONE_KEY.with_(**{"workload.tokens": {"tokens_in": tokens, "tokens_out": tokens}})
    )
    asked = schedule(scenario)
    cents = asked.tokens_in * 3e-4 + asked.tokens_out * 15e-4
    bias = float(np.mean(np.ceil(cents) - cents))
    shown("H7", "cents added to an event by rounding up", formula=0.5, simulated=bias, within=0.03)


@pytest.mark.parametrize("rate_per_s", [1.67, 48.0])
def test_h8_events_during_a_flush(rate_per_s: float) -> None:
    """What arrives while a flush waits for the provider: policy ``seed`` of the reference then sets all to zero."""
    arrivals = {"kind": "poisson", "rate_per_s": rate_per_s + 0.2}
    share = 0.2 / (rate_per_s + 0.2)
    routes = {
        "log": {"share": 1 - share, "steps": ["durable_objects.write"]},
        "flush": {"share": share, "steps": ["archive.write"]},
    }
    changes = {"workload.arrivals": arrivals, "system.archive.write_ms": 200.0, "system.durable_objects.write_ms": 0.0}
    requests = 60_000 if rate_per_s < 10 else 200_000
    frame = played(
        ONE_KEY.with_(**changes, **{"workload.duration_s": lasting_s(requests, rate_per_s), "routes": routes}), requests
    ).frame
    flushes, logs = (frame[frame["route"] == route] for route in ("flush", "log"))
    alone = flushes[flushes["archive_queue_ms"] == 0]
    begun, ended = alone["arrival_ms"].to_numpy(), (alone["arrival_ms"] + alone["latency_ms"]).to_numpy()
    times = np.sort(logs["arrival_ms"].to_numpy())
    lost = (np.searchsorted(times, ended) - np.searchsorted(times, begun)).mean()
    shown("H8", f"events lost per flush, {rate_per_s:g}/s", formula=rate_per_s * 0.2, simulated=lost, within=0.06)


def test_h9_flushes_charged_twice() -> None:
    """The provider charges and its answer is lost: the retry, with a key of its own, is charged as well."""
    scenario = KNOWN_TIMES.with_(**_origin(error_fraction=0.02))
    charged = served(played(of_steps({"use": "origin.fetch", "retries": 1}, scenario=scenario), 30_000), "origin")
    expected = 0.02 * 5.0
    simulated = (charged / 30_000 - 1) * 5.0
    shown(
        "H9",
        "USD charged too much per flush of 5 USD, 2 % ambiguous",
        formula=expected,
        simulated=simulated,
        within=0.1,
    )


def _origin(error_fraction: float = 0.0, **more: Any) -> dict[str, Any]:
    numbers = {"rtt_ms": 0.0, "answer_ms": 50.0, "servers": 10_000, "queue_limit": 10, "timeout_s": 120.0}
    table = {**numbers, "error_fraction": error_fraction, "bandwidth_bytes_per_s": 1e9, "component": "origin", **more}
    return {"system.origin": table}


@pytest.mark.parametrize("service_ms", [2.4, 5.0, 12.0])
def test_h13_one_object_for_all(service_ms: float) -> None:
    """At the highest rate of the formula the P99 is the 200 ms that the formula was solved for."""
    highest_per_s = 1_000 / service_ms - log(100) / 0.2
    write = {"distribution": "exponential", "mean": service_ms}
    changes: dict[str, Any] = {
        "system.durable_objects.shards": 1,
        "system.durable_objects.write_ms": write,
        "workload.arrivals": {"kind": "poisson", "rate_per_s": highest_per_s},
        "workload.duration_s": lasting_s(400_000, highest_per_s),
    }
    frame = played(of_steps("durable_objects.write", scenario=KNOWN_TIMES.with_(**changes)), 400_000).frame
    p99 = np.quantile(frame["latency_ms"], 0.99)
    shown("H13", f"P99 in ms at {highest_per_s:.0f}/s, S = {service_ms:g} ms", formula=200, simulated=p99, within=0.1)


@pytest.mark.parametrize("evict_s", [10.0, 105.0])
def test_h14_share_of_cold_requests(evict_s: float) -> None:
    """1,000 requests a day of each user; a cold request takes 60 ms more."""
    users, per_day = 200, 1_000
    rate_per_s = users * per_day / 86_400
    frame = played(_cold(users, rate_per_s, requests=40_000, users=users, evict_s=evict_s), 40_000).frame
    cold = (frame["durable_objects_ms"] > 30).mean()
    formula = exp(-per_day / 86_400 * evict_s)
    shown(
        "H14", f"share of cold requests, 1,000 a day, T = {evict_s:g} s", formula=formula, simulated=cold, within=0.03
    )


def test_h14_an_optimal_number_of_shards() -> None:
    """Few objects queue, many are cold; the formula takes the queue as M/D/1 and the start as a share of requests."""
    rate_per_s, service_ms, start_ms, evict_s = 40.0, 17.0, 60.0, 10.0

    def formula(shards: int) -> float:
        each = rate_per_s / shards
        rho = each * service_ms / 1_000
        return service_ms * (1 + rho / (2 * (1 - rho))) + start_ms * exp(-each * evict_s)

    counts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]
    predicted = [formula(count) for count in counts]
    simulated = []
    for count in counts:
        times = {"evict_s": evict_s, "read_ms": service_ms, "start_ms": start_ms}
        scenario = _cold(count, rate_per_s, requests=50_000, users=1_024, **times)
        simulated.append(float(played(scenario, 50_000).frame["latency_ms"].iloc[5_000:].mean()))
    best, expected = int(np.argmin(simulated)), int(np.argmin(predicted))
    assert 0 < best < len(counts) - 1, "the curve is U-shaped"
    assert simulated[0] > simulated[best] < simulated[-1]
    shown("H14", "shards with the lowest mean latency", formula=counts[expected], simulated=counts[best], within=0)
    for count in (2, 512):
        at = counts.index(count)
        what = f"mean latency in ms of {count} shards"
        shown("H14", what, formula=predicted[at], simulated=simulated[at], within=0.05)


def _cold(
    shards: int,
    rate_per_s: float,
    *,
    requests: int,
    users: int,
    evict_s: float,
    read_ms: float = 0.0,
    start_ms: float = 60.0,
) -> Scenario:
    changes: dict[str, Any] = {
        "workload.keys": {"count": users, "zipf": 0.0},
        "workload.arrivals": {"kind": "poisson", "rate_per_s": rate_per_s},
        "workload.duration_s": lasting_s(requests, rate_per_s),
        "system.durable_objects.shards": shards,
        "system.durable_objects.read_ms": read_ms,
        "system.durable_objects.cold_start_ms": start_ms,
        "system.durable_objects.evict_idle_ms": evict_s * 1_000,
    }
    return of_steps("durable_objects.read", scenario=KNOWN_TIMES.with_(**changes))


def test_h17_hashes_of_a_chain() -> None:
    """An append hashes every event before it, and its own: 1 us each."""
    scenario = COUNTING.with_(**{"system.ledger.write_ms": 0.001})
    frame = played(of_steps("ledger.append", scenario=scenario), 2_000).frame
    simulated = frame["ledger_ms"].sum() * 1_000
    shown("H17", "hashes of 2,000 events", formula=2_000 * 2_001 / 2, simulated=simulated, within=0)


def test_h67_messages_of_a_session() -> None:
    """A session is a ledger of another size of event: the same N*."""
    for storage, limit, size in (("kv", 131_072, 2_048), ("sqlite", 2_000_000, 2_000)):
        changes = {
            "system.durable_objects.storage": storage,
            "system.durable_objects.sqlite_value_bytes_max": 2_000_000,
            "system.durable_objects.kv_value_bytes_max": 131_072,
            "system.ledger.event_bytes": size,
        }
        frame = played(of_steps("ledger.append", scenario=COUNTING.with_(**changes)), 1_100).frame
        stored = (frame["outcome"] == "ok").sum()
        # The list has a head, and SQLite counts the key: one message less where it divides evenly.
        what = f"messages of {size:,} bytes, {storage}"
        shown("H67", what, formula=floor(limit / size), simulated=stored, within=0.02)


def test_h69_events_billed_in_the_wrong_period() -> None:
    """An event that is recorded when it arrives, E[delay] late, falls into the next period with E[delay] / length."""
    delay = {"distribution": "exponential", "mean": 2_000.0}
    scenario = KNOWN_TIMES.with_(**{"system.r2.put_ms": delay, "workload.duration_s": 10_000})
    frame = played(of_steps("r2.put", scenario=scenario), 400_000).frame
    period_ms = 60_000.0
    happened = frame["arrival_ms"] // period_ms
    recorded = (frame["arrival_ms"] + frame["latency_ms"]) // period_ms
    wrong = (happened != recorded).mean()
    shown("H69", "share in the wrong minute, 2 s late", formula=2 / 60, simulated=wrong, within=0.03)


def test_h70_a_flush_occupies_the_object() -> None:
    """Every flush holds the object for its pending rows; requests that come meanwhile wait, and so do those behind."""
    rate_per_s, interval_s, row_us, write_ms, requests = 100.0, 10.0, 100.0, 1.0, 100_000
    changes: dict[str, Any] = {
        "workload.keys.count": 1,
        "system.ledger.policy": "hardened",
        "system.ledger.write_ms": write_ms,
        "system.ledger.flush_interval_s": interval_s,
        "system.ledger.flush_row_us": row_us,
        "system.ledger.flush_chunk_rows": 100_000,
        "system.d1.write_ms": 0.0,
        **at_rate(rate_per_s, requests, kind="constant"),
    }
    scenario = KNOWN_TIMES.with_(**changes)
    wait_ms = played(of_steps("ledger.append", scenario=scenario), requests).frame["durable_objects_queue_ms"]
    stall_ms = rate_per_s * interval_s * row_us / 1_000
    shown(
        "H70", "longest wait in ms behind 1,000 rows of 0.1 ms", formula=stall_ms, simulated=wait_ms.max(), within=0.1
    )
    share = stall_ms / 1_000 / (interval_s * (1 - rate_per_s * write_ms / 1_000))
    shown("H70", "share of requests that meet a flush", formula=share, simulated=(wait_ms > 0).mean(), within=0.1)
    chunked = scenario.with_(**{"system.ledger.flush_chunk_rows": 50})
    wait_ms = played(of_steps("ledger.append", scenario=chunked), requests).frame["durable_objects_queue_ms"]
    shown("H70", "longest wait in ms, chunks of 50 rows", formula=5.0, simulated=wait_ms.max(), within=0.3)
