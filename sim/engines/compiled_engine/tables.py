"""Laws and conditions as rows of numbers, for the compiled machine.

Each row holds what the formula in ``sim/randomness/distributions.py`` needs, worked out once.
"""

from collections.abc import Callable
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
    d.Constant: (k.CONSTANT, lambda law: (law.value,)),
    d.Uniform: (k.UNIFORM, lambda law: (law.low, law.high - law.low)),
    d.Exponential: (k.EXPONENTIAL, lambda law: (law.mean,)),
    d.Lognormal: (k.LOGNORMAL, lambda law: (law.median, law.sigma)),
    d.Weibull: (k.WEIBULL, lambda law: (law.scale, 1 / law.shape)),
    d.Pareto: (k.PARETO, lambda law: (law.minimum, 1 / law.shape, law.cut)),
    d.Erlang: (k.ERLANG, lambda law: (law.mean / law.stages,)),
    d.Hyperexponential: (k.HYPEREXPONENTIAL, lambda law: (*law.branch_means, law.share)),
    d.Empirical: (k.EMPIRICAL, lambda _: ()),
}
"""Code of each law, and its parameters a, b, c in :data:`sim.engines.compiled_engine.kernel.layout.LAW`."""


class Tables:
    """Rows in the order in which steps ask for them.

    Parameters
    ----------
    placement : Placement
    seed : int
    """

    def __init__(self, placement: Placement, *, seed: int) -> None:
        self.placement, self.seed = placement, seed
        self._laws: list[dict[str, Any]] = []
        self._conditions: list[dict[str, Any]] = []
        self._knots: list[float] = []

    def law(self, time: d.AnyLaw | f.Time, stream: str) -> int:
        """The row of a time that is drawn at *stream*."""
        time = f.as_time(time)
        kind, parameters = PARAMETERS[type(time.law)]
        row: dict[str, Any] = dict(zip("abc", parameters(time.law), strict=False))
        row |= {"kind": kind, "draws": time.law.draws, "key": stream_key(self.seed, stream), "scale": time.scale}
        if isinstance(time.law, d.Empirical):
            row |= {"knots": len(self._knots), "knots_count": len(time.law.values)}
            self._knots.extend(time.law.values)
        row |= {"first": k.NONE, "instances": 1, "each_ms": time.each_ms}
        row["at_most"] = inf if time.at_most is None else time.at_most
        if isinstance(time.of, f.Counter):
            row |= self.placement.of(time.of)
        elif time.of is not None:
            row["attribute"] = ATTRIBUTES[time.of]
        self._laws.append(row)
        return len(self._laws) - 1

    def condition(self, condition: f.Condition) -> int:
        """The row of a condition."""
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
            case f.Drained(bucket):
                return {"kind": k.DRAINED, **place(bucket)}
            case _:
                raise f.unknown(condition, "the compiled engine")

    @property
    def laws(self) -> NDArray[np.void]:
        """All times; shape (n,)."""
        return rows(self._laws, k.LAW)

    @property
    def conditions(self) -> NDArray[np.void]:
        """All conditions; shape (n,)."""
        return rows(self._conditions, k.CONDITION)

    @property
    def knots(self) -> NDArray[np.float64]:
        """Values of all empirical laws, one after the other; shape (n,)."""
        return np.array(self._knots, dtype=np.float64)


def rows(records: list[dict[str, Any]], kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Records as an array; what a record does not say is 0; shape (n,)."""
    assert kind.names is not None
    array = np.zeros(len(records), kind)
    for name in kind.names:
        array[name] = [record.get(name, 0) for record in records]
    return array
