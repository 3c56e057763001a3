"""Hazards of D1, of the composition of latencies and of their measurement, simulated beside their formulas."""

from collections.abc import Sequence
from math import exp, pi, sqrt
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from sim.judgement.cost import cost
from sim.scenario.scenario import Scenario
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, error_of_a_share, played, served, shown

MONTH = 30_000_000.0
"""Requests a month at a million a day."""


def line_usd(scenario: Scenario, meter: str, *, requests_per_month: float) -> float:
    """What one line of the bill costs."""
    lines = cost(scenario, requests_per_month=requests_per_month).lines
    return sum(line.usd for line in lines if f"{line.component}.{line.meter}" == meter)


# --- D1 -----------------------------------------------------------------------------------------


def test_h18_one_query_at_a_time() -> None:
    """Mean response S / (1 - rho) at half of the highest rate, and 1 / S where more is offered."""
    read = {"distribution": "exponential", "mean": 5.0}
    half = KNOWN_TIMES.with_(**{"system.d1.read_ms": read}, **at_rate(100.0, 200_000))
    mean_ms = played(of_steps("d1.read", scenario=half), 200_000).frame["latency_ms"].mean()
    shown("H18", "mean response in ms at rho = 0.5, S = 5 ms", formula=10.0, simulated=mean_ms, within=0.03)
    shown(
        "H18",
        "queries/s of a full database, S = 2 ms",
        formula=500,
        simulated=_throughput("d1.write", 2.0),
        within=0.01,
    )


@pytest.mark.parametrize("write_ms", [5.0])
def test_h25_a_hot_counter(write_ms: float) -> None:
    """A read that writes last_used is a write of one row in the queue of all others."""
    found = _throughput("d1.write", write_ms)
    shown("H25", "updates/s of one row, S = 5 ms", formula=1_000 / write_ms, simulated=found, within=0.01)
    both = {"reads": {"share": 0.5, "steps": ["d1.read"]}, "counts": {"share": 0.5, "steps": ["d1.write"]}}
    times = {"system.d1.read_ms": 1.0, "system.d1.write_ms": write_ms, **at_rate(600.0, 20_000)}
    frame = played(KNOWN_TIMES.with_(routes=both, **times), 20_000).frame
    rate = len(frame) / _end_s(frame)
    what = "requests/s of a database if half of the reads count"
    shown("H25", what, formula=1_000 / ((1.0 + write_ms) / 2), simulated=rate, within=0.02)


def _throughput(use: str, service_ms: float) -> float:
    requests = 20_000
    times = {f"system.{use}_ms": service_ms, **at_rate(2_000 / service_ms, requests)}
    frame = played(of_steps(use, scenario=KNOWN_TIMES.with_(**times)), requests).frame
    return len(frame) / _end_s(frame)


def _end_s(frame: Any) -> float:
    return float((frame["arrival_ms"] + frame["latency_ms"]).max() / 1_000)


def test_h19_days_until_a_database_is_full() -> None:
    for row_bytes in (300, 500):
        step = {"use": "d1.write", "rows_written": 4, "stored_bytes": row_bytes}
        limits = cost(of_steps(step), requests_per_month=MONTH).limits
        found = next(
            one for one in limits if one.what.startswith("d1") and one.plan == "paid" and one.kind == "storage"
        )
        # The day that the limit falls on, counted from 1.
        formula = 1e10 / (1e6 * row_bytes)
        what = f"days to 10 GB, a million rows of {row_bytes} bytes a day"
        shown("H19", what, formula=formula, simulated=found.day_number, within=0.06)


@pytest.mark.parametrize(("keys", "usd"), [(10_000, 275.0), (100_000, 2_975.0)])
def test_h20_a_look_up_without_an_index(keys: int, usd: float) -> None:
    sql = "SELECT user_id FROM api_keys WHERE key_hash = ?"
    found = line_usd(_reading(sql, api_keys=keys), "d1.rows_read", requests_per_month=MONTH)
    shown("H20", f"USD a month, {keys:,} keys", formula=usd, simulated=found, within=0.001)


