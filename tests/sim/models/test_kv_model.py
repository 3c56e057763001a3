"""The model of KV: hot and cold reads, the limit on writes, the bill.

Goal: the share of hot reads is that of a cache that keeps each key for its time, and the refusals are those of one
write a second. Method: the same rules written again over the requests of a run, in a loop of ten lines.
"""

import numpy as np
import pytest

from sim import run
from sim.judgement.cost import cost, price, usage_per_month
from sim.results.result import Result
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES, of_steps

NEAR = KNOWN_TIMES.vary(
    "system.kv",
    {
        "hot_ms": 7.0, "cold_ms": 200.0, "cache_ttl_s": 2.0, "write_ms": 60.0, "list_ms": 80.0,
        "value_bytes_max": 1_000, "writes_per_s": 1.0,
    },
)  # fmt: skip
"""A namespace whose every time is known; copies are kept for two seconds."""


def played(*steps: object, engine: str = "compiled", **route: object) -> Result:
    return run(of_steps(*steps, scenario=NEAR, **route), on=engine, requests=4_000, rng=5)


def test_read_is_hot_while_a_copy_lasts() -> None:
    frame = played("kv.get").frame
    kept_until_ms: dict[int, float] = {}
    expected = np.zeros(len(frame))
    fills: list[tuple[float, int]] = []
    for row, (at_ms, key) in enumerate(zip(frame["arrival_ms"], frame["key"], strict=True)):
        for filled_ms, other in [fill for fill in fills if fill[0] <= at_ms]:
            fills.remove((filled_ms, other))
            if kept_until_ms.get(other, -1.0) <= filled_ms:  # A second one on its way moves nothing.
                kept_until_ms[other] = filled_ms + 2_000
        if kept_until_ms.get(key, -1.0) > at_ms:
            expected[row] = 7.0
        else:
            expected[row] = 200.0
            fills.append((at_ms + 200.0, key))
    assert np.array_equal(frame["kv_ms"], expected)
    assert 0.2 < (expected == 7.0).mean() < 0.95


def test_engines_agree_request_by_request() -> None:
    steps = ("kv.get", {"use": "kv.put", "new_fraction": 0.3, "spawn": True}, "kv.list", "kv.delete")
    frames = [played(*steps, engine=engine, size_bytes=100.0).frame for engine in ("simpy", "compiled")]
    assert np.array_equal(frames[0]["latency_ms"], frames[1]["latency_ms"])
    assert (frames[0]["kv_ms"] >= 7 + 80 + 60).all()


def test_second_write_of_a_key_within_a_second_is_refused() -> None:
    frame = played({"use": "kv.put", "new_fraction": 0.0}).frame
    taken_ms: dict[int, float] = {}
    refused = np.zeros(len(frame), dtype=bool)
    for row, (at_ms, key) in enumerate(zip(frame["arrival_ms"], frame["key"], strict=True)):
        refused[row] = at_ms - taken_ms.get(key, -np.inf) < 1_000.0
        if not refused[row]:
            taken_ms[key] = at_ms
    assert np.array_equal(frame["outcome"] == "refused", refused)
    assert refused.any()
    assert (played("kv.put").frame["outcome"] == "ok").all(), "new keys do not wait for each other"


def test_value_over_the_limit_is_refused() -> None:
    frame = played("kv.put", size_bytes={"distribution": "uniform", "low": 500, "high": 1_500}).frame
    assert np.array_equal(frame["outcome"] == "too_large", frame["size_bytes"] > 1_000)


def test_every_operation_is_on_the_bill() -> None:
    steps = ({"use": "kv.get", "times": 3}, {"use": "kv.put", "new_fraction": 0.5}, "kv.delete", "kv.list")
    used = usage_per_month(of_steps(*steps, size_bytes=2e6), 1e6)
    assert {name: used[name] for name in used if name.startswith("kv.")} == pytest.approx(
        {
            "kv.reads": 3e6,
            "kv.writes": 1e6,
            "kv.deletes": 1e6,
            "kv.lists": 1e6,
            "kv.storage": 0.5 * 2e6 * 1e6 / 1e9 * 0.5,
        }
    )


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        # The price list: 10 million reads, 1 million of the rest and 1 GB are in the plan.
        ({"kv.reads": 10e6, "kv.writes": 1e6, "kv.deletes": 1e6, "kv.lists": 1e6, "kv.storage": 1.0}, 0.0),
        ({"kv.reads": 11e6}, 0.50),
        ({"kv.writes": 2e6}, 5.00),
        ({"kv.deletes": 2e6}, 5.00),
        ({"kv.lists": 2e6}, 5.00),
        ({"kv.storage": 3.0}, 1.00),
        ({"kv.reads": 100e6, "kv.writes": 3e6, "kv.storage": 11.0}, 45.0 + 10.0 + 5.0),
    ],
)
def test_price_list_to_the_cent(usage: dict[str, float], usd: float) -> None:
    assert sum(line.usd for line in price(usage, PLATFORM) if line.component == "kv") == pytest.approx(usd, abs=0.005)


def test_reads_of_a_month_cost_what_the_price_list_says() -> None:
    bill = cost(of_steps("kv.get"), requests_per_month=30e6)
    assert sum(line.usd for line in bill.lines if line.component == "kv") == pytest.approx(10.0)
