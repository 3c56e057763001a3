"""Probability distributions that a scenario may use for times and sizes.

A distribution has no unit of its own; the key that holds it has one, as in
``cpu_ms = {distribution = "exponential", mean = 2.2}``. Every distribution maps uniform numbers to values by a formula,
most by inversion, so that one uniform number gives one value, the same in every engine. All are monotone in their
uniform number except the hyperexponential and the Erlang distribution, for which common random numbers correlate less.

Sources
-------
Devroye, "Non-Uniform Random Variate Generation", 1986, chapter II.2 (inversion).
Whitt, "Approximating a point process by a renewal process", Oper. Res. 30, 1982 (hyperexponential, balanced means).
"""

from math import exp, gamma, inf, log, sqrt
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sim.foundation.errors import ModelError, rule
from sim.randomness import portable_math

Array = NDArray[np.float64]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

NORMAL_P99 = 2.3263478740408408
"""The 0.99 quantile of the standard normal distribution."""

ALMOST_ONE = 1 - 2.0**-53
"""The largest uniform number that a stream yields (``sim/randomness/streams.py``)."""

LARGEST = 1e15
"""Upper limit of a distribution's values: 30,000 years in ms, a petabyte in bytes."""

BISECTION_STEPS = 200
"""Enough bisection steps to determine a double, wherever the bracket starts."""


class _Distribution(BaseModel):
    """Base class of all distributions: frozen, without unknown parameters; a value takes ``draws`` uniform numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # Type checkers see the parameters of each distribution instead of this wrapper's.

        def __init__(self, **parameters: Any) -> None:
            """Raise ModelError, in one line, for a distribution that is built in Python."""
            try:
                super().__init__(**parameters)
            except ValidationError as error:
                raise ModelError(_refusal(type(self).__name__, error)) from None

        # The tables of a scenario are validated elsewhere, with their path in the message (sim/foundation/schema.py).
        __init__.__pydantic_base_init__ = True

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        self._check()
        try:
            with np.errstate(all="ignore"):
                largest = max(self.expected(), float(self.sample(np.full((self.draws, 1), ALMOST_ONE))[0]))
        except ArithmeticError:
            largest = inf
        if not largest <= LARGEST:
            raise ValueError(f"{type(self).__name__} reaches {largest:.3g}, must stay <= {LARGEST:g}")
        return self

    @property
    def draws(self) -> int:
        """Number of uniform numbers per value."""
        return self._draws()

    def expected(self) -> float:
        """Return the mean, in the unit of the key that holds the distribution."""
        return self._expected()

    def quantile(self, u: Array) -> Array:
        """Return the quantiles at probabilities *u* (shape (n,), in (0, 1)); shape (n,)."""
        return self._quantile(u)

    def sample(self, u: Array) -> Array:
        """Return values from uniform numbers *u* of shape (draws, n); shape (n,)."""
        return self._sample(u)

    def _check(self) -> None:
        """Refuse parameters that contradict each other."""

    def _draws(self) -> int:
        return 1

    def _expected(self) -> float:
        raise NotImplementedError  # Every distribution below has one.

    def _quantile(self, u: Array) -> Array:
        raise NotImplementedError  # As above.

    def _sample(self, u: Array) -> Array:
        return self._quantile(u[0])


def _refusal(distribution: str, error: ValidationError) -> str:
    """Return the first of pydantic's validation errors in one line: ``Exponential.mean=-1.0 must be > 0``."""
    found = error.errors(include_url=False)[0]
    broken = rule(found)
    if broken.startswith(distribution):
        return broken
    if found["type"] == "value_error":
        return f"{distribution}: {broken}"
    place = "".join(f".{part}" for part in found["loc"])
    value = f"={found['input']!r}" if broken.startswith("must") else ""
    return f"{distribution}{place}{value} {broken}"


class Constant(_Distribution):
    """Always *value*."""

    distribution: Literal["constant"] = "constant"
    value: NotNegative

    def _expected(self) -> float:
        return self.value

    def _quantile(self, u: Array) -> Array:
        return np.full(u.shape, self.value)


class Uniform(_Distribution):
    """Uniform between *low* and *high*."""

    distribution: Literal["uniform"] = "uniform"
    low: NotNegative
    high: NotNegative

    def _check(self) -> None:
        if self.high < self.low:
            raise ValueError(f"high={self.high:g} must be >= low={self.low:g}")

    def _expected(self) -> float:
        return (self.low + self.high) / 2

    def _quantile(self, u: Array) -> Array:
        return self.low + u * (self.high - self.low)


class Exponential(_Distribution):
    """Memoryless, with the given *mean*."""

    distribution: Literal["exponential"] = "exponential"
    mean: Positive

    def _expected(self) -> float:
        return self.mean

    def _quantile(self, u: Array) -> Array:
        return np.asarray(-self.mean * portable_math.log(1 - u))


class Lognormal(_Distribution):
    """The logarithm is normal; given by *median* and *p99*, the two numbers that dashboards show."""

    distribution: Literal["lognormal"] = "lognormal"
    median: Positive
    p99: Positive

    def _check(self) -> None:
        if self.p99 < self.median:
            raise ValueError(f"p99={self.p99:g} must be >= median={self.median:g}")

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return log(self.p99 / self.median) / NORMAL_P99

    def _expected(self) -> float:
        return self.median * exp(self.sigma**2 / 2)

    def _quantile(self, u: Array) -> Array:
        return np.asarray(self.median * portable_math.exp(self.sigma * portable_math.normal_quantile(u)))


