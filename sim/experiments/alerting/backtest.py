"""The backtest: how soon each alert fires on simulated incidents, which it misses, how often it fires for nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.experiments.alerting.incidents import SimulatedIncident
from sim.experiments.alerting.probe import PROBES
from sim.experiments.alerting.traffic import BEFORE_MINUTES, Scraped, Wave, during, quiet
from sim.judgement.alerts.replay import Firing, replay
from sim.judgement.alerts.rule_file import INTERVAL_S
from sim.judgement.alerts.rules import PERIOD_DAYS, QUARTER_DAYS, Alert, BurnAlert, Rules
from sim.results.metrics import UPTIME
from sim.statistics.intervals import Estimate, proportion_interval, rate_interval
from sim.statistics.quantiles import QuantileEstimate, quantile_interval

Array = NDArray[np.float64]

DUE_MARGIN = 1.1
"""An alert is due where its line is exceeded by a tenth: exactly on the line, chance decides."""

PROMISED = 0.02
"""Share of a 30 days' budget that the fastest page lets go: 14.4 times the budget's rate for an hour."""

COSTS = ((0.0, 0.02), (0.02, 0.1), (0.1, 1.0), (1.0, np.inf))
"""Classes of incidents by the share of a 30 days' budget that they spend."""


@dataclass(frozen=True)
class Trial:
    """One incident and what became of it.

    Attributes
    ----------
    incident : SimulatedIncident
    budget_share : float
        Share of the 30 days' budget that it spends, of the objective that it hurts most; 1 is all of it.
    due : frozenset of str
        Alerts that should fire.
    fired_minutes : dict of str to float
        By alert, minutes from its start to the first evaluation at which the alert was firing; infinite if none was
        until its end and one evaluation more.
    probed_minutes : dict of str to float
        The same of each probe.
    """

    incident: SimulatedIncident
    budget_share: float
    due: frozenset[str]
    fired_minutes: dict[str, float]
    probed_minutes: dict[str, float]

    def first_minutes(self, alerts: tuple[Alert, ...]) -> float:
        """Return the minutes until the first of *alerts* fires; infinite if none does."""
        return min((self.fired_minutes[alert.name] for alert in alerts), default=np.inf)


@dataclass(frozen=True)
class Detection:
    """How a set of incidents was detected by one means.

    Attributes
    ----------
    found : Estimate or None
        Share that was detected; None without an incident.
    minutes : QuantileEstimate or None
        Median time to it, over those that were; None if none was.
    """

    found: Estimate | None
    minutes: QuantileEstimate | None


@dataclass(frozen=True)
class Backtest:
    """Everything that was tried.

    Attributes
    ----------
    trials : tuple of Trial
    false_alarms : dict of str to tuple of int
        By alert, how often it began to fire in each quiet quarter.
    """

    trials: tuple[Trial, ...]
    false_alarms: dict[str, tuple[int, ...]]

    @property
    def quarters(self) -> int:
        """Quiet quarters."""
        return len(next(iter(self.false_alarms.values()), ()))

    def false_alarm_rate(self, alert: Alert) -> Estimate:
        """Return the false alarms of one alert in a quarter of 90 days."""
        return rate_interval(sum(self.false_alarms[alert.name]), self.quarters)

    def due(self, alert: Alert) -> tuple[Trial, ...]:
        """Return the incidents on which an alert should fire."""
        return tuple(trial for trial in self.trials if alert.name in trial.due)

    def detection_by(self, alert: Alert) -> Detection:
        """Return how an alert did on the incidents on which it should fire."""
        return detection([trial.fired_minutes[alert.name] for trial in self.due(alert)])


def detection(minutes: list[float]) -> Detection:
    """Return the share detected, and the median time of those that were."""
    times = np.array(minutes)
    hits = times[np.isfinite(times)]
    share = proportion_interval(hits.size, times.size) if times.size else None
    return Detection(share, quantile_interval(hits, 0.5, method="independent") if hits.size else None)


def backtest(
    rules: Rules,
    incidents: tuple[SimulatedIncident, ...],
    *,
    wave: Wave,
    quarters: int,
    rng: np.random.Generator,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Backtest:
    """Replay every incident, then *quarters* quiet quarters."""
    trials = []
    for number, (incident, own) in enumerate(zip(incidents, rng.spawn(len(incidents)), strict=True), 1):
        trials.append(_trial(rules, incident, wave, own))
        if number % 50 == 0:
            on_progress(f"incident {number} of {len(incidents)}")
    alarms: dict[str, tuple[int, ...]] = {alert.name: () for alert in rules.alerts}
    for number, own in enumerate(rng.spawn(quarters), 1):
        firing = replayed(rules, quiet(rules.objectives, wave, minutes=QUARTER_DAYS * 1_440, rng=own))
        since_s = BEFORE_MINUTES * 60
        for name, before in alarms.items():
            alarms[name] = (*before, int((firing.starts_s(name) >= since_s).sum()))
        on_progress(f"quiet quarter {number} of {quarters}")
    return Backtest(tuple(trials), alarms)


def replayed(rules: Rules, scraped: Scraped) -> Firing:
    """Return when the alerts fire on what was scraped."""
    return replay(rules, scraped.samples, at_s=scraped.at_s, interval_s=INTERVAL_S)


def _trial(rules: Rules, incident: SimulatedIncident, wave: Wave, rng: np.random.Generator) -> Trial:
    probed = {probe.name: probe.delay_minutes(incident, rng=rng) for probe in PROBES}
    scraped = during(incident, rules.objectives, wave=wave, rng=rng)
    firing = replayed(rules, scraped)
    until_s = scraped.end_s + INTERVAL_S
    fired = {
        alert.name: (firing.first_s(alert.name, since_s=scraped.begin_s, until_s=until_s) - scraped.begin_s) / 60
        for alert in rules.alerts
    }
    budgets = [float(one.budget) for one in rules.objectives if incident.slow == (one.target.metric != UPTIME)]
    spent = incident.budget_share(min(budgets), days=PERIOD_DAYS) if budgets else 0.0
    due = frozenset(alert.name for alert in rules.alerts if _due(alert, incident, wave))
    return Trial(incident, spent, due, fired, probed)


def _due(alert: Alert, incident: SimulatedIncident, wave: Wave) -> bool:
    """Whether an alert should fire: what it watches exceeds its lines by DUE_MARGIN at the end, without any chance."""
    if not incident.counted:
        # One minute's scrape must be over before a window can be empty, and one more to be sure.
        patience = getattr(alert, "window_minutes", np.inf) + alert.for_minutes + 2
        return incident.hit_share == 1 and incident.minutes > patience
    if not isinstance(alert, BurnAlert) or incident.slow == (alert.objective.target.metric == UPTIME):
        return False
    windows = alert.windows
    ends = [_expected(incident, wave, minutes) for minutes in (windows.long_minutes, windows.short_minutes)]
    line = DUE_MARGIN * alert.threshold
    return all(bad > line * total for bad, total in ends) and ends[0][0] > DUE_MARGIN * alert.at_least


def _expected(incident: SimulatedIncident, wave: Wave, window_minutes: int) -> tuple[float, float]:
    """Return the expected bad requests and all requests in the window that ends with the last scrape of an incident."""
    clock = np.arange(np.floor(incident.minutes) - window_minutes, np.floor(incident.minutes)) + 1
    requests = wave.requests(clock, phase_share=-incident.phase_share)
    return float(requests[clock > 0].sum()) * incident.hit_share, float(requests.sum())
