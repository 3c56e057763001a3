"""The universal scalability law, fitted to a ramp: throughput as a function of load, with contention and coherency.

``X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1))``: N is the load (users, servers, requests in flight), gamma the
throughput of one, alpha the serial part, beta the cost of agreement between each pair. Beyond ``sqrt((1 - alpha) /
beta)`` more load yields less; without coherency throughput tends to ``gamma / alpha``.

Sources
-------
Gunther, "Guerrilla Capacity Planning", 2007, chapters 4 to 6; "A general theory of computational scalability based on
rational functions", 2008.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from sim.experiments.calibration.laws import Interval
from sim.foundation.errors import UsageError

Array = NDArray[np.float64]

LOADS_MIN = 6
"""Three parameters, and as many degrees of freedom for the residuals."""
KNEE_EFFICIENCY = 0.7
"""A ramp whose last loads still yield more than this of linear has not met what limits it."""
RESAMPLES = 400
NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Scalability:
    """A fitted scalability law.

    Attributes
    ----------
    gamma_per_s : Interval
        Throughput at a load of 1.
    alpha, beta : Interval
        Contention and coherency.
    peak_load, peak_per_s : Interval
        Where throughput is highest, and how high; without coherency the load is infinite.
    loads, throughput_per_s, residual_per_s : ndarray, shape (n,)
        The ramp, and observed less fitted.
    """

    gamma_per_s: Interval
    alpha: Interval
    beta: Interval
    peak_load: Interval
    peak_per_s: Interval
    loads: Array
    throughput_per_s: Array
    residual_per_s: Array

    def at(self, load: Array) -> Array:
        """Return the fitted throughput, shape of *load*."""
        at = np.asarray(load, dtype=np.float64)
        return law(at, gamma=self.gamma_per_s.value, alpha=self.alpha.value, beta=self.beta.value)

    def __str__(self) -> str:
        peak = self.peak_per_s
        return (
            f"peak {peak.value:.4g}/s [{peak.low:.4g}, {peak.high:.4g}] at load {self.peak_load.value:.3g}; contention "
            f"{self.alpha.value:.3g}, coherency {self.beta.value:.2g}; largest residual "
            f"{float(np.abs(self.residual_per_s / self.throughput_per_s).max()):.1%}"
        )


def law(load: Array, *, gamma: float, alpha: float, beta: float) -> Array:
    """Return throughput at *load*, shape of *load*."""
    return np.asarray(gamma * load / (1 + alpha * (load - 1) + beta * load * (load - 1)))


def peak(*, gamma: float, alpha: float, beta: float) -> tuple[float, float]:
    """Return the load of highest throughput, and that throughput."""
    if beta <= NEGLIGIBLE:
        return inf, gamma / alpha if alpha > NEGLIGIBLE else inf
    load = sqrt(max(1 - alpha, 0.0) / beta)
    load = max(load, 1.0)
    return load, float(law(np.array([load]), gamma=gamma, alpha=alpha, beta=beta)[0])


def fit_scalability(load: Sequence[float], throughput_per_s: Sequence[float], *, rng: int) -> Scalability:
    """Fit the universal scalability law to a ramp.

    Parameters
    ----------
    load : sequence of float, length n
        Concurrent users or requests in flight (mean), or servers; > 0.
    throughput_per_s : sequence of float, length n
    rng : int
        Seed of the residual bootstrap behind the intervals.

    Raises
    ------
    UsageError
        Too few loads, or a ramp that ends before throughput bends.
    """
    x, y = np.asarray(load, dtype=np.float64), np.asarray(throughput_per_s, dtype=np.float64)
    _check(x, y)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    best = _fitted(x, y)
    fitted = law(x, **best)
    residual = y - fitted
    generator = np.random.default_rng(rng)
    # Three parameters were fitted: residuals are smaller than the errors were.
    relative = residual / fitted * sqrt(len(x) / (len(x) - 3))
    again = [_fitted(x, fitted * (1 + generator.choice(relative, len(x)))) for _ in range(RESAMPLES)]
    peaks = np.array([peak(**one) for one in again])
    gamma, alpha, beta = (_interval(value, np.array([one[name] for one in again])) for name, value in best.items())
    peak_load, peak_per_s = peak(**best)
    return Scalability(
        gamma, alpha, beta, _interval(peak_load, peaks[:, 0]), _interval(peak_per_s, peaks[:, 1]), x, y, residual
    )


def _check(x: Array, y: Array) -> None:
    if x.shape != y.shape or len(x) < LOADS_MIN or len(np.unique(x)) < LOADS_MIN:
        raise UsageError(
            f"ramp: {len(np.unique(x))} loads cannot identify the scalability law, must be >= {LOADS_MIN} different"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise UsageError("ramp: loads and throughputs must be > 0 and finite")
    per_load = y / x
    top = np.argsort(x)[-2:]
    efficiency = float(per_load[top].mean() / per_load[np.argsort(x)[:2]].mean())
    if efficiency > KNEE_EFFICIENCY:
        raise UsageError(
            f"ramp: at load {x.max():g} throughput is still {efficiency:.0%} of linear, so it has not met its limit "
            f"(extend the ramp beyond load {x.max() * 2:g})"
        )


def _fitted(x: Array, y: Array) -> dict[str, float]:
    """Return gamma, alpha, beta by least squares of relative errors."""

    def misfit(p: Array) -> Array:
        return law(x, gamma=float(p[0]), alpha=float(p[1]), beta=float(p[2])) / y - 1

    start = [float(y[0] / x[0]), 0.05, 1e-3]
    found = optimize.least_squares(misfit, start, bounds=([0, 0, 0], [inf, 1, 1]), x_scale=[start[0], 0.1, 0.01])
    return dict(zip(("gamma", "alpha", "beta"), map(float, found.x), strict=True))


def _interval(value: float, again: Array) -> Interval:
    finite = np.where(np.isfinite(again), again, np.finfo(np.float64).max)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high) if high < 1e300 else inf))
