"""What daily counts will be: a straight line through their logarithms, a factor for each day of the week, an interval.

Growth by a constant per cent a month is a line in the logarithm; a quiet Sunday is a constant below it. The residuals
of neighbouring days resemble each other, so a fit that took them for independent would promise too much: they are drawn
as an autoregression of the first order, and the variances of line and factors are multiplied accordingly.

Sources
-------
Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., 2021, sections 7.4 (dummy variables), 7.6
(prediction intervals) and 10 (autocorrelated errors). Least squares, t and chi-squared distributions: NumPy and SciPy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

WEEK = 7
DAYS_PER_MONTH = 30

SEASONAL_DAYS_MIN = 21
"""With fewer days a weekday is seen twice at most, and its factor is mostly chance."""

AUTOCORRELATION_MAX = 0.9
"""Beyond it a short series cannot be distinguished from a random walk."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogLinear:
    """A fitted series.

    Attributes
    ----------
    last_day_number : int
        Of the series; forecasts count days from it: 1 is the next.
    coefficients, covariance : ndarray, shapes (p,), (p, p)
        Level at the last day, slope a day, and factors of the weekdays, in logarithms.
    residual_scale : float
        Standard deviation of the residuals.
    degrees : int
        Degrees of freedom that it rests on.
    autocorrelation : float
        Of neighbouring residuals.
    seasonal : bool
        Whether weekdays have factors.
    """

    last_day_number: int
    coefficients: Array
    covariance: Array
    residual_scale: float
    degrees: int
    autocorrelation: float
    seasonal: bool

    @property
    def _root(self) -> Array:
        """Root of the covariance, by Cholesky: that of a singular value decomposition is another on every processor."""
        root = np.linalg.cholesky(self.covariance) if self.covariance.any() else np.zeros_like(self.covariance)
        return np.asarray(root, dtype=np.float64)

    @property
    def growth_per_month(self) -> tuple[float, float, float]:
        """Growth in 30 days as a fraction, and its 95 % interval."""
        slope, half = self.coefficients[1], student.ppf(0.975, self.degrees) * self.covariance[1, 1] ** 0.5
        growth, low, high = np.expm1(DAYS_PER_MONTH * np.array([slope, slope - half, slope + half]))
        return float(growth), float(low), float(high)

    def interval(self, ahead: NDArray[np.int64], *, level: float = 0.95) -> tuple[Array, Array, Array]:
        """Return median and prediction interval of the counts *ahead* days after the last one, each shape (n,)."""
        design = _design(ahead + self.last_day_number, last_day=self.last_day_number, seasonal=self.seasonal)
        middle = design @ self.coefficients
        spread = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design) + self.residual_scale**2)
        half = student.ppf(0.5 + level / 2, self.degrees) * spread
        return np.exp(middle), np.exp(middle - half), np.exp(middle + half)

    def paths(self, days: int, *, draws: int, rng: np.random.Generator) -> Array:
        """Draw possible futures: counts of the next *days* days, shape (draws, days)."""
        ahead = np.arange(1, days + 1)
        design = _design(ahead + self.last_day_number, last_day=self.last_day_number, seasonal=self.seasonal)
        scale = np.sqrt(self.degrees / rng.chisquare(self.degrees, size=draws))[:, None]
        drawn = rng.standard_normal((draws, len(self.coefficients))) @ self._root.T
        line = (self.coefficients + scale * drawn) @ design.T
        shock = rng.standard_normal((draws, days)) * scale * self.residual_scale
        residual = np.empty_like(shock)
        residual[:, 0] = shock[:, 0]
        fresh = (1 - self.autocorrelation**2) ** 0.5
        for day in range(1, days):
            residual[:, day] = self.autocorrelation * residual[:, day - 1] + fresh * shock[:, day]
        return np.asarray(np.exp(line + residual), dtype=np.float64)


def fit_counts(day: NDArray[np.int64], count: Array) -> LogLinear:
    """Fit trend and weekdays to daily counts.

    Parameters
    ----------
    day : ndarray, shape (n,)
        Rising; days may be missing.
    count : ndarray, shape (n,)
        All above 0.
    """
    last_day, logs = int(day[-1]), np.log(count)
    seasonal = len(day) >= SEASONAL_DAYS_MIN and len(np.unique(day % WEEK)) == WEEK
    design = _design(day, last_day=last_day, seasonal=seasonal)
    coefficients: Array = np.linalg.lstsq(design, logs, rcond=None)[0].astype(np.float64)
    residual = logs - design @ coefficients
    freedom = len(day) - design.shape[1]
    variance = float(residual @ residual) / freedom
    # Its estimate is biased towards 0 by about (1 + 3 rho) / n, which is put back; a negative one would promise more.
    raw = float(residual[1:] @ residual[:-1]) / max(float(residual @ residual), 1e-300)
    autocorrelation = min(max(raw + (1 + 3 * raw) / len(day), 0.0), AUTOCORRELATION_MAX) if variance > 0 else 0.0
    inflation = (1 + autocorrelation) / (1 - autocorrelation)
    covariance = np.linalg.pinv(design.T @ design) * variance * inflation
    return LogLinear(last_day, coefficients, covariance, variance**0.5, freedom, autocorrelation, seasonal)


def _design(day: NDArray[np.int64], *, last_day: int, seasonal: bool) -> Array:
    """The columns of the regression, shape (n, p): 1, days since the last, and six weekdays against the mean of all."""
    columns = [np.ones(len(day)), (day - last_day).astype(np.float64)]
    if seasonal:
        rest = day % WEEK == WEEK - 1
        columns += [(day % WEEK == weekday) * 1.0 - rest for weekday in range(WEEK - 1)]
    return np.column_stack(columns)
