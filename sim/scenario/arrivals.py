"""When requests come: clocks, crowds, days and bursts.

Picture a turnstile. An *open* process lets people in at its own times, whatever happens inside; only a *closed* one
(a fixed number of users who wait for their answer, then think) listens to the system behind it.

Open processes whose rate changes are thinned: candidates arrive at the highest rate, and each stays with probability
rate now / highest rate. Candidate number *i* always has the same luck, so a changed rate moves arrivals without
drawing them anew.

Sources
-------
Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", Naval Res. Logist. Q. 26, 1979.
Fischer and Meier-Hellstern, "The Markov-modulated Poisson process cookbook", Performance Evaluation 18, 1993.
"""

from itertools import pairwise
from math import pi
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.optimize import brentq
from scipy.special import ive

from sim.errors import ScenarioError
from sim.free_memory import check_fits
from sim.randomness import portable_math
from sim.randomness.streams import stream_key, uniforms
from sim.schema import PAGE, Count, Distribution, NotNegative, Positive, Table

Array = NDArray[np.float64]

CANDIDATES_MOST = 50_000_000
"""A bound on every schedule; a day at the peak rate of phase 4 is just within it."""

BYTES_PER_REQUEST = 220
"""What planning a request takes at most (measured, rounded up): numbers drawn and thrown away, and its row."""

REST_MOST = 1_000
"""Candidates that a rate may turn away for each that stays."""

PROFILE_POINTS = 10_000
"""Of a rate that is looked at over time: a day in steps of nine seconds."""

STREAM = "workload.arrivals"


class _Open(Table):
    """A process with a rate at every time; subclasses say which."""

    @property
    def peak_per_s(self) -> float:
        """Highest rate."""
        return self._peak_per_s()

    @property
    def nominal_per_s(self) -> float:
        """The rate by which the process is called: ``rate_per_s``, or the highest when it starts at 0."""
        table = self.model_dump()
        own: float = table.get("mean_rate_per_s", table.get("rate_per_s", 0.0))
        return own or self.peak_per_s

    def profile_per_s(self, duration_s: float | None) -> Array:
        """Rates at evenly spaced moments, shape (n,): of the first *duration_s*, or of the long run where chance rules.

        Only the nominal rate where no time, but a number of requests, ends the arrivals.
        """
        return self._profile_per_s(duration_s)

    def _profile_per_s(self, duration_s: float | None) -> Array:
        if duration_s is None:
            return np.array([self.nominal_per_s])
        middle_s = (np.arange(PROFILE_POINTS) + 0.5) * duration_s / PROFILE_POINTS
        return self._rates_per_s(middle_s, 0, duration_s)

    def _peak_per_s(self) -> float:
        raise NotImplementedError  # Every process below has one; the base class is no process.

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        """Rate at each of *time_s*, shape (n,)."""
        raise NotImplementedError  # As above.

    def times_s(self, seed: int, *, duration_s: float | None, requests: int | None) -> Array:
        """Arrival times in s, shape (n,), up to *duration_s* or the first so many *requests*."""
        return self._times_s(seed, duration_s=duration_s, requests=requests)

    def _times_s(self, seed: int, *, duration_s: float | None, requests: int | None) -> Array:
        count = _first_guess(self.peak_per_s, duration_s=duration_s, requests=requests)
        while True:
            index = np.arange(count)
            candidate_s = (
                np.cumsum(-portable_math.log(1.0 - uniforms(stream_key(seed, STREAM), index))) / self.peak_per_s
            )
            rate_per_s = self._rates_per_s(candidate_s, seed, duration_s)
            stays = uniforms(stream_key(seed, f"{STREAM}.thinning"), index) * self.peak_per_s < rate_per_s
            time_s = candidate_s[stays]
            if duration_s is not None and candidate_s[-1] >= duration_s:
                return time_s[time_s < duration_s]
            if requests is not None and len(time_s) >= requests:
                return time_s[:requests]
            count = _bounded(2 * count, requests=requests)

    def multiplied(self, factor: float) -> dict[str, Any]:
        """Return the same shape with all rates *factor* times as high, as a table to be validated."""
        table = self.model_dump()
        for key in table:
            if key == "steps":
                table[key] = [[at_s, rate_per_s * factor] for at_s, rate_per_s in table[key]]
            elif key.endswith("rate_per_s"):
                table[key] *= factor
        return table


