"""Latencies of a route that the author's own log holds: nothing is played with them, they stand beside the model's."""

from math import inf
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sim.foundation.schema import Count, NotNegative, Table


class Measured(Table):
    """Latencies of the route in a log of the real deployment; a plan shows them beside the model's."""

    p50_ms: NotNegative
    """Median latency of the answered requests."""
    p50_low_ms: NotNegative | None = None
    """Lower end of its 95 % interval; without it that of independent requests of a lognormal law is assumed."""
    p50_high_ms: NotNegative | None = None
    """Upper end of it; by default the log gives no bound."""
    p99_ms: NotNegative
    """99th percentile of the latency."""
    p99_low_ms: NotNegative | None = None
    """As ``p50_low_ms``."""
    p99_high_ms: NotNegative | None = None
    """As ``p50_high_ms``."""
    requests: Count
    """Number of requests that they are of."""
    taken_at: Literal["unknown", "server", "client"] = "unknown"
    """Where the clock was: at a ``server`` without the way to the client, or at the ``client``."""
    source: Annotated[str, Field(min_length=1)]
    """Where they are from: the name of a log."""

    @model_validator(mode="after")
    def _ordered(self) -> "Measured":
        if self.p99_ms < self.p50_ms:
            raise ValueError(f"must have p99_ms >= p50_ms={self.p50_ms:g}")
        for name, value in (("p50", self.p50_ms), ("p99", self.p99_ms)):
            interval = self.interval_ms(name)
            if interval is None and getattr(self, f"{name}_high_ms") is not None:
                raise ValueError(f"must have {name}_low_ms beside {name}_high_ms")
            if interval is not None and not interval[0] <= value <= interval[1]:
                raise ValueError(
                    f"must have an interval {name}_low_ms to {name}_high_ms that holds {name}_ms={value:g}"
                )
        return self

    def interval_ms(self, statistic: str) -> tuple[float, float] | None:
        """Return the 95 % interval of ``p50`` or ``p99``, in ms, ``inf`` without a bound; None if not known."""
        low_ms, high_ms = getattr(self, f"{statistic}_low_ms"), getattr(self, f"{statistic}_high_ms")
        return None if low_ms is None else (low_ms, inf if high_ms is None else high_ms)