@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_h21_rows_read_without_an_index(rows: int) -> None:
    """The time of the read grows with the table: 0.08 us a row, sorted once more."""
    sql = "SELECT * FROM loras ORDER BY downloads DESC LIMIT ?"
    scenario = _reading(sql, loras=rows)
    took_ms = played(scenario, 200).frame["d1_ms"].max() - 5.0
    shown(
        "H21", f"rows read of {rows:,} adapters by downloads", formula=2 * rows, simulated=took_ms / 0.08e-3, within=0
    )


def _reading(sql: str, **rows: int) -> Scenario:
    step = {"use": "d1.read", "sql": sql, "returned_rows": 20}
    return of_steps(step, scenario=KNOWN_TIMES.with_(**{"system.d1.rows": rows, "system.d1.row_us": 0.08}))


def test_h22_rows_of_an_event() -> None:
    step = {"use": "d1.write", "rows_written": 4, "stored_bytes": 0}
    found = line_usd(of_steps(step), "d1.rows_written", requests_per_month=3e8)
    shown("H22", "USD a month of 10 million events a day, 4 rows each", formula=1_150.0, simulated=found, within=1e-6)


@pytest.mark.parametrize("queries", [1, 5, 10])
def test_h24_queries_pay_the_distance(queries: int) -> None:
    times = {"system.d1.rtt_ms": 50 / queries, "system.d1.read_ms": 0.0}
    frame = played(of_steps({"use": "d1.read", "times": queries}, scenario=KNOWN_TIMES.with_(**times)), 2_000).frame
    what = f"median in ms of {queries} queries at {50 / queries:g} ms"
    shown("H24", what, formula=50.0, simulated=frame["latency_ms"].median(), within=1e-3)


def test_h26_events_that_cannot_be_ordered() -> None:
    """created_at counts whole seconds: an event has a tie if another one falls into its second."""
    rate_per_s = 0.5
    changes = {"system.d1.write_ms": 0.0, **at_rate(rate_per_s, 50_000)}
    frame = played(of_steps("d1.write", scenario=KNOWN_TIMES.with_(**changes)), 50_000).frame
    second = np.floor((frame["arrival_ms"] + frame["latency_ms"]).to_numpy() / 1_000).astype(np.int64)
    tied = (np.bincount(second)[second] > 1).mean()
    formula = 1 - exp(-rate_per_s)
    shown("H26", "share of events with a tie, 0.5/s", formula=formula, simulated=tied, within=0.03)


# --- Composition of latencies -------------------------------------------------------------------


def _exponential(names: Sequence[str], mean_ms: float = 10.0) -> dict[str, Any]:
    """Instances of R2, where nobody queues, each with an exponential time."""
    time = {"distribution": "exponential", "mean": mean_ms}
    return {f"system.{name}": {"like": "r2", "component": "r2", "get_ms": time} for name in names}


@pytest.mark.parametrize("hops", [5, 7])
def test_h53_serial_hops(hops: int) -> None:
    names = [f"hop{number}" for number in range(hops)]
    requests = 40_000
    scenario = KNOWN_TIMES.with_(**_exponential(names), **at_rate(1_000.0, requests))
    frame = played(of_steps(*(f"{name}.get" for name in names), scenario=scenario), requests).frame
    hop_ms = frame[[f"{name}_ms" for name in names]].to_numpy()
    over = (hop_ms > 10.0 * np.log(100)).any(axis=1).mean()
    share = 1 - 0.99**hops
    within = error_of_a_share(share, requests)
    shown("H53", f"share with a hop over its P99, {hops} hops", formula=share, simulated=over, within=within)
    tightened = (hop_ms > -10.0 * np.log(1 - 0.99 ** (1 / hops))).any(axis=1).mean()
    within = error_of_a_share(0.01, requests)
    shown("H53", f"share over the quantile 0.99^(1/{hops})", formula=0.01, simulated=tightened, within=within)


