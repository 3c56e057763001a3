"""Alerts for a scenario: rules from its target table, and what a backtest says of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.alerting.backtest import Backtest, backtest
from sim.experiments.alerting.detection_costs import DetectionCost, detection_costs
from sim.experiments.alerting.incidents import draw_incidents
from sim.experiments.alerting.timeline import Timeline, timeline
from sim.experiments.alerting.traffic import Wave
from sim.foundation.errors import UsageError
from sim.foundation.figures import figure
from sim.foundation.views import Shown
from sim.judgement.alerts.objectives import objectives_of
from sim.judgement.alerts.rules import QUIET_SHARE, Rules, make_rules
from sim.judgement.cost.volume import course_of
from sim.judgement.dependence import paths, products_in_use, record_of
from sim.results.metrics import UPTIME
from sim.runners.simulated import play
from sim.scenario.generation import schedule
from sim.scenario.scenario import load_scenario
from sim.statistics.intervals import share_interval

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

INCIDENTS, QUARTERS = 200, 20

OWN_REQUESTS = 50_000
"""Requests of the scenario, at most, by which its alerts are held against its own latency."""


@dataclass(frozen=True)
class Alerts(Shown):
    """The alerts of a scenario, with their backtest.

    Attributes
    ----------
    scenario : Scenario
    rules : Rules
    wave : Wave
        The traffic that they are for.
    backtest : Backtest
    notes : tuple of str
        What the numbers rest on, and what is not in them.
    seed : int
    """

    scenario: "Scenario"
    rules: Rules
    wave: Wave
    backtest: Backtest
    notes: tuple[str, ...]
    seed: int

    def __repr__(self) -> str:
        tried = self.backtest
        return (
            f"<Alerts of {self.scenario.name}: {len(self.rules.alerts)} rules, {len(tried.trials)} incidents, "
            f"{tried.quarters} quiet quarters>"
        )

    @property
    def detection_costs(self) -> tuple[DetectionCost, ...]:
        """What incidents cost before and after each means detects them."""
        return detection_costs(self.rules, self.backtest)

    def timeline(self, number: int) -> Timeline:
        """Replay one incident of the backtest, by its place there."""
        return timeline(self, number)


def alerts(
    scenario: "str | Scenario",
    *,
    incidents: int = INCIDENTS,
    quarters: int = QUARTERS,
    rng: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Alerts:
    """Write burn-rate alerts for a scenario's targets and try them on simulated incidents and quiet quarters.

    Parameters
    ----------
    scenario : str or Scenario
    incidents, quarters : int
        How many are simulated, each at least 1.
    rng : int
        Seed.
    on_progress : callable
        Called with a line now and then.

    Raises
    ------
    UsageError
        A number outside its rule, or no target of the scenario can have an alert.
    ScenarioError
        The platform has no incident record.
    """
    if incidents < 1 or quarters < 1:
        raise UsageError(f"incidents={incidents}, quarters={quarters} must be >= 1")
    loaded = load_scenario(scenario) if isinstance(scenario, str) else scenario
    rules, wave, notes = rules_of(loaded)
    record = record_of(loaded.facts)
    trials, quiet = np.random.default_rng(rng).spawn(2)
    drawn = draw_incidents(loaded, record, count=incidents, rng=trials)
    tried = backtest(rules, drawn, wave=wave, quarters=quarters, rng=quiet, on_progress=on_progress)
    _, unknown = products_in_use(paths(loaded), record)
    if unknown:
        notes = (*notes, f"No incident of {', '.join(unknown)} is on record: none is simulated.")
    return Alerts(loaded, rules, wave, tried, (*notes, *own_burn(loaded, rules)), rng)


def own_burn(scenario: "Scenario", rules: Rules) -> tuple[str, ...]:
    """Name the alerts on latency that fire though nothing is wrong: the scenario itself misses the target by that much.

    An alert is named where the whole 95 % interval of the share of slow requests is beyond its threshold. The backtest
    cannot show it, since it assumes what quiet costs. Failures are left out: what the model says of them is what its
    author assumed.
    """
    whole = schedule(scenario)
    frame = play(scenario, whole.head(OWN_REQUESTS), seed=scenario.seed).steady().frame
    latency_ms = frame["latency_ms"].to_numpy()
    latency_ms = latency_ms[np.isfinite(latency_ms)]
    said = []
    for objective in rules.objectives if len(latency_ms) else ():
        slow = share_interval(latency_ms > objective.target.target)
        firing = [alert.name for alert in rules.burns if alert.objective == objective and alert.threshold < slow.low]
        if objective.target.metric != UPTIME and firing:
            share, low, high = (figure(100 * one) for one in (slow.value, slow.low, slow.high))
            said.append(
                f"These alerts fire without an incident, too: {', '.join(firing)}. Of the scenario's own requests, at "
                f"the load that it plays, {share} % [{low}, {high}] {objective.bad}, "
                f"{figure(slow.value / float(objective.budget))} times the budget; the backtest takes "
                f"{100 * QUIET_SHARE:.0f} % of it. Meet the target first, or set one that holds."
            )
    return tuple(said)


def rules_of(scenario: "Scenario") -> tuple[Rules, Wave, tuple[str, ...]]:
    """Return the rules of a scenario, the traffic that they are for, and notes on it.

    Raises
    ------
    UsageError
        None of its targets can have an alert.
    """
    course, month = course_of(scenario)
    wave = Wave(month.mean_per_s, course.peak_factor or 1.0)
    objectives, left_out = objectives_of(scenario)
    if not objectives:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in left_out)
        raise UsageError(f"{scenario.name}: no target can have an alert ({reasons})")
    rules = make_rules(scenario.name, objectives, left_out=left_out, fewest=wave.fewest)
    return rules, wave, (month.sentence,)
