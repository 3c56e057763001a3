"""What is asked of the deployment: how much, of what, by whom."""

from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from sim.scenario.arrivals import CANDIDATES_MOST, Arrivals, Closed, Ramp, TraceReplay
from sim.scenario.schema import Law, NotNegative, Positive, Table
from sim.scenario.trace import ROUTES

if TYPE_CHECKING:
    pass


Route = Literal["log", "balance", "search", "upload", "download", "device_log", "flush"]
assert get_args(Route) == ROUTES


class Keys(Table):
    """The organisations."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many there are."""
    zipf: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
    """Popularity of the k-th is proportional to k to the power -zipf; 0 makes all alike."""


class Sizes(Table):
    """Bodies that are moved."""

    upload_bytes: Law
    """Size of an uploaded adapter."""
    download_bytes: Law
    """Distribution whose 16 quantiles are the sizes of the adapters that downloads ask for."""


class Tokens(Table):
    """Usage that a ``log`` request reports."""

    tokens_in: Law
    """Tokens that the model read."""
    tokens_out: Law
    """Tokens that the model wrote."""


def _mix(weights: dict[Route, float]) -> dict[Route, float]:
    if sum(weights.values()) <= 0:
        raise ValueError("must hold a weight > 0")
    return weights


Mix = Annotated[dict[Route, NotNegative], AfterValidator(_mix)]


class Workload(Table):
    """The traffic."""

    duration_s: Positive | None = None
    """Length of the arrivals. Either this or ``requests``; neither with a trace, which has its own length."""
    requests: Annotated[int, Field(ge=1, le=CANDIDATES_MOST)] | None = None
    """Number of requests. A closed loop needs it."""
    warm_up_s: NotNegative = 0.0
    """Requests that arrive earlier are played and not judged."""
    live_s: Positive = 25.0
    """Longest time that a part of the schedule is played on a real deployment."""
    live_rate_max_per_s: Positive = 60.0
    """Highest mean rate at which it is."""
    arrivals: Arrivals
    mix: Mix
    """Weight of each route; they need not add up to 1."""
    keys: Keys
    sizes: Sizes
    tokens: Tokens

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
