"""Estimate the availability of a month: what the provider's incidents take from it, and the run's own failures.

A request fails because of the platform when an incident hits it (:mod:`sim.judgement.months`), and because of the
deployment when the run itself fails it (timeouts, overload). The interval is predictive: it holds 95 % of the months
that record, model and assumptions allow, not the long-run mean. Months differ, so that it does not shrink to a point
however long the record grows; and nobody publishes which share of requests an incident hits, so that it is wide.

Sources
-------
Jeffreys, "Theory of Probability", 3rd ed., 1961 (k failures in n requests give the share a beta distribution of
k + 1/2 and n - k + 1/2). Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, section 1.3 (prediction).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.judgement.dependence import Path, paths, products_of, record_of
from sim.judgement.incidents import IncidentRecord
from sim.judgement.months import DRAWS, Months, months_of
from sim.judgement.targets import Target, Verdict, decide
from sim.results.metrics import ended, judged
from sim.statistics.intervals import Estimate, round_up, share_interval

if TYPE_CHECKING:
    from sim.results.result import Result

Array = NDArray[np.float64]

REQUESTS_FACTOR_MAX = 1e9
"""No run grows further."""


@dataclass(frozen=True)
class ServiceRecord:
    """What is on record of one service that some route depends on.

    Attributes
    ----------
    service : str
    products : tuple of str
        Names that stand for it on the record; none if no incident names one.
    events : int
        Incidents.
    open_minutes : int
        Minutes for which they were open.
    days : int
        Observed days.
    """

    service: str
    products: tuple[str, ...]
    events: int
    open_minutes: int
    days: int


@dataclass(frozen=True)
class Availability(Shown):
    """The availability of a scenario in a month of 30 days, weighted by its mix of routes.

    Attributes
    ----------
    estimate : Estimate
        The median month and the interval that holds 95 % of them, ratios in [0, 1]; n is the number of requests of the
        run.
    failed_ratio : float
        Share of the run's requests that failed.
    months : Months
        What incidents take from each predicted month.
    record : IncidentRecord
    paths : tuple of Path
        One per route with traffic.
    """

    estimate: Estimate
    failed_ratio: float
    months: Months
    record: IncidentRecord
    paths: tuple[Path, ...]

    def __repr__(self) -> str:
        found = self.estimate
        return f"<Availability {found.value:.5f}, 95 % {found.low:.5f} to {found.high:.5f}: {found.method}>"

    @property
    def platform_ratio(self) -> float:
        """The median month of the platform alone."""
        return float(np.median(self.months.success_ratio()))

    @property
    def services(self) -> tuple[ServiceRecord, ...]:
        """Services that routes with traffic depend on, those with the most open minutes first."""
        rows = [_service(self.record, name) for name in dict.fromkeys(one for p in self.paths for one in p.services)]
        return tuple(sorted(rows, key=lambda row: -row.open_minutes))

    def success_draws(self, hit_share: float | None = None) -> Array:
        """Return the share of requests that succeed in each predicted month, shape (draws,).

        Parameters
        ----------
        hit_share : float, optional
            Share of the requests to its products that each incident hits, in [0, 1]; the assumed ones without it.
        """
        return _draws(self.months.success_ratio(hit_share), self.failed_ratio, self.estimate.effective_trials)

    def met_ratio(self, line: float, hit_share: float | None = None) -> float:
        """Return the share of predicted months in which at least *line* of the requests succeed."""
        return float((self.success_draws(hit_share) >= line).mean())

    def settled_by(self, line: Target) -> str:
        """Return a sentence on what would settle the verdict.

        More requests do where the platform alone would be decided. Otherwise no run does: what is missing is the share
        of requests that an incident hits, and the sentence says which shares would settle it.
        """
        if self._verdict(line, trials=inf) != Verdict.INCONCLUSIVE:
            return self._requests(line)
        met = f"met in {100 * self.met_ratio(line.target):.2g} % of predicted months"
        allowed = 1 - line.target / (1 - self.failed_ratio) if self.failed_ratio < 1 else -1.0
        if allowed <= 0:
            return met
        passes, misses = self.months.settling_shares(allowed)
        missed = f", over {100 * misses:.2g} % as missed" if misses < 1 else ""
        return (
            f"{met}; which share of requests an incident hits is assumed: "
            f"at most {100 * min(passes, 1):.2g} % would settle it as met{missed}"
        )

    def _requests(self, line: Target) -> str:
        """Return how many requests the run would need, to know its failures well enough."""
        trials, below, above = max(self.estimate.effective_trials, 1.0), 1.0, 2.0
        while self._verdict(line, trials=above * trials) == Verdict.INCONCLUSIVE:
            below, above = above, 4 * above
            if above > REQUESTS_FACTOR_MAX:
                return "the estimate stands on the line"
        while above / below > 1.1:
            middle = (below * above) ** 0.5
            open_still = self._verdict(line, trials=middle * trials) == Verdict.INCONCLUSIVE
            below, above = (middle, above) if open_still else (below, middle)
        return f"n >= {round_up(ceil(above * self.estimate.n)):,} would settle it"

    def _verdict(self, line: Target, *, trials: float) -> Verdict:
        low, high = _interval(self.months.success_ratio(), self.failed_ratio, trials)
        return decide(low, high, line=line)


def availability(results: "Result | Sequence[Result]", *, at_most_minutes: float = inf) -> Availability:
    """Estimate the availability, in a month, of the scenario that *results* played.

    Parameters
    ----------
    results : Result or sequence of Result
        One run, or replications of it, at least one.
    at_most_minutes : float
        Minutes of an incident after which its requests go another way, such as a second provider's; > 0. Without it
        they wait for its end.

    Raises
    ------
    UsageError
        No run, or a time that is not > 0.
    ScenarioError
        There is no incident record beside the platform file.
    """
    runs = [results] if not isinstance(results, Sequence) else list(results)
    if not runs:
        raise UsageError("results=[] must hold at least one result (run the scenario first)")
    scenario = runs[0].scenario
    months = months_of(scenario, at_most_minutes=at_most_minutes)
    frames = [run.steady().frame for run in runs]
    failed = share_interval(np.concatenate([~ended(judged(frame), "ok") for frame in frames]))
    value = float(np.median(months.success_ratio())) * (1 - failed.value)
    low, high = _interval(months.success_ratio(), failed.value, failed.effective_trials)
    record, routes = record_of(scenario.facts), paths(scenario)
    used = {name for path in routes for service in path.services for name in products_of(service, record)}
    events = sum(bool(one.products & used) for one in record.incidents)
    method = f"{events} incidents in {record.days} days, assumed shares of requests hit, and the run"
    return Availability(
        Estimate(value, min(low, value), max(high, value), failed.n, method, effective_trials=failed.effective_trials),
        failed.value,
        months,
        record,
        routes,
    )


def _draws(success: Array, failed_ratio: float, trials: float) -> Array:
    """Return the success of each month with the run's failures; infinitely many trials know their share exactly."""
    if not isfinite(trials):
        return success * (1 - failed_ratio)
    hits = failed_ratio * trials
    # Every quantile once, in an order of its own: a smooth posterior, independent of the months.
    quantiles = (np.random.default_rng(1).permutation(DRAWS) + 0.5) / DRAWS
    found: Array = success * (1 - betaincinv(hits + 0.5, trials - hits + 0.5, quantiles))
    return found


def _interval(success: Array, failed_ratio: float, trials: float) -> tuple[float, float]:
    low, high = np.quantile(_draws(success, failed_ratio, trials), [0.025, 0.975])
    return float(low), float(high)


def _service(record: IncidentRecord, service: str) -> ServiceRecord:
    products = products_of(service, record)
    own = record.touching(products) if products else ()
    return ServiceRecord(service, products, len(own), sum(one.open_minutes for one in own), record.days)