class Poisson(_Open):
    """Many independent people: gaps are exponential."""

    kind: Literal["poisson"] = "poisson"
    rate_per_s: Positive
    """Mean rate."""

    def _peak_per_s(self) -> float:
        return self.rate_per_s

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        return np.full(time_s.shape, self.rate_per_s)


class Steady(_Open):
    """A clock: one request every 1 / rate seconds, the first at 0."""

    kind: Literal["constant"] = "constant"
    rate_per_s: Positive
    """Exact rate."""

    def _peak_per_s(self) -> float:
        return self.rate_per_s

    def _profile_per_s(self, duration_s: float | None) -> Array:
        return np.array([self.rate_per_s])

    def _times_s(self, seed: int, *, duration_s: float | None, requests: int | None) -> Array:
        count = requests if requests is not None else _bounded(int((duration_s or 0) * self.rate_per_s) + 1)
        time_s = np.arange(count) / self.rate_per_s
        return time_s if duration_s is None else time_s[time_s < duration_s]


class Ramp(_Open):
    """Poisson with a rate that moves on a straight line from start to end."""

    kind: Literal["ramp"] = "ramp"
    rate_per_s: NotNegative
    """Rate at the start."""
    to_rate_per_s: NotNegative
    """Rate at the end of ``workload.duration_s``."""

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if max(self.rate_per_s, self.to_rate_per_s) <= 0:
            raise ValueError("needs a rate_per_s or to_rate_per_s > 0")
        return self

    def _peak_per_s(self) -> float:
        return max(self.rate_per_s, self.to_rate_per_s)

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        assert duration_s is not None, "Workload asks for duration_s with a ramp"
        return self.rate_per_s + (self.to_rate_per_s - self.rate_per_s) * np.minimum(time_s / duration_s, 1.0)


class Stepwise(_Open):
    """Poisson with a rate that jumps at given times."""

    kind: Literal["step"] = "step"
    rate_per_s: NotNegative
    """Rate until the first step."""
    steps: Annotated[tuple[tuple[NotNegative, NotNegative], ...], Field(min_length=1)]
    """Pairs ``[at_s, rate_per_s]``, times rising."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        at_s = [at for at, _ in self.steps]
        for before, after in pairwise(at_s):
            if after <= before:
                raise ValueError(f"steps must rise in time: {after:g} follows {before:g}")
        if self.peak_per_s <= 0:
            raise ValueError("needs a rate > 0 somewhere")
        return self

    def _peak_per_s(self) -> float:
        return max(self.rate_per_s, *(rate for _, rate in self.steps))

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        at_s = np.array([at for at, _ in self.steps])
        rates = np.array([self.rate_per_s, *(rate for _, rate in self.steps)])
        return rates[np.searchsorted(at_s, time_s, side="right")]


class Spike(_Open):
    """Poisson with another rate for a while: a product launch, a retry storm."""

    kind: Literal["spike"] = "spike"
    rate_per_s: NotNegative
    """Rate before and after."""
    spike_rate_per_s: Positive
    """Rate during the spike."""
    start_s: NotNegative
    """Start of the spike."""
    length_s: Positive
    """Length of the spike."""

    def _peak_per_s(self) -> float:
        return max(self.rate_per_s, self.spike_rate_per_s)

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        inside = (time_s >= self.start_s) & (time_s < self.start_s + self.length_s)
        return np.where(inside, self.spike_rate_per_s, self.rate_per_s)


class Diurnal(_Open):
    """Poisson with a daily wave, told by its mean and by how much the busiest moment exceeds it.

    The wave has the shape of the von Mises law, the bell curve of a circle: never negative, however high the peak.
    """

    kind: Literal["diurnal"] = "diurnal"
    mean_rate_per_s: Positive
    """Mean over a whole period."""
    peak_factor: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)]
    """Highest rate / mean rate."""
    period_s: Positive = 86_400.0
    """Length of a day."""
    phase_s: NotNegative = 0.0
    """Time of the first peak."""

    @property
    def concentration(self) -> float:
        """Concentration k of the wave: ``exp(-k) I0(k) = 1 / peak_factor``."""
        if self.peak_factor == 1:
            return 0.0
        return float(brentq(lambda k: ive(0, k) - 1 / self.peak_factor, 0.0, 1e5, xtol=1e-12))

    def _peak_per_s(self) -> float:
        return self.mean_rate_per_s * self.peak_factor

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        angle = (time_s - self.phase_s) * (2 * pi / self.period_s)
        return self.peak_per_s * np.exp(self.concentration * (np.cos(angle) - 1))


class Bursty(_Open):
    """Poisson that switches between a calm and a burst rate at random times (MMPP-2)."""

    kind: Literal["bursty"] = "bursty"
    rate_per_s: NotNegative
    """Rate while calm."""
    burst_rate_per_s: Positive
    """Rate in a burst."""
    mean_calm_s: Positive
    """Mean length of a calm time."""
    mean_burst_s: Positive
    """Mean length of a burst."""

    def _peak_per_s(self) -> float:
        return max(self.rate_per_s, self.burst_rate_per_s)

    @property
    def burst_share(self) -> float:
        """Share of the time in bursts, in the long run."""
        return self.mean_burst_s / (self.mean_burst_s + self.mean_calm_s)

    def _profile_per_s(self, duration_s: float | None) -> Array:
        moment = (np.arange(PROFILE_POINTS) + 0.5) / PROFILE_POINTS
        return np.where(moment < self.burst_share, self.burst_rate_per_s, self.rate_per_s)

    def _rates_per_s(self, time_s: Array, seed: int, duration_s: float | None) -> Array:
        """Rates along a path of exponential stays; the first state is drawn in proportion to its share of time."""
        zero = np.zeros(1, dtype=np.int64)
        first = int(uniforms(stream_key(seed, f"{STREAM}.first_state"), zero)[0] < self.burst_share)
        means_s = np.array([self.mean_calm_s, self.mean_burst_s])
        count = 16 + int(2 * time_s[-1] / means_s.mean())
        while True:
            index = np.arange(_bounded(count))
            unit = uniforms(stream_key(seed, f"{STREAM}.state"), index)
            stay_s = -portable_math.log(1.0 - unit) * means_s[(first + index) % 2]
            end_s = np.cumsum(stay_s)
            if end_s[-1] > time_s[-1]:
                break
            count *= 2
        state = (first + np.searchsorted(end_s, time_s, side="right")) % 2
        return np.array([self.rate_per_s, self.burst_rate_per_s])[state]


class Closed(Table):
    """A fixed number of users: each waits for the answer, thinks, and sends the next request."""

    kind: Literal["closed"] = "closed"
    users: Count
    """Users at work at the same time."""
    think_ms: Distribution
    """From an answer to the same user's next request."""


