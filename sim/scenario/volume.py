"""How much traffic a month brings, told apart from how much the busiest moment brings: the table ``[demand]``.

A scenario plays the peak, and a capacity must hold there; the provider bills the month's volume. The two differ by the
peak factor, and by the days of growth.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sim.models.billing import DAYS_PER_MONTH
from sim.schema import Positive, Table

SECONDS_PER_DAY = 86_400

RATES = {"poisson": "rate_per_s", "constant": "rate_per_s", "diurnal": "mean_rate_per_s"}
"""Key of each kind of arrivals that follows from the volume if the file leaves it out."""


class Volume(Table):
    """What the bill counts: requests a month, how much the busiest time exceeds the mean, how fast they grow."""

    requests_per_day: Positive | None = None
    """Mean of a month's days. Exactly one of this, ``requests_per_month`` and ``history``."""
    requests_per_month: Positive | None = None
    """In 30 days."""
    history: str = ""
    """CSV file with the columns ``date,count``, a row a day: the month is forecast from it. Found as a trace is."""
    peak_factor: Annotated[float, Field(ge=1, le=1_000, allow_inf_nan=False)] | None = None
    """Highest rate / mean rate. Arrivals that leave out their rate get mean rate × peak factor."""
    growth_per_month: Annotated[float, Field(gt=-1, le=10, allow_inf_nan=False)] = 0.0
    """Growth from each month to the next: 0.1 for a tenth. A history has its own."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("requests_per_day", "requests_per_month") if getattr(self, name) is not None]
        given += ["history"] if self.history else []
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"needs exactly one of requests_per_day, requests_per_month and history; it has {found}")
        if self.history and self.growth_per_month:
            raise ValueError(
                f"must not hold growth_per_month={self.growth_per_month:g} beside a history, which tells it"
            )
        return self

    @property
    def month(self) -> float | None:
        """Requests of the first month; None where a history tells them."""
        if self.requests_per_day is not None:
            return self.requests_per_day * DAYS_PER_MONTH
        return self.requests_per_month

    def times(self, factor: float) -> dict[str, float]:
        """Return the volume *factor* times as high, as keys of the table."""
        given = {"requests_per_day": self.requests_per_day, "requests_per_month": self.requests_per_month}
        return {key: value * factor for key, value in given.items() if value is not None}


def with_rate(numbers: dict[str, object]) -> dict[str, object]:
    """Return a scenario's tables with the rate that follows from ``[demand]``, where the arrivals leave theirs out."""
    demand, workload = numbers.get("demand"), numbers.get("workload")
    arrivals = workload.get("arrivals") if isinstance(workload, dict) else None
    if not isinstance(demand, dict) or not isinstance(arrivals, dict):
        return numbers
    key = RATES.get(str(arrivals.get("kind")))
    per_day = demand.get("requests_per_day")
    per_month = demand.get("requests_per_month")
    volume = per_day * DAYS_PER_MONTH if isinstance(per_day, int | float) else per_month
    if key is None or key in arrivals or not isinstance(volume, int | float) or not volume > 0:
        return numbers
    mean_per_s, peak_factor = volume / DAYS_PER_MONTH / SECONDS_PER_DAY, demand.get("peak_factor")
    filled = dict(arrivals)
    if key == "mean_rate_per_s":
        filled[key] = mean_per_s
        if isinstance(peak_factor, int | float):
            filled.setdefault("peak_factor", peak_factor)
    elif isinstance(peak_factor, int | float):
        filled[key] = mean_per_s * peak_factor
    return {**numbers, "workload": {**workload, "arrivals": filled}}  # type: ignore[dict-item]  # a table, as above
