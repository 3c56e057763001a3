"""How many requests a month has, in order of how well it is known: asked for, said in ``[demand]``, forecast, played.

The bill counts a month's volume; a scenario plays its peak. Where only the peak is known, the bill holds it for a
month, and says so: that is a ceiling, no month.

Sources
-------
Closed loops: the interactive response time law X = N / (Z + R) (Denning and Buzen, ACM Comput. Surv. 10, 1978), with R
the mean latency of a simulation.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.foundation.errors import UsageError
from sim.foundation.figures import figure
from sim.models.billing import DAYS_PER_MONTH, SECONDS_PER_MONTH
from sim.scenario.arrivals import Closed, Diurnal, TraceReplay
from sim.scenario.generation import mean_rate_per_s, schedule
from sim.scenario.history import read_history
from sim.scenario.platform import CONFIDENCE
from sim.scenario.recorded import check_rate
from sim.statistics.warmup import warm_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario
    from sim.statistics.forecast import LogLinear

HORIZON_DAYS = 3 * 365
"""How far a course of days is looked at; what is reached later is not said."""

DRAWS = 1_000
"""Futures drawn from a history: their 2.5 % and 97.5 % quantiles are the interval."""

MEASURED_S = 7 * 86_400
"""A trace of a whole week has its weekday and its night in it: its rate is measured. A shorter one's is assumed."""

CLOSED_REQUESTS_MIN = 50_000
"""A shorter closed loop is played on for its bill: most of it would be its start."""

WORST = "OSCDMWRA"
"""Letters of confidence, the best first."""


Requests = float
"""A number of requests, or the mean of one."""


@dataclass(frozen=True)
class MonthVolume:
    """The requests of a month.

    Attributes
    ----------
    requests, low, high : float
        And the 95 % interval of a forecast; all the same where there is none.
    before : float
        Requests of the months before it, whose data is stored.
    kind : {"asked", "demand", "history", "wave", "rate", "trace", "closed"}
        What says so.
    sentence : str
        The same in words.
    confidence : str
        A letter of :data:`sim.scenario.platform.CONFIDENCE`.
    path : str
        Where the number stands in the scenario.
    played_per_s : float
        Mean rate of what the scenario plays, which is the peak where a volume is known; of a daily wave its highest.
    """

    requests: Requests
    low: Requests
    high: Requests
    before: Requests
    kind: Literal["asked", "demand", "history", "wave", "rate", "trace", "closed"]
    sentence: str
    confidence: str
    path: str
    played_per_s: float

    @property
    def mean_per_s(self) -> float:
        """Mean rate of the month."""
        return self.requests / SECONDS_PER_MONTH

    @property
    def is_peak(self) -> bool:
        """Whether it is the played rate held for a month, since no volume is known."""
        return self.kind in ("rate", "trace", "closed")


@dataclass(frozen=True)
class Course:
    """The requests of each day from now on.

    Attributes
    ----------
    requests_per_day : ndarray, shape (draws, days)
        One draw where nothing is known of chance.
    stored : float
        Requests before the first day whose data is there already.
    peak_factor : float or None
        Highest rate / mean rate of a day.
    fit : LogLinear or None
        Of the history that it is forecast from.
    notes : tuple of str
    """

    requests_per_day: "NDArray[np.float64]"
    stored: Requests = 0.0
    peak_factor: float | None = None
    fit: "LogLinear | None" = None
    notes: tuple[str, ...] = ()

    def month(self, number: int) -> "NDArray[np.float64]":
        """Requests of a month in each draw, shape (draws,)."""
        return np.asarray(self.requests_per_day[:, (number - 1) * DAYS_PER_MONTH : number * DAYS_PER_MONTH].sum(axis=1))

    def before(self, number: int) -> float:
        """Requests before a month, in the middle of all draws."""
        return self.stored + float(np.median(self.requests_per_day[:, : (number - 1) * DAYS_PER_MONTH].sum(axis=1)))


def course_of(
    scenario: "Scenario", *, requests_per_month: float | None = None, history: str | Path | None = None
) -> tuple[Course, MonthVolume]:
    """Return the days to come, and the first month.

    Parameters
    ----------
    scenario : Scenario
    requests_per_month : float, optional
        In place of what the scenario says.
    history : path, optional
        Daily counts, in place of ``demand.history``.

    Raises
    ------
    UsageError
        No rate is given, or *requests_per_month* beside a history.
    ScenarioError
        The history cannot be read.
    """
    demand = scenario.demand
    file = history or (scenario.find(demand.history) if demand is not None and demand.history else None)
    peak_factor = demand.peak_factor if demand is not None else None
    if requests_per_month is not None:
        if history is not None:
            raise UsageError(f"requests_per_month={requests_per_month:g} must not be given beside a history")
        return _steady(_asked(scenario, requests_per_month), scenario, peak_factor=peak_factor)
    if file is not None:
        return _forecast(scenario, Path(file), peak_factor=peak_factor)
    if demand is not None and demand.month is not None:
        return _steady(_said(scenario, demand.month), scenario, peak_factor=peak_factor)
    return _steady(_played(scenario), scenario, peak_factor=None)


