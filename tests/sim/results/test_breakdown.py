"""Where the time goes.

Goal: the parts of a percentile are what its requests spent, and add up. Method: frames whose parts are known, and a
simulated run, whose parts must add up to its latencies.
"""

import numpy as np
import pytest

from sim import run
from sim.results.breakdown import by_route, waterfall
from tests.support import frames


def test_parts_of_simulated_requests_add_up_to_their_latency() -> None:
    played = run("launch", on="compiled", requests=5_000)
    table = waterfall([played])
    latency_ms = np.sort(played.steady().frame["latency_ms"])
    tail_ms = latency_ms[int(np.ceil(0.99 * len(latency_ms))) - 1 :]
    assert table["p99_ms"].sum() == pytest.approx(tail_ms.mean(), rel=1e-9)
    assert "overhead_ms" not in set(table["part"])
    assert "worker_cpu_ms" not in set(table["part"])


def test_slow_requests_are_told_by_what_made_them_slow() -> None:
    slow = np.arange(1_000) >= 980
    r2_ms, network_ms = np.where(slow, 500.0, 0.0), np.full(1_000, 10.0)
    played = frames.result(frames.frame(r2_ms + network_ms, r2_ms=r2_ms, network_ms=network_ms))
    parts = waterfall([played])
    assert parts["part"].tolist() == ["network_ms", "r2_ms"]
    assert parts["p50_ms"].tolist() == pytest.approx([10.0, 0.0])
    assert parts["p99_ms"].tolist() == pytest.approx([10.0, 500.0])


def test_what_no_component_accounts_for_is_overhead() -> None:
    played = frames.result(frames.frame(np.full(100, 12.0), network_ms=np.full(100, 10.0)))
    assert waterfall([played]).set_index("part").loc["overhead_ms", "p50_ms"] == pytest.approx(2.0)


def test_failures_and_warm_up_are_left_out_of_the_waterfall() -> None:
    played = frames.result(frames.frame(np.full(100, 12.0), outcome="timeout"))
    assert waterfall([played]).empty
    assert waterfall([frames.result(frames.frame(np.full(100, 12.0)), warm_up_ms=1e9)]).empty


def test_every_route_has_its_own_row() -> None:
    played = frames.result(frames.frame(np.arange(1.0, 1_001.0), outcome=["ok"] * 990 + ["error"] * 10))
    (row,) = by_route([played]).to_dict(orient="records")
    assert (row["route"], row["n"], row["errors"]) == ("log", 1_000, 10)
    assert row["p50_low_ms"] <= row["p50_ms"] == 500.0 <= row["p50_high_ms"]
    assert row["p99_ms"] == 990.0
    assert row["p99_high_ms"] == np.inf  # A failure is infinitely slow.


def test_replications_are_put_together() -> None:
    played = frames.result(frames.frame(np.ones(100)))
    assert by_route([played, played])["n"].tolist() == [200]


def test_requests_that_were_never_sent_are_not_counted() -> None:
    played = frames.result(frames.frame(np.ones(100), outcome=["ok"] * 50 + ["skipped"] * 50))
    assert by_route([played])["n"].tolist() == [50]
