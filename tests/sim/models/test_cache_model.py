"""The model of the edge cache: its time, its limit, its price."""

import numpy as np
import pytest

from sim import run
from sim.judgement.cost import usage_per_month
from tests.support.routes import KNOWN_TIMES, of_steps

CACHED = KNOWN_TIMES.vary("system.cache", {"get_ms": 2.0, "put_ms": 3.0, "entry_bytes_max": 1_000})
"""Look-ups of 2 ms."""


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_share_of_misses_is_the_chance_of_what_stands_behind_the_look_up(engine: str) -> None:
    behind = {"steps": [{"use": "d1.read", "times": 2}, {"use": "cache.put", "spawn": True}], "chance": 0.2}
    frame = run(of_steps("cache.get", behind, scenario=CACHED), on=engine, requests=5_000, rng=3).frame
    assert (frame["cache_ms"] == 2.0).all()
    missed = (frame["d1_ms"] > 0).to_numpy()
    assert missed.mean() == pytest.approx(0.2, abs=4 * (0.16 / len(missed)) ** 0.5)
    assert frame.loc[missed, "d1_ms"].to_numpy() == pytest.approx(10.0)
    assert frame.loc[~missed, "latency_ms"].to_numpy() == pytest.approx(2.0)


def test_entry_over_the_limit_is_refused() -> None:
    sizes = {"size_bytes": {"distribution": "uniform", "low": 500, "high": 1_500}}
    frame = run(of_steps("cache.put", scenario=CACHED, **sizes), on="compiled", requests=1_000).frame
    too_large = frame["size_bytes"] > 1_000
    assert 0 < too_large.sum() < len(frame)
    assert np.array_equal(frame["outcome"] == "too_large", too_large)
    assert np.array_equal(frame["cache_ms"] == 3.0, ~too_large)


def test_cache_is_free_of_charge() -> None:
    used = usage_per_month(of_steps("workers.compute", "cache.get", "cache.put", size_bytes=1e6), 1e6)
    without = usage_per_month(of_steps("workers.compute", size_bytes=1e6), 1e6)
    assert used == without