def volume_of(course: Course, first: MonthVolume, *, month: int) -> MonthVolume:
    """Return the volume of a later month on a course."""
    if month == 1:
        return first
    totals = course.month(month)
    middle, low, high = (float(np.quantile(totals, level)) for level in (0.5, 0.025, 0.975))
    text = f"{middle:,.0f} requests in month {month}, grown from {first.requests:,.0f} in the first."
    if first.kind == "history":
        text = f"{middle:,.0f} requests in month {month} [{low:,.0f}, {high:,.0f}], forecast from the history."
    elif np.ptp(course.requests_per_day) == 0:
        text = first.sentence
    return replace(first, requests=middle, low=low, high=high, before=course.before(month), sentence=text)


def _steady(first: MonthVolume, scenario: "Scenario", *, peak_factor: float | None) -> tuple[Course, MonthVolume]:
    """A course that grows by the same factor each month, in equal days within it."""
    growth = scenario.demand.growth_per_month if scenario.demand is not None and not first.is_peak else 0.0
    month = np.arange(HORIZON_DAYS) // DAYS_PER_MONTH
    daily = first.requests / DAYS_PER_MONTH * (1.0 + growth) ** month.astype(np.float64)
    return Course(daily[None, :], peak_factor=peak_factor), first


def _forecast(scenario: "Scenario", file: Path, *, peak_factor: float | None) -> tuple[Course, MonthVolume]:
    from sim.statistics.forecast import fit_counts

    history = read_history(file)
    fit = fit_counts(history.days, history.count)
    daily = fit.paths(HORIZON_DAYS, draws=DRAWS, rng=np.random.default_rng(scenario.seed))
    grown, low, high = (f"{100 * value:+.1f} %" for value in fit.growth_per_month)
    notes = [*history.notes, f"{history.name}: {len(history)} days, growth {grown} a month [{low}, {high}]."]
    if not fit.seasonal:
        notes.append(f"{history.name} is too short for weekdays of their own; every day is taken alike.")
    course = Course(daily, float(history.count.sum()), peak_factor, fit, tuple(notes))
    totals = course.month(1)
    middle, lowest, highest = (float(np.quantile(totals, level)) for level in (0.5, 0.025, 0.975))
    text = (
        f"{middle:,.0f} requests in the next {DAYS_PER_MONTH} days [{lowest:,.0f}, {highest:,.0f}], forecast from "
        f"{len(history)} days of {history.name}: the volume, not the scenario's peak."
        f"{_messages(scenario, middle)}"
    )
    played = _played_or_0_per_s(scenario)
    return course, MonthVolume(middle, lowest, highest, course.stored, "history", text, "M", "demand.history", played)


def _asked(scenario: "Scenario", requests: float) -> MonthVolume:
    if not 0 <= requests < float("inf"):
        raise UsageError(f"requests_per_month={requests} must be >= 0 and finite")
    text = f"{requests:,.0f} requests a month, as asked for.{_messages(scenario, requests)}"
    return MonthVolume(requests, requests, requests, 0.0, "asked", text, "A", "", _played_or_0_per_s(scenario))


def _said(scenario: "Scenario", requests: float) -> MonthVolume:
    """The volume of ``[demand]``, and how far the played peak is from it."""
    played = _played_or_0_per_s(scenario)
    times = played / (requests / SECONDS_PER_MONTH)
    text = f"{requests:,.0f} requests a month: the volume of [demand], {requests / DAYS_PER_MONTH:,.0f} a day."
    if played:
        text += f" The scenario plays {figure(played)} requests/s, {figure(times)} times the month's mean: the peak."
    text += _messages(scenario, requests)
    assert scenario.demand is not None
    key = "demand.requests_per_day" if scenario.demand.requests_per_day is not None else "demand.requests_per_month"
    letter = letter_of(scenario, key)
    return MonthVolume(requests, requests, requests, 0.0, "demand", text, letter, key, played)


