"""A month's traffic, as opposed to that of the busiest moment: the table ``[demand]``.

A scenario plays the peak, and a capacity must hold there; the provider bills the month's volume. The two differ by the
peak factor, and by the days of growth.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from sim.foundation.schema import Positive, Table
from sim.models.billing import DAYS_PER_MONTH

SECONDS_PER_DAY = 86_400

VOLUMES = ("requests_per_day", "requests_per_month", "history")
"""Keys of which a table has exactly one."""

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
        given = [name for name in VOLUMES if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"needs exactly one of requests_per_day, requests_per_month and history; it has {found}")
        if self.history and self.growth_per_month:
            raise ValueError(
                f"must not hold growth_per_month={self.growth_per_month:g} beside a history, which gives it"
            )
        return self

    @property
    def month(self) -> float | None:
        """Requests of the first month; None where a history gives them."""
        if self.requests_per_day is not None:
            return self.requests_per_day * DAYS_PER_MONTH
        return self.requests_per_month

    @property
    def mean_per_s(self) -> float | None:
        """Mean rate of the first month; None where a history gives it."""
        return None if self.month is None else self.month / DAYS_PER_MONTH / SECONDS_PER_DAY

    def times(self, factor: float) -> dict[str, Any]:
        """Return the table with the volume *factor* times as high; a history stays what it was."""
        own = self.model_dump(exclude_defaults=True)
        return {key: value * factor if key.startswith("requests_per_") else value for key, value in own.items()}


def outdated(demand: object, changes: Mapping[tuple[Any, ...], object]) -> list[str]:
    """List the keys of ``[demand]`` that *changes* of a scenario make untrue.

    All of them, if the arrivals change and nothing is said of the demand, unless the new arrivals leave their rate to
    it; else the rivals of a new volume.
    """
    if not isinstance(demand, dict):
        return []
    said = {place[1] for place in changes if place[0] == "demand" and len(place) > 1}
    if ("demand",) in changes:
        return []
    if not said:
        arrivals = [(place[2:], value) for place, value in changes.items() if place[:2] == ("workload", "arrivals")]
        whole = changes.get(("workload",))
        arrivals += [((), whole["arrivals"])] if isinstance(whole, dict) and "arrivals" in whole else []
        return list(demand) if any(not _leaves_rate(below, value) for below, value in arrivals) else []
    rivals = set(VOLUMES) if said & set(VOLUMES) else set()
    rivals |= {"growth_per_month"} if "history" in said else set()
    return [key for key in demand if key in rivals - said]


def _leaves_rate(below: tuple[Any, ...], arrivals: object) -> bool:
    """Whether new arrivals have a rate that follows from the demand."""
    if below or not isinstance(arrivals, dict):
        return False
    key = RATES.get(str(arrivals.get("kind")))
    return key is not None and key not in arrivals


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
