"""Schedules for engine tests: plain arrays, no scenario needed."""

from typing import Any

import numpy as np

from sim.randomness.streams import stream_key, uniforms
from sim.scenario.schedule import Schedule


def poisson(requests: int, *, rate_per_s: float, seed: int = 1, keys: int = 1, size_bytes: int = 0) -> Schedule:
    """*requests* Poisson arrivals with round-robin keys."""
    index = np.arange(requests)
    gaps_ms = -np.log1p(-uniforms(stream_key(seed, "test.arrivals"), index)) / rate_per_s * 1000
    return at(np.cumsum(gaps_ms), key=index % keys, size_bytes=np.full(requests, size_bytes))


def at(arrival_ms: Any, **columns: Any) -> Schedule:
    """Arrivals at the given times."""
    times = np.asarray(arrival_ms, dtype=np.float64)
    nothing = np.zeros(len(times), dtype=np.int64)
    fields: dict[str, Any] = {
        "routes": ("log",),
        "route_code": np.zeros(len(times), dtype=np.int16),
        "key": nothing,
        "size_bytes": nothing,
        "tokens_in": nothing,
        "tokens_out": nothing,
        "object_number": nothing - 1,
        "duration_ms": float(times[-1]) if len(times) else 0.0,
        "user": None,
        "think_ms": None,
    }
    return Schedule(arrival_ms=times, **(fields | columns))
