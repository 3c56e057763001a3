"""The model of an origin: its queue, its errors, its time limit; nothing of it is on the bill."""

from typing import Any

import numpy as np
import pytest

from sim import run
from sim.judgement.cost import usage_per_month
from sim.theory.memoryless_queues import erlang_c
from tests.support.routes import KNOWN_TIMES, of_steps

TABLE: dict[str, Any] = {
    "rtt_ms": 0.0, "answer_ms": {"distribution": "exponential", "mean": 50.0}, "servers": 4, "queue_limit": 100_000,
    "timeout_s": 120.0, "error_fraction": 0.0, "bandwidth_bytes_per_s": 1e6,
}  # fmt: skip


def played(engine: str = "compiled", requests: int = 2_000, **table: Any) -> Any:
    scenario = KNOWN_TIMES.vary("system.origin", {**TABLE, **table})
    return run(of_steps("origin.fetch", scenario=scenario, size_bytes=1_000.0), on=engine, requests=requests, rng=9)


def test_engines_agree_request_by_request() -> None:
    crowded: dict[str, Any] = {"rtt_ms": 6.0, "queue_limit": 3, "timeout_s": 0.15, "error_fraction": 0.1}
    frames = [played(engine, **crowded).frame for engine in ("simpy", "compiled")]
    assert np.array_equal(frames[0]["latency_ms"], frames[1]["latency_ms"])
    assert np.array_equal(frames[0]["outcome"], frames[1]["outcome"])
    assert {"ok", "error", "timeout", "overloaded"} <= set(frames[0]["outcome"])


def test_wait_for_a_server_is_erlangs() -> None:
    rate_per_s, servers, mean_s = 57.9, 4, 0.05
    wait_s = erlang_c(rate_per_s * mean_s, servers) / (servers / mean_s - rate_per_s)
    frame = played(requests=100_000).frame
    assert frame["origin_queue_ms"].mean() == pytest.approx(1_000 * wait_s, rel=0.1)


def test_share_of_errors_and_time_of_a_fetch() -> None:
    frame = played(answer_ms=20.0, rtt_ms=10.0, servers=1_000, error_fraction=0.25).frame
    assert frame["origin_ms"].to_numpy() == pytest.approx(20 + 10 + 1)
    failed = (frame["outcome"] == "error").mean()
    assert failed == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(frame)) ** 0.5)


def test_fetch_that_takes_too_long_is_given_up() -> None:
    frame = played(answer_ms=500.0, servers=1_000, timeout_s=0.3).frame
    assert (frame["outcome"] == "timeout").all()
    assert frame["client_ms"].to_numpy() == pytest.approx(300.0)


def test_fetch_is_free_of_charge() -> None:
    used = usage_per_month(of_steps("workers.compute", "origin.fetch", size_bytes=1e6), 1e6)
    assert used == usage_per_month(of_steps("workers.compute", size_bytes=1e6), 1e6)