def _played(scenario: "Scenario") -> MonthVolume:
    """The rate of what is played, held for a month."""
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Diurnal):
        return _of_wave(scenario, arrivals)
    rate = _rate_per_s(scenario)
    requests = rate * SECONDS_PER_MONTH
    held = f"{requests:,.0f} requests a month"
    if isinstance(arrivals, Closed):
        think_ms = arrivals.think_ms.expected()
        wait_ms = arrivals.users / rate * 1000 - think_ms
        text = (
            f"{held}: {figure(rate, 4)} requests/s = N / (Z + R) of {arrivals.users:,} users who think for "
            f"{figure(think_ms)} ms and wait {figure(wait_ms)} ms (simulated), held for "
            f"{DAYS_PER_MONTH} days."
        )
        return MonthVolume(requests, requests, requests, 0.0, "closed", text, "A", "workload.arrivals.users", rate)
    if isinstance(arrivals, TraceReplay):
        span_s = schedule(scenario).duration_ms / 1000
        text = (
            f"{held}: the rate of {Path(arrivals.file).name}, {figure(rate)} requests/s over {figure(span_s)} s, "
            f"held for {DAYS_PER_MONTH} days. Say [demand] requests_per_day for the month's own volume."
        )
        letter = "M" if span_s >= MEASURED_S else "A"
        return MonthVolume(requests, requests, requests, 0.0, "trace", text, letter, "workload.arrivals.file", rate)
    text = (
        f"{held}: no [demand] says the volume, so the scenario's rate, {figure(rate)} requests/s, is held for "
        f"{DAYS_PER_MONTH} days; if that is a peak, this is a ceiling and not a month.{_messages(scenario, requests)}"
    )
    return MonthVolume(requests, requests, requests, 0.0, "rate", text, "A", "workload.arrivals", rate)


def _of_wave(scenario: "Scenario", arrivals: Diurnal) -> MonthVolume:
    """The mean of a daily wave, whatever part of it is played."""
    rate, path = arrivals.mean_rate_per_s, "workload.arrivals.mean_rate_per_s"
    requests = rate * SECONDS_PER_MONTH
    text = (
        f"{requests:,.0f} requests a month: the mean of the daily wave, {figure(rate)} requests/s, "
        f"for {DAYS_PER_MONTH} days.{_messages(scenario, requests)}"
    )
    peak_per_s = rate * arrivals.peak_factor
    return MonthVolume(requests, requests, requests, 0.0, "wave", text, letter_of(scenario, path), path, peak_per_s)


def _messages(scenario: "Scenario", requests: float) -> str:
    """Say how many messages on WebSockets come with *requests* a month; empty of none."""
    count = requests * scenario.messages_per_request
    return f" Beside them come {count:,.0f} messages on WebSockets." if count else ""


def letter_of(scenario: "Scenario", path: str) -> str:
    """Return the confidence in the number at *path*: of the assumption or fact nearest to it, A where there is none."""
    found = [row for row in scenario.provenance if f"{path}.".startswith(f"{row.path}.")]
    return max(found, key=lambda row: len(row.path)).confidence if found else "A"


def worst(letters: "list[str]") -> str:
    """Return the letter that says least; empty of none."""
    assert all(letter in CONFIDENCE for letter in letters)
    return max(letters, key=WORST.index, default="")


def _played_or_0_per_s(scenario: "Scenario") -> float:
    """Mean rate of what the scenario plays, where the bill needs none: 0 if it has none."""
    try:
        return _rate_per_s(scenario)
    except UsageError:
        return 0.0


def _rate_per_s(scenario: "Scenario") -> float:
    """Mean rate of the requests that the scenario plays, without messages on WebSockets, which come beside the volume.

    Raises
    ------
    UsageError
        A trace is too short to have one.
    """
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Closed):
        return _closed_rate_per_s(scenario)
    if isinstance(arrivals, TraceReplay):
        return _trace_rate_per_s(scenario)
    if scenario.workload.duration_s is not None or arrivals.kind in ("poisson", "constant"):
        return float(arrivals.profile_per_s(scenario.workload.duration_s).mean())
    return mean_rate_per_s(scenario) / (1 + scenario.messages_per_request)


def _trace_rate_per_s(scenario: "Scenario") -> float:
    try:
        check_rate(scenario)
    except UsageError as error:
        raise UsageError(f"{error}; say [demand] requests_per_day or requests_per_month") from None
    played = schedule(scenario)
    return len(played) / (played.duration_ms / 1000)


def _closed_rate_per_s(scenario: "Scenario") -> float:
    """Throughput of a closed loop: users over think time and the mean latency, with its waits, of a simulation.

    A month is no start: what comes before the start is forgotten (MSER-5) does not count, and a short run is played on.
    """
    from sim.engines.compiled_engine import simulate
    from sim.scenario.deployment import deployment

    assert isinstance(scenario.workload.arrivals, Closed)
    played = schedule(scenario.vary("workload.requests", max(scenario.workload.requests or 0, CLOSED_REQUESTS_MIN)))
    recording = simulate(deployment(scenario), played, seed=scenario.seed)
    order = np.argsort(recording.arrival_ms, kind="stable")
    latency_ms = recording.latency_ms[order]
    latency_ms = latency_ms[np.isfinite(latency_ms)]
    latency_ms = latency_ms[warm_up(latency_ms).requests :]
    cycle_ms = scenario.workload.arrivals.think_ms.expected() + float(latency_ms.mean())
    if not 0 < cycle_ms < float("inf"):
        raise UsageError(
            f"workload.arrivals.think_ms={cycle_ms:g} with answers in no time have no rate; say [demand] "
            "requests_per_day or requests_per_month"
        )
    return scenario.workload.arrivals.users / cycle_ms * 1000
