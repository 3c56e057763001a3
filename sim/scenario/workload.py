"""The workload of a scenario: its arrivals, length, warm-up and populations of keys."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sim.foundation.schema import NotNegative, Positive, Table
from sim.randomness.distributions import Distribution
from sim.scenario.arrivals import CANDIDATES_MAX, Arrivals, Closed, Ramp, TraceReplay
from sim.traces.options import TraceOptions


class Keys(Table):
    """A population of keys: organisations, users, rooms."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of keys."""
    zipf: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
    """Zipf exponent: the popularity of the k-th key is proportional to k to the power -zipf; 0 is uniform."""


class Tokens(Table):
    """Tokens of a language model that a request reports."""

    tokens_in: Distribution
    """Input tokens."""
    tokens_out: Distribution
    """Output tokens."""


class Workload(Table):
    """The traffic."""

    duration_s: Positive | None = None
    """Length of the arrivals. Either this or ``requests``; neither with a trace, which has its own length."""
    requests: Annotated[int, Field(ge=1, le=CANDIDATES_MAX)] | None = None
    """Number of requests. A closed loop needs it."""
    warm_up_s: NotNegative = 0.0
    """Warm-up: requests that arrive earlier are played but not judged."""
    live_s: Positive = 25.0
    """Longest duration of the part of the schedule that is played on a real deployment."""
    live_rate_max_per_s: Positive = 60.0
    """Highest mean rate of that part."""
    arrivals: Arrivals
    keys: Keys
    """Population that requests take their keys from."""
    trace: TraceOptions = TraceOptions()
    populations: Annotated[dict[str, Keys], Field(default_factory=dict)]
    """Further populations, by name, for routes that name one."""
    tokens: Tokens | None = None
    """None: requests carry no tokens."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        ends = [name for name in ("duration_s", "requests") if getattr(self, name) is not None]
        if isinstance(self.arrivals, TraceReplay) and ends:
            raise ValueError(f"with kind=trace must not hold {ends[0]}: clip with arrivals.clip_end_s")
        if isinstance(self.arrivals, Closed) and ends != ["requests"]:
            raise ValueError("with kind=closed needs requests and no duration_s")
        if isinstance(self.arrivals, Ramp) and ends != ["duration_s"]:
            raise ValueError("with kind=ramp needs duration_s and no requests")
        if not isinstance(self.arrivals, TraceReplay) and len(ends) != 1:
            raise ValueError("needs either duration_s or requests")
        if self.duration_s is not None and self.warm_up_s >= self.duration_s:
            raise ValueError(f"needs warm_up_s={self.warm_up_s:g} < duration_s={self.duration_s:g}")
        return self
