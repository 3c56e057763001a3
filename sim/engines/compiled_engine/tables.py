"""Times and conditions as rows of numbers, for the compiled machine.

Each row holds the constants of a formula in ``sim/randomness/distributions.py``, computed once.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim import flow as f
from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.placement import Placement
from sim.randomness import distributions as d
from sim.randomness.streams import stream_key

ATTRIBUTES = {"key": k.KEY, "size_bytes": k.SIZE_BYTES, "tokens_in": k.TOKENS_IN, "tokens_out": k.TOKENS_OUT}

PARAMETERS: dict[type, tuple[int, Callable[[Any], tuple[float, ...]]]] = {
    d.Constant: (k.CONSTANT, lambda distribution: (distribution.value,)),
    d.Uniform: (k.UNIFORM, lambda distribution: (distribution.low, distribution.high - distribution.low)),
    d.Exponential: (k.EXPONENTIAL, lambda distribution: (distribution.mean,)),
    d.Lognormal: (k.LOGNORMAL, lambda distribution: (distribution.median, distribution.sigma)),
    d.Weibull: (k.WEIBULL, lambda distribution: (distribution.scale, 1 / distribution.shape)),
    d.Pareto: (k.PARETO, lambda distribution: (distribution.minimum, 1 / distribution.shape, distribution.cut)),
    d.Erlang: (k.ERLANG, lambda distribution: (distribution.mean / distribution.stages,)),
    d.Hyperexponential: (k.HYPEREXPONENTIAL, lambda distribution: (*distribution.branch_means, distribution.share)),
    d.Empirical: (k.EMPIRICAL, lambda _: ()),
}
"""Code of each distribution, and its parameters a, b, c in :data:`sim.engines.compiled_engine.kernel.layout.TIME`."""


class Tables:
    """The rows of times and conditions, in order of addition.

    Parameters
    ----------
    placement : Placement
    seed : int
    """

    def __init__(self, placement: Placement, *, seed: int) -> None:
        self.placement, self.seed = placement, seed
        self._times: list[dict[str, Any]] = []
        self._conditions: list[dict[str, Any]] = []
        self._knots: list[float] = []
        self._windows: list[dict[str, Any]] = []
        self._window_keys: list[int] = []

    def time(self, time: d.AnyDistribution | f.Time, stream: str) -> int:
        """Add the row of a time that is drawn from *stream*; return its number."""
        time = f.as_time(time)
        kind, parameters = PARAMETERS[type(time.distribution)]
        row: dict[str, Any] = dict(zip("abc", parameters(time.distribution), strict=False))
        row |= {
            "kind": kind,
            "draws": time.distribution.draws,
            "key": stream_key(self.seed, stream),
            "scale": time.scale,
        }
        if isinstance(time.distribution, d.Empirical):
            row |= {"knots": len(self._knots), "knots_count": len(time.distribution.values)}
            self._knots.extend(time.distribution.values)
        row |= {"first": k.NONE, "instances": 1, "each_ms": time.each_ms}
        row["at_most"] = inf if time.at_most is None else time.at_most
        if isinstance(time.of, f.Counter):
            row |= self.placement.of(time.of)
        elif time.since is not None:
            row |= {"attribute": k.SINCE, **self.placement.of(time.since)}
        elif time.of is not None:
            row["attribute"] = ATTRIBUTES[time.of]
        row |= self._windows_of((pace.windows, pace.speed) for pace in time.paces)
        self._times.append(row)
        return len(self._times) - 1

    def condition(self, condition: f.Condition) -> int:
        """Add the row of a condition; return its number."""
        self._conditions.append({"instances": 1} | self._meaning(condition))
        return len(self._conditions) - 1

    def _meaning(self, condition: f.Condition) -> dict[str, Any]:
        place = self.placement.of
        match condition:
            case f.Chance(probability, stream):
                return {"kind": k.CHANCE, "low": probability, "key": stream_key(self.seed, stream)}
            case f.Idle(station, longer_than_ms):
                return {"kind": k.IDLE, "low": longer_than_ms, **place(station)}
            case f.Waiting(station, at_least):
                return {"kind": k.WAITING, "low": at_least, **place(station)}
            case f.CountAtLeast(counter, at_least):
                return {"kind": k.COUNT_AT_LEAST, "low": at_least, **place(counter)}
            case f.AttributeOver(attribute, limit):
                return {"kind": k.ATTRIBUTE_OVER, "low": limit, "attribute": ATTRIBUTES[attribute]}
            case f.During(start_ms, end_ms):
                return {"kind": k.DURING, "low": start_ms, "high": end_ms}
            case f.Within(windows):
                return {"kind": k.WITHIN, **self._windows_of([(windows, 1.0)])}
            case f.Drained(bucket):
                return {"kind": k.DRAINED, **place(bucket)}
            case _:
                raise f.unknown(condition, "the compiled engine")

    def _windows_of(self, paces: Iterable[tuple[f.Windows, float]]) -> dict[str, int]:
        """Add the rows of windows and their speeds; return the operands that find them."""
        first = len(self._windows)
        for windows, speed in paces:
            keys = {
                "keys": len(self._window_keys),
                "keys_count": len(windows.keys),
                "instances": windows.instances,
            }
            self._window_keys.extend(windows.keys)
            self._windows += [
                {"start_ms": start_ms, "end_ms": end_ms, "speed": speed, **keys} for start_ms, end_ms in windows.spans
            ]
        return {"windows": first, "windows_count": len(self._windows) - first}

    @property
    def windows(self) -> NDArray[np.void]:
        """All windows; shape (n,)."""
        return rows(self._windows, k.WINDOW)

    @property
    def window_keys(self) -> NDArray[np.int64]:
        """The keys that windows concern, one list after the other; shape (n,)."""
        return np.array(self._window_keys, dtype=np.int64)

    @property
    def times(self) -> NDArray[np.void]:
        """All times; shape (n,)."""
        return rows(self._times, k.TIME)

    @property
    def conditions(self) -> NDArray[np.void]:
        """All conditions; shape (n,)."""
        return rows(self._conditions, k.CONDITION)

    @property
    def knots(self) -> NDArray[np.float64]:
        """Values of all empirical distributions, one after the other; shape (n,)."""
        return np.array(self._knots, dtype=np.float64)


def rows(records: list[dict[str, Any]], kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Return records as an array; missing fields are 0; shape (n,)."""
    assert kind.names is not None
    array = np.zeros(len(records), kind)
    for name in kind.names:
        array[name] = [record.get(name, 0) for record in records]
    return array
