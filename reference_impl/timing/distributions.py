"""Service-time distributions: nine families, each read from a table and sampled with numpy.

This code is independent of the simulator's, so agreement between the two is evidence. A distribution is a table such as
``{"distribution": "lognormal", "median": 20, "p99": 80}``, or a bare number, which is a constant.
The unit is that of the key that holds the distribution.

Sources
-------
Devroye, "Non-Uniform Random Variate Generation", 1986, chapter II.2 (truncated Pareto distribution).
Whitt, "Approximating a point process by a renewal process", Oper. Res. 30, 1982 (hyperexponential
distribution with balanced means).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_impl.errors import ConfigError

Values = NDArray[np.float64]
Parameters = Mapping[str, Any]

NORMAL_QUANTILE_P99 = 2.3263478740408408
"""The 0.99 quantile of the standard normal distribution; it relates the median and P99 of a lognormal one."""


def _constant(p: Parameters, rng: np.random.Generator, n: int) -> Values:  # noqa: ARG001  # one signature for all families
    return np.full(n, float(p["value"]))


def _uniform(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    return rng.uniform(p["low"], p["high"], n)


def _exponential(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    return rng.exponential(p["mean"], n)


def _lognormal(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    sigma = math.log(p["p99"] / p["median"]) / NORMAL_QUANTILE_P99
    return rng.lognormal(math.log(p["median"]), sigma, n)


def _weibull(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    scale: float = p["mean"] / math.gamma(1 + 1 / p["shape"])
    return rng.weibull(p["shape"], n) * scale


def _pareto(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    # Truncated, not clipped: the probability above the maximum is spread over the rest.
    share_kept = 1 - (p["minimum"] / p["maximum"]) ** p["shape"]
    tail = 1 - rng.random(n) * share_kept
    return np.asarray(p["minimum"] * tail ** (-1 / p["shape"]))


def _erlang(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    return rng.gamma(p["stages"], p["mean"] / p["stages"], n)


def _hyperexponential(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    share = (1 + math.sqrt((p["cv2"] - 1) / (p["cv2"] + 1))) / 2
    means = np.where(rng.random(n) < share, p["mean"] / (2 * share), p["mean"] / (2 * (1 - share)))
    return np.asarray(rng.exponential(1.0, n) * means)


def _empirical(p: Parameters, rng: np.random.Generator, n: int) -> Values:
    knots = np.asarray(p["values"], dtype=np.float64)
    return np.interp(rng.random(n), np.linspace(0.0, 1.0, len(knots)), knots)


Sampler = Callable[[Parameters, np.random.Generator, int], Values]
_SAMPLERS: dict[str, tuple[Sampler, tuple[str, ...]]] = {
    "constant": (_constant, ("value",)),
    "uniform": (_uniform, ("low", "high")),
    "exponential": (_exponential, ("mean",)),
    "lognormal": (_lognormal, ("median", "p99")),
    "weibull": (_weibull, ("mean", "shape")),
    "pareto": (_pareto, ("minimum", "shape", "maximum")),
    "erlang": (_erlang, ("mean", "stages")),
    "hyperexponential": (_hyperexponential, ("mean", "cv2")),
    "empirical": (_empirical, ("values",)),
}

_ORDERED = {
    "uniform": ("low", "high"),
    "lognormal": ("median", "p99"),
    "pareto": ("minimum", "maximum"),
}
_MAY_BE_ZERO = {"value", "low", "high"}


@dataclass(frozen=True)
class Distribution:
    """A distribution with validated parameters.

    Parameters
    ----------
    name
        One of the nine families of this module.
    parameters
        Its parameters, in the unit of the key that holds the distribution.
    """

    name: str
    parameters: Parameters

    def sample(self, rng: np.random.Generator, n: int) -> Values:
        """Draw *n* values; returns shape (n,)."""
        return _SAMPLERS[self.name][0](self.parameters, rng, n)


def read_distribution(spec: object, path: str) -> Distribution:
    """Read a distribution from a number or a table found at *path* of the deployment file.

    Raises
    ------
    ConfigError
        If the table names no known family, or a parameter is missing, unknown or out of its range.
    """
    if isinstance(spec, int | float):
        return Distribution("constant", {"value": _number(spec, path, may_be_zero=True)})
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{path}={spec!r} must be a number or a table with the key 'distribution'")
    name = spec.get("distribution")
    if not isinstance(name, str) or name not in _SAMPLERS:
        raise ConfigError(f"{path}.distribution={name!r} must be one of {', '.join(_SAMPLERS)}")
    wanted = _SAMPLERS[name][1]
    if set(spec) != {"distribution", *wanted}:
        found = ", ".join(sorted(map(str, spec)))
        raise ConfigError(f"{path} has the keys {found}; {name!r} takes distribution, {', '.join(wanted)}")
    parameters = {key: _parameter(key, spec[key], f"{path}.{key}") for key in wanted}
    _check_order(name, parameters, path)
    return Distribution(name, parameters)


def _parameter(key: str, value: object, path: str) -> object:
    if key == "values":
        if not isinstance(value, list) or len(value) < 2:
            raise ConfigError(f"{path}={value!r} must be a list of at least 2 rising numbers")
        return [_number(item, path, may_be_zero=True) for item in value]
    number = _number(value, path, may_be_zero=key in _MAY_BE_ZERO)
    if key == "stages" and not number.is_integer():
        raise ConfigError(f"{path}={value!r} must be a whole number")
    if key == "cv2" and number < 1:
        raise ConfigError(f"{path}={value!r} must be >= 1; use 'erlang' for less variation")
    return number


def _number(value: object, path: str, *, may_be_zero: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{path}={value!r} must be a finite number")
    if value < 0 or (value == 0 and not may_be_zero):
        raise ConfigError(f"{path}={value!r} must be {'>= 0' if may_be_zero else '> 0'}")
    return float(value)


def _check_order(name: str, parameters: Parameters, path: str) -> None:
    if name in _ORDERED:
        low, high = _ORDERED[name]
        if parameters[high] < parameters[low]:
            rule = f"must be >= {low}={parameters[low]}"
            raise ConfigError(f"{path}.{high}={parameters[high]} {rule}")
    if name == "empirical" and sorted(parameters["values"]) != parameters["values"]:
        raise ConfigError(f"{path}.values must rise; sort them")
