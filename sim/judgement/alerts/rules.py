"""Multi-window, multi-burn-rate alerts: each objective with four pairs of windows, and one alert on silence.

The burn rate is the share of bad requests over the budget: at 1 the budget lasts its 30 days, at 14.4 a thirtieth of it
goes in 1.7 hours. An alert fires while the burn rate exceeds its factor in a long window, so that it is significant,
and in a short one, so that it ends soon after the trouble. Where traffic is low one bad request is a high burn rate
(0.116 requests/s are 417 an hour: one failure burns 24 times a budget of 0.0001), and so it is at night and just after
a start. So a long window must also hold as many bad requests as a deployment within its budget hardly ever has.

All of this counts what reaches the Worker. When requests do not, nothing fails and nothing is slow: only their absence
can be seen (hazard H52), and only where traffic is never that low by chance.

Sources
-------
Beyer et al. (eds.), "The Site Reliability Workbook", 2018, chapter 5, table 5-8 (14.4 over 1 h, 6 over 6 h, 1 over 3 d;
the short window is a twelfth of the long one), and its text for the pair of 3 over 1 d.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from scipy.special import gammainc

from sim.judgement.alerts.objectives import LeftOut, Objective

PERIOD_DAYS = 30
"""What a budget is for."""

QUARTER_DAYS = 90

QUIET_SHARE = 0.5
"""Share of its budget that a deployment spends while nothing is wrong: an assumption."""

FALSE_ALARMS_MAX = 0.02
"""Expected in a quarter of quiet, of each rule, when windows that do not overlap are counted."""

SILENCE_EXPECTED_MIN = 30.0
"""Requests that a window must expect at the quietest hour: then none at all has a chance of 1e-13."""

SILENCE_WINDOWS_MINUTES = (5, 30, 120, 360)
SILENCE_FOR_MINUTES = 2


@dataclass(frozen=True)
class Windows:
    """A pair of windows with the burn rate that both must exceed."""

    factor: Decimal
    long_minutes: int
    short_minutes: int
    severity: str


LADDER = (
    Windows(Decimal("14.4"), 60, 5, "page"),
    Windows(Decimal(6), 360, 30, "page"),
    Windows(Decimal(3), 1_440, 120, "ticket"),
    Windows(Decimal(1), 4_320, 360, "ticket"),
)


@dataclass(frozen=True)
class BurnAlert:
    """One alert of an objective.

    Attributes
    ----------
    objective : Objective
    windows : Windows
    at_least : int
        Bad requests that the long window must hold at least.
    """

    objective: Objective
    windows: Windows
    at_least: int

    for_minutes = 0
    """It fires at once: the windows are its patience."""

    @property
    def name(self) -> str:
        """As Prometheus shows it: ``UptimeBurn1h``."""
        return f"{self.objective.name}Burn{duration(self.windows.long_minutes)}"

    @property
    def severity(self) -> str:
        """``page`` or ``ticket``."""
        return self.windows.severity

    @property
    def runbook(self) -> str:
        """File name of its runbook."""
        return self.objective.runbook

    @property
    def threshold(self) -> float:
        """Share of bad requests above which it fires; the product of the two floats that its rule multiplies."""
        return float(self.windows.factor) * float(self.objective.budget)

    @property
    def summary(self) -> str:
        """One line for the person who is paged."""
        rate, window = f"{self.windows.factor:g}", duration(self.windows.long_minutes)
        return (
            f"Requests that {self.objective.bad} use their budget {rate} times as fast as it lasts, "
            f"over {window} and over {duration(self.windows.short_minutes)}"
        )

    def minutes_to_fire(self, bad_share: float) -> float:
        """Return the minutes after which it fires when all at once a share of requests is bad, at a steady rate.

        Infinite if it never does. Sampling is left out: up to a scrape and an evaluation more.
        """
        if bad_share <= self.threshold:
            return float("inf")
        return self.windows.long_minutes * self.threshold / bad_share


@dataclass(frozen=True)
class SilenceAlert:
    """The alert on requests that no longer arrive."""

    window_minutes: int

    name = "NoRequests"
    severity = "page"
    runbook = "no-requests.md"
    for_minutes = SILENCE_FOR_MINUTES

    @property
    def summary(self) -> str:
        """One line for the person who is paged."""
        window = duration(self.window_minutes)
        return f"No request was counted for {window}: they fail before the Worker, or nobody scrapes it"


Alert = BurnAlert | SilenceAlert


@dataclass(frozen=True)
class Rules:
    """All alerts of a deployment.

    Attributes
    ----------
    name : str
        Of the scenario.
    alerts : tuple of Alert
    left_out : tuple of LeftOut
        Targets without an alert, and alerts that could never fire or would fire by chance.
    """

    name: str
    alerts: tuple[Alert, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives that have an alert, in order."""
        return tuple(dict.fromkeys(alert.objective for alert in self.burns))

    @property
    def burns(self) -> tuple[BurnAlert, ...]:
        """The alerts on budgets."""
        return tuple(alert for alert in self.alerts if isinstance(alert, BurnAlert))

    def windows_of(self, objective: Objective) -> tuple[int, ...]:
        """Return the windows of an objective's alerts in minutes, the shortest first."""
        own = [alert.windows for alert in self.burns if alert.objective == objective]
        return tuple(sorted({minutes for pair in own for minutes in (pair.long_minutes, pair.short_minutes)}))

    @property
    def request_windows(self) -> tuple[int, ...]:
        """Windows over which requests are counted, in minutes, the shortest first."""
        own = {minutes for objective in self.objectives for minutes in self.windows_of(objective)}
        return tuple(sorted(own | {one.window_minutes for one in self.alerts if isinstance(one, SilenceAlert)}))


