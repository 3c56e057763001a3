"""One simulated incident over time: how fast the budget burns in each window, and when each alert fires."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.alerting.backtest import Trial, replayed
from sim.experiments.alerting.probe import PROBES
from sim.experiments.alerting.traffic import during
from sim.foundation.errors import UsageError
from sim.judgement.alerts.objectives import Objective
from sim.judgement.alerts.rules import BurnAlert
from sim.results.metrics import UPTIME

if TYPE_CHECKING:
    from sim.experiments.alerting.alerts import Alerts

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """One incident as the alerts of one objective see it.

    Attributes
    ----------
    trial : Trial
    objective : Objective
        The one with alerts that the incident hurts.
    alerts : tuple of BurnAlert
        Those of the objective.
    minutes : array, shape (evaluations,)
        From the start of the incident to each evaluation.
    burns : dict of int to array, shape (evaluations,) each
        By the window in minutes, share of bad requests over the budget.
    firing : dict of str to array of bool, shape (evaluations,) each
        By the alert's name.
    """

    trial: Trial
    objective: Objective
    alerts: tuple[BurnAlert, ...]
    minutes: Array
    burns: dict[int, Array]
    firing: dict[str, NDArray[np.bool_]]


def timeline(found: "Alerts", number: int) -> Timeline:
    """Replay one incident of the backtest, with the same draws.

    Parameters
    ----------
    found : Alerts
    number : int
        Its place among ``found.backtest.trials``.

    Raises
    ------
    UsageError
        There is no such incident, or no objective that it hurts has an alert.
    """
    trials = found.backtest.trials
    if not 0 <= number < len(trials):
        raise UsageError(f"number={number} must be in 0..{len(trials) - 1}")
    incident = trials[number].incident
    hurt = [one for one in found.rules.objectives if incident.slow == (one.target.metric != UPTIME)]
    if not hurt:
        raise UsageError(f"number={number} must be an incident that hurts an objective; this one hurts none")
    objective = min(hurt, key=lambda one: one.budget)
    # As the backtest draws: the second stream of the seed is split, one for each incident.
    _, quiet = np.random.default_rng(found.seed).spawn(2)
    rng = quiet.spawn(len(trials))[number]
    for probe in PROBES:
        probe.delay_minutes(incident, rng=rng)
    scraped = during(incident, found.rules.objectives, wave=found.wave, rng=rng)
    firing = replayed(found.rules, scraped)
    burns = {}
    for window in found.rules.windows_of(objective):
        requests = scraped.samples.total.rate(scraped.at_s, range_s=window * 60)
        good = scraped.samples.good[objective.name].rate(scraped.at_s, range_s=window * 60)
        with np.errstate(divide="ignore", invalid="ignore"):
            burns[window] = (1 - good / requests) / float(objective.budget)
    own = tuple(alert for alert in found.rules.burns if alert.objective == objective)
    return Timeline(
        trials[number],
        objective,
        own,
        (scraped.at_s - scraped.begin_s) / 60,
        burns,
        {alert.name: np.asarray(firing.firing[alert.name]) for alert in own},
    )