class TraceReplay(Table):
    """Arrivals as they were recorded: a file with a time in each row."""

    kind: Literal["trace"] = "trace"
    file: Annotated[str, Field(min_length=1)]
    """CSV, lines of JSON or access log; relative to the scenario's folder, or else to the working directory."""
    time_scale: Positive = 1.0
    """All gaps are multiplied by it: 0.5 plays twice as fast."""
    clip_start_s: NotNegative = 0.0
    """Leave out what came earlier after the first row, in the trace's own time."""
    clip_end_s: Positive | None = None
    """Leave out what came later after the first row, in the trace's own time."""
    resample: bool = False
    """Play a new trace made of blocks of this one, drawn with replacement."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.clip_end_s is not None and self.clip_end_s <= self.clip_start_s:
            raise ValueError(f"needs clip_end_s={self.clip_end_s:g} > clip_start_s={self.clip_start_s:g}")
        return self


OpenArrivals = Poisson | Steady | Ramp | Stepwise | Spike | Diurnal | Bursty
"""Processes that do not listen to the system."""

Arrivals = Annotated[OpenArrivals | Closed | TraceReplay, Field(discriminator="kind")]
"""Any of them, told apart by ``kind``."""


def _first_guess(peak_per_s: float, *, duration_s: float | None, requests: int | None) -> int:
    expected = peak_per_s * duration_s if duration_s is not None else float(requests or 0)
    return _bounded(expected + 6 * expected**0.5 + 16)


def _bounded(count: float, *, requests: int | None = None) -> int:
    """*count*, unless it is more than a machine holds, or than a sensible rate needs for its *requests*."""
    if requests is not None and count > REST_MOST * (requests + 1_000):
        raise ScenarioError(
            f"workload.requests={requests} do not come: the rate falls to nothing; say workload.duration_s ({PAGE})"
        )
    if count > CANDIDATES_MOST:
        raise ScenarioError(
            f"workload asks for {count:.3g} candidate arrivals, must be <= {CANDIDATES_MOST:,}: "
            f"lower the rate or workload.duration_s ({PAGE})"
        )
    check_fits(count * BYTES_PER_REQUEST, f"{count:,.0f} requests to come need")
    return int(count)