def test_h54_parallel_calls() -> None:
    requests = 10_000
    scenario = KNOWN_TIMES.with_(**_exponential(["leaf"]), **at_rate(1_000.0, requests))
    fan = {"use": "leaf.get", "times": 100, "parallel": True}
    frame = played(of_steps(fan, scenario=scenario), requests).frame
    over = (frame["latency_ms"] > 10.0 * np.log(100)).mean()
    share = 1 - 0.99**100
    within = error_of_a_share(share, requests)
    shown("H54", "share of 100-way requests over a P99", formula=share, simulated=over, within=within)


def test_h54_hedging() -> None:
    """A copy after the P95: at most 5 % more calls, and a tail that is the product of two."""
    requests, p95_ms = 100_000, 10.0 * float(np.log(20))
    time = {"distribution": "exponential", "mean": 10.0}
    changes = {"system.auth": {"like": "workers", "isolates": "elastic", "cpu_ms": time}, **at_rate(200.0, requests)}
    hedged = {"use": "auth.compute", "hedge_ms": p95_ms}
    result = played(of_steps(hedged, scenario=KNOWN_TIMES.with_(**changes)), requests)
    extra = served(result, "auth") / requests - 1
    within = error_of_a_share(0.05, requests)
    shown("H54", "additional calls of a hedge at the P95", formula=0.05, simulated=extra, within=within)
    # P(X > t) P(X > t - P95) = 1 % at t = (mean ln 100 + P95) / 2.
    formula = (10.0 * float(np.log(100)) + p95_ms) / 2
    p99 = result.frame["latency_ms"].quantile(0.99)
    shown("H54", "P99 in ms with that hedge, 46.1 without", formula=formula, simulated=p99, within=0.03)


# --- Measurement --------------------------------------------------------------------------------

BRIEF_BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
"""Default bounds of an OpenTelemetry histogram, in part: none at 200 ms."""


def histogram_quantile(values: Any, probability: float) -> float:
    """Return the quantile that Prometheus interpolates linearly within a bucket."""
    counts = np.concatenate([[0], np.cumsum(np.histogram(values, bins=[0, *BRIEF_BOUNDS_MS])[0])])
    wanted = probability * counts[-1]
    at = int(np.searchsorted(counts, wanted))
    low, high = ([0, *BRIEF_BOUNDS_MS][edge] for edge in (at - 1, at))
    return float(low + (high - low) * (wanted - counts[at - 1]) / (counts[at] - counts[at - 1]))


def test_h56_a_histogram_without_a_bound_at_the_target() -> None:
    """All requests just above 100 ms: the P99 is read as 100 + 0.99 x 150."""
    scenario = KNOWN_TIMES.with_(**{"system.r2.get_ms": {"distribution": "uniform", "low": 100.2, "high": 100.8}})
    latency = played(of_steps("r2.get", scenario=scenario), 4_000).frame["latency_ms"]
    error = histogram_quantile(latency, 0.99) / latency.quantile(0.99) - 1
    shown("H56", "relative error of the P99 just above 100 ms", formula=1.47, simulated=error, within=0.02)


def test_h50_a_product_of_availabilities() -> None:
    """Six services that fail 1 % of their calls each: an availability that a run of this length can measure."""
    names = [f"part{number}" for number in range(6)]
    requests = 100_000
    parts = {
        f"system.{name}": {"like": "d1", "component": "d1", "error_chance": 0.01, "read_retries": 0} for name in names
    }
    scenario = of_steps(
        *(f"{name}.read" for name in names), scenario=KNOWN_TIMES.with_(**parts, **at_rate(10.0, requests))
    )
    found = (played(scenario, requests).frame["outcome"] == "ok").mean()
    shown("H50", "availability of six parts at 99 %", formula=0.99**6, simulated=found, within=0.004)


