"""Families of distributions that a scenario may name, fitted by maximum likelihood.

Each family fits itself to a sample, evaluates its density and its cumulative distribution, and builds the distribution
that a scenario writes. Fits are closed forms where there are any; the others are one- or two-dimensional optima.

Sources
-------
Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions" 1, 2nd ed., 1994, chapters 14 (lognormal),
17 (gamma and Erlang), 19 (exponential), 20 (Pareto) and 21 (Weibull).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from sim.randomness.distributions import (
    NORMAL_P99,
    AnyDistribution,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
)

Array = NDArray[np.float64]
Parameters = Mapping[str, float]

STAGES_MAX = 64
SHAPE_BRACKET = (0.02, 100.0)
"""Weibull shapes between which the likelihood has its only root, for any sample that is worth fitting."""
CV2_MAX = 1e4


@dataclass(frozen=True)
class Family:
    """A family of distributions.

    Attributes
    ----------
    name : str
        As a scenario writes it.
    free_parameters : int
        Number of free parameters, for the information criterion.
    fit : callable
        ``sample -> parameters`` by maximum likelihood; None where the family cannot hold the sample.
    log_density, cdf : callable
        ``(x, parameters) -> array``.
    draw : callable
        ``(parameters, rng, n) -> sample``.
    build : callable
        ``parameters -> distribution``.
    regular : bool
        Whether the likelihood is smooth in the parameters: those of a bounded range are not.
    """

    name: str
    free_parameters: int
    fit: Callable[[Array], dict[str, float] | None]
    log_density: Callable[[Array, Parameters], Array]
    cdf: Callable[[Array, Parameters], Array]
    draw: Callable[[Parameters, np.random.Generator, int], Array]
    build: Callable[[Parameters], AnyDistribution]
    regular: bool = True


def _fit_exponential(x: Array) -> dict[str, float] | None:
    return {"mean": float(x.mean())}


def _fit_lognormal(x: Array) -> dict[str, float] | None:
    logs = np.log(x)
    median, sigma = float(np.exp(logs.mean())), float(logs.std())
    return {"median": median, "p99": float(median * np.exp(NORMAL_P99 * sigma))} if sigma > 0 else None


def _sigma(p: Parameters) -> float:
    return log(p["p99"] / p["median"]) / NORMAL_P99


def _fit_weibull(x: Array) -> dict[str, float] | None:
    logs = np.log(x)
    # Powers of values around their largest: none overflows, whatever the unit.
    scaled = logs - logs.max()

    def slope(shape: float) -> float:
        weights = np.exp(shape * scaled)
        return float((weights * scaled).sum() / weights.sum() - 1 / shape - scaled.mean())

    low, high = SHAPE_BRACKET
    if slope(low) >= 0 or slope(high) <= 0:
        return None
    shape = float(optimize.brentq(slope, low, high, xtol=1e-10))
    scale = float(np.exp(logs.max()) * np.mean(np.exp(shape * scaled)) ** (1 / shape))
    return {"mean": float(scale * special.gamma(1 + 1 / shape)), "shape": shape}


def _weibull(p: Parameters) -> tuple[float, float]:
    return p["shape"], p["mean"] / float(special.gamma(1 + 1 / p["shape"]))


def _fit_erlang(x: Array) -> dict[str, float] | None:
    mean, mean_log = float(x.mean()), float(np.log(x).mean())
    k = np.arange(1, STAGES_MAX + 1)
    per_value = k * np.log(k / mean) + (k - 1) * mean_log - k - special.gammaln(k)
    best = int(k[per_value.argmax()])
    # One stage is the exponential distribution, and at the most stages the optimum may lie beyond.
    return {"mean": mean, "stages": float(best)} if 1 < best < STAGES_MAX else None


def _fit_hyperexponential(x: Array) -> dict[str, float] | None:
    mean = float(x.mean())
    start = max(float(x.var()) / mean**2, 1.2)
    if float(x.var()) < mean**2:
        return None

    def loss(at: Array) -> float:
        p = {"mean": float(np.exp(at[0])), "cv2": float(1 + np.exp(at[1]))}
        return -float(_hyperexponential_log_density(x, p).sum())

    bounds = [(log(mean) - 2, log(mean) + 2), (log(1e-3), log(CV2_MAX))]
    found = optimize.minimize(loss, [log(mean), log(start - 1)], method="L-BFGS-B", bounds=bounds)
    return {"mean": float(np.exp(found.x[0])), "cv2": float(1 + np.exp(found.x[1]))}


def _branches(p: Parameters) -> tuple[float, float, float]:
    law = Hyperexponential(mean=p["mean"], cv2=p["cv2"])
    return (law.share, *law.branch_means)


def _hyperexponential_log_density(x: Array, p: Parameters) -> Array:
    share, short, long = _branches(p)
    logs = np.stack([log(share / short) - x / short, np.log((1 - share) / long) - x / long])
    return np.asarray(special.logsumexp(logs, axis=0))


def _hyperexponential_cdf(x: Array, p: Parameters) -> Array:
    share, short, long = _branches(p)
    return np.asarray(1 - share * np.exp(-x / short) - (1 - share) * np.exp(-x / long))


def _draw_hyperexponential(p: Parameters, rng: np.random.Generator, n: int) -> Array:
    share, short, long = _branches(p)
    return np.asarray(rng.exponential(np.where(rng.random(n) < share, short, long)))


def _fit_uniform(x: Array) -> dict[str, float] | None:
    return {"low": float(x.min()), "high": float(x.max())}


def _uniform_log_density(x: Array, p: Parameters) -> Array:
    inside = (x >= p["low"]) & (x <= p["high"])
    return np.where(inside, -log(p["high"] - p["low"]), -np.inf)


def _fit_pareto(x: Array) -> dict[str, float] | None:
    low, high = float(x.min()), float(x.max())
    ratio, mean_log = log(high / low), float(np.log(x / low).mean())

    def slope(a: float) -> float:
        return (1 - 1 / float(special.exprel(a * ratio))) / a - mean_log

    if slope(1e-3) <= 0 or slope(200.0) >= 0:
        return None
    return {"minimum": low, "shape": float(optimize.brentq(slope, 1e-3, 200.0)), "maximum": high}


def _pareto_cut(p: Parameters) -> float:
    return -float(np.expm1(-p["shape"] * log(p["maximum"] / p["minimum"])))


def _pareto_log_density(x: Array, p: Parameters) -> Array:
    a, low = p["shape"], p["minimum"]
    inside = (x >= low) & (x <= p["maximum"])
    with np.errstate(divide="ignore"):
        return np.where(inside, log(a / low / _pareto_cut(p)) - (a + 1) * np.log(x / low), -np.inf)


def _pareto_cdf(x: Array, p: Parameters) -> Array:
    clipped = np.clip(x, p["minimum"], p["maximum"])
    return np.asarray(-np.expm1(-p["shape"] * np.log(clipped / p["minimum"])) / _pareto_cut(p))


def _draw_pareto(p: Parameters, rng: np.random.Generator, n: int) -> Array:
    return np.asarray(p["minimum"] * (1 - rng.random(n) * _pareto_cut(p)) ** (-1 / p["shape"]))


FAMILIES = (
    Family(
        "exponential", 1, _fit_exponential,
        lambda x, p: -log(p["mean"]) - x / p["mean"],
        lambda x, p: -np.expm1(-x / p["mean"]),
        lambda p, rng, n: rng.exponential(p["mean"], n),
        lambda p: Exponential(mean=p["mean"]),
    ),
    Family(
        "lognormal", 2, _fit_lognormal,
        lambda x, p: stats.lognorm.logpdf(x, _sigma(p), scale=p["median"]),
        lambda x, p: special.ndtr(np.log(x / p["median"]) / _sigma(p)),
        lambda p, rng, n: rng.lognormal(log(p["median"]), _sigma(p), n),
        lambda p: Lognormal(median=p["median"], p99=p["p99"]),
    ),
    Family(
        "weibull", 2, _fit_weibull,
        lambda x, p: stats.weibull_min.logpdf(x, _weibull(p)[0], scale=_weibull(p)[1]),
        lambda x, p: -np.expm1(-((x / _weibull(p)[1]) ** _weibull(p)[0])),
        lambda p, rng, n: rng.weibull(_weibull(p)[0], n) * _weibull(p)[1],
        lambda p: Weibull(mean=p["mean"], shape=p["shape"]),
    ),
    Family(
        "erlang", 2, _fit_erlang,
        lambda x, p: stats.gamma.logpdf(x, p["stages"], scale=p["mean"] / p["stages"]),
        lambda x, p: np.asarray(special.gammainc(p["stages"], x * p["stages"] / p["mean"]), dtype=np.float64),
        lambda p, rng, n: rng.gamma(p["stages"], p["mean"] / p["stages"], n),
        lambda p: Erlang(mean=p["mean"], stages=int(p["stages"])),
    ),
    Family(
        "hyperexponential", 2, _fit_hyperexponential,
        _hyperexponential_log_density, _hyperexponential_cdf, _draw_hyperexponential,
        lambda p: Hyperexponential(mean=p["mean"], cv2=p["cv2"]),
    ),
    Family(
        "uniform", 2, _fit_uniform, _uniform_log_density,
        lambda x, p: np.clip((x - p["low"]) / (p["high"] - p["low"]), 0.0, 1.0),
        lambda p, rng, n: rng.uniform(p["low"], p["high"], n),
        lambda p: Uniform(low=p["low"], high=p["high"]),
        regular=False,
    ),
    Family(
        "pareto", 3, _fit_pareto, _pareto_log_density, _pareto_cdf, _draw_pareto,
        lambda p: Pareto(minimum=p["minimum"], shape=p["shape"], maximum=p["maximum"]),
        regular=False,
    ),
)  # fmt: skip
"""All families; the constant and the empirical distribution are no matter of likelihood."""