def make_rules(
    name: str,
    objectives: tuple[Objective, ...],
    *,
    left_out: tuple[LeftOut, ...],
    fewest: Callable[[int], float],
) -> Rules:
    """Return the alerts of *objectives* for a deployment with this traffic.

    *fewest* maps a window in minutes to the fewest requests that it expects.
    """
    alerts: list[Alert] = []
    missing = list(left_out)
    for objective in objectives:
        for windows in LADDER:
            alert = BurnAlert(objective, windows, bad_min(windows))
            if alert.threshold < 1:
                alerts.append(alert)
                continue
            reason = f"{windows.factor:g} times a budget of {objective.budget:g} is more than all requests"
            missing.append(LeftOut(alert.name, f"{reason}: it could never fire"))
    window = next((one for one in SILENCE_WINDOWS_MINUTES if fewest(one) >= SILENCE_EXPECTED_MIN), None)
    if window is not None:
        alerts.append(SilenceAlert(window))
    else:
        longest = SILENCE_WINDOWS_MINUTES[-1]
        requests = f"{fewest(longest):.2g} requests in the quietest {duration(longest)}"
        reason = f"{requests}: silence may be chance; probe from outside"
        missing.append(LeftOut(SilenceAlert.name, reason))
    return Rules(name, tuple(alerts), tuple(missing))


def bad_min(windows: Windows) -> int:
    """Return the least number of bad requests in the long window that is no accident, however many requests it holds.

    Bad requests are independent, and a deployment that spends QUIET_SHARE of its budget has, in a window in which k of
    them reach the line, QUIET_SHARE x k / factor on average. The least k is returned for which, in a quarter, windows
    that do not overlap hold as many at most FALSE_ALARMS_MAX times.
    """
    windows_per_quarter = QUARTER_DAYS * 24 * 60 / windows.long_minutes
    least = 1
    while windows_per_quarter * float(gammainc(least, QUIET_SHARE * least / float(windows.factor))) > FALSE_ALARMS_MAX:
        least += 1
    return least


def duration(minutes: int) -> str:
    """Return a duration as Prometheus writes it.

    >>> [duration(minutes) for minutes in (5, 60, 120, 1_440, 4_320)]
    ['5m', '1h', '2h', '1d', '3d']
    """
    for unit_minutes, unit in ((1_440, "d"), (60, "h")):
        if minutes % unit_minutes == 0:
            return f"{minutes // unit_minutes}{unit}"
    return f"{minutes}m"