class Weibull(_Distribution):
    """Stretched exponential of the given *mean*; *shape* < 1 has a heavier tail than the exponential distribution."""

    distribution: Literal["weibull"] = "weibull"
    mean: Positive
    shape: Positive

    @property
    def scale(self) -> float:
        """The 63rd percentile."""
        return self.mean / gamma(1 + 1 / self.shape)

    def _expected(self) -> float:
        return self.mean

    def _quantile(self, u: Array) -> Array:
        return np.asarray(self.scale * portable_math.power(-portable_math.log(1 - u), 1 / self.shape))


class Pareto(_Distribution):
    """Power tail between *minimum* and *maximum*, with exponent *shape*: sizes of files, bursts of users."""

    distribution: Literal["pareto"] = "pareto"
    minimum: Positive
    shape: Positive
    maximum: Positive

    def _check(self) -> None:
        if self.maximum <= self.minimum:
            raise ValueError(f"maximum={self.maximum:g} must be > minimum={self.minimum:g}")

    @property
    def cut(self) -> float:
        """Probability of the unbounded distribution below the maximum."""
        return float(1 - (self.minimum / self.maximum) ** self.shape)

    def _expected(self) -> float:
        a, low, high = self.shape, self.minimum, self.maximum
        if a == 1:
            return float(low * log(high / low) / self.cut)
        return float(a / (a - 1) * low**a * (low ** (1 - a) - high ** (1 - a)) / self.cut)

    def _quantile(self, u: Array) -> Array:
        return np.asarray(self.minimum / portable_math.power(1 - u * self.cut, 1 / self.shape))


class Erlang(_Distribution):
    """The sum of *stages* exponential stages with the given total *mean*: more regular than exponential."""

    distribution: Literal["erlang"] = "erlang"
    mean: Positive
    stages: Annotated[int, Field(ge=1, le=64)]

    def _draws(self) -> int:
        return self.stages

    def _expected(self) -> float:
        return self.mean

    def _quantile(self, u: Array) -> Array:
        from scipy.special import gammaincinv  # Takes a fifth of a second to import, and few need it.

        return np.asarray(gammaincinv(self.stages, u) * self.mean / self.stages)

    def _sample(self, u: Array) -> Array:
        # Added in order: NumPy's own sum may add pairs first, and the last bit would depend on the shape.
        stages = [portable_math.log(1 - stage) for stage in u]
        return np.asarray(-sum(stages, np.float64(0)) * (self.mean / self.stages))


class Hyperexponential(_Distribution):
    """A mixture of two exponentials with balanced means; *cv2* is the squared coefficient of variation."""

    distribution: Literal["hyperexponential"] = "hyperexponential"
    mean: Positive
    cv2: Annotated[float, Field(ge=1, allow_inf_nan=False)]

    @property
    def share(self) -> float:
        """Probability of the short branch."""
        return (1 + sqrt((self.cv2 - 1) / (self.cv2 + 1))) / 2

    @property
    def branch_means(self) -> tuple[float, float]:
        """Means of the short and of the long branch."""
        return self.mean / (2 * self.share), self.mean / (2 * (1 - self.share))

    def _expected(self) -> float:
        return self.mean

    def _quantile(self, u: Array) -> Array:
        short, long = self.branch_means
        low, high = np.zeros(u.shape), np.full(u.shape, -long * log(1e-17))
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2
            tail = self.share * np.exp(-middle / short) + (1 - self.share) * np.exp(-middle / long)
            below = 1 - tail < u
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray((low + high) / 2)

    def _sample(self, u: Array) -> Array:
        short, long = self.branch_means
        is_short = u[0] < self.share
        inner = np.where(is_short, u[0] / self.share, (u[0] - self.share) / (1 - self.share))
        scaled: Array = -np.where(is_short, short, long) * portable_math.log(1 - inner)
        return scaled


class Empirical(_Distribution):
    """Measured quantiles *values* at equal steps of probability from 0 to 1, interpolated linearly."""

    distribution: Literal["empirical"] = "empirical"
    values: Annotated[tuple[NotNegative, ...], Field(min_length=2)]

    def _check(self) -> None:
        for left, right in zip(self.values, self.values[1:], strict=False):
            if right < left:
                raise ValueError(f"values must rise: {right:g} follows {left:g}")

    def _expected(self) -> float:
        knots = np.asarray(self.values)
        return float((knots[1:] + knots[:-1]).mean() / 2)

    def _quantile(self, u: Array) -> Array:
        values, position = np.asarray(self.values), u * (len(self.values) - 1)
        left = np.minimum(position.astype(np.int64), len(values) - 2)
        return np.asarray(values[left] + (position - left) * (values[left + 1] - values[left]))


AnyDistribution = (
    Constant | Uniform | Exponential | Lognormal | Weibull | Pareto | Erlang | Hyperexponential | Empirical
)
"""Any of the distributions above, for annotations outside pydantic."""


def _of_number(value: Any) -> Any:
    """A bare number is the distribution that always gives it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"distribution": "constant", "value": value}
    return value


Distribution = Annotated[AnyDistribution, Field(discriminator="distribution"), BeforeValidator(_of_number)]
"""Any of them in a table, told by its ``distribution`` key; a number stands for the constant distribution."""