def test_h57_exceptions_are_not_counted() -> None:
    """Exceptions (2 %, before the origin is asked) have no row in the metrics; its errors (1 %) have."""
    requests = 100_000
    origin = {
        "component": "origin", "rtt_ms": 0.0, "answer_ms": 1.0, "servers": 100, "queue_limit": 1_000,
        "timeout_s": 120.0, "error_fraction": 0.01, "bandwidth_bytes_per_s": 1e9,
    }  # fmt: skip
    changes = {
        "system.d1.error_chance": 0.02,
        "system.d1.read_retries": 0,
        "system.origin": origin,
        **at_rate(50.0, requests),
    }
    frame = played(of_steps("d1.read", "origin.fetch", scenario=KNOWN_TIMES.with_(**changes)), requests).frame
    good, thrown = (frame["outcome"] == "ok").sum(), (frame["origin_ms"] == 0).sum()
    shown("H57", "measured availability", formula=0.99, simulated=good / (requests - thrown), within=0.002)
    shown("H57", "true availability", formula=0.98 * 0.99, simulated=good / requests, within=0.002)


def test_h59_a_closed_loop_hides_a_stall() -> None:
    """A stall of 1 s delays every request of an open loop that comes in it; one user of a closed loop sees it once."""
    stall_s, rate_per_s, read_ms, requests = 1.0, 100.0, 1.0, 100_000
    stalls = {"system.d1.stall_chance": 2e-4, "system.d1.stall_ms": stall_s * 1_000, "system.d1.read_ms": read_ms}
    opened = KNOWN_TIMES.with_(**stalls, **at_rate(rate_per_s, requests, kind="constant"))
    frame = played(of_steps("d1.read", scenario=opened), requests).frame
    number = (frame["d1_ms"] > stall_s * 1_000).sum()
    delayed = (frame["d1_queue_ms"] > 0).sum() / number
    formula = stall_s * rate_per_s / (1 - rate_per_s * read_ms / 1_000)
    shown("H59", "delayed requests of a stall of 1 s, 100/s", formula=formula, simulated=delayed, within=0.03)
    closed = {"kind": "closed", "users": 1, "think_ms": 9.0}
    alone = KNOWN_TIMES.with_(**stalls, **{"workload.arrivals": closed, "workload.requests": requests})
    frame = played(of_steps("d1.read", scenario=alone), requests).frame
    seen = (frame["latency_ms"] > 2 * read_ms).sum() / (frame["d1_ms"] > stall_s * 1_000).sum()
    shown("H59", "of which one closed-loop user sees", formula=1.0, simulated=seen, within=0)


@pytest.mark.parametrize("sample", [300, 1_000, 10_000])
def test_h60_the_spread_of_a_p99(sample: int) -> None:
    """Relative standard deviation sqrt(p (1 - p) / n) / (f(q) q), for a lognormal of sigma 0.8."""
    sigma, z = 0.8, norm.ppf(0.99)
    requests = 600_000
    time = {"distribution": "lognormal", "median": 10.0, "p99": 10.0 * exp(sigma * z)}
    scenario = KNOWN_TIMES.with_(**{"system.r2.get_ms": time}, **at_rate(1_000.0, requests))
    latency = played(of_steps("r2.get", scenario=scenario), requests).frame["latency_ms"].to_numpy()
    found = np.quantile(latency.reshape(-1, sample), 0.99, axis=1)
    density = exp(-z * z / 2) / sqrt(2 * pi) / sigma
    formula = sqrt(0.99 * 0.01 / sample) / density
    spread = found.std() / (10.0 * exp(sigma * z))
    shown("H60", f"relative deviation of a P99, n = {sample:,}", formula=formula, simulated=spread, within=0.2)
