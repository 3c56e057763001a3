"""How often to probe a deployment, and after how many failures in a row to believe them.

Rare probes notice an outage late. Frequent ones, believed at the first failure, raise alarms about nothing, and each
false alarm costs a failover. Outages begin at a random moment between two probes. What is compared is the time that a
month loses to both: outages a month times the delay until they are noticed, and false alarms times a failover's length.

Sources
-------
An alarm after k failures in a row: with a share q of probes failing in an outage, the k-th comes after a mean of
(1 - q^k) / ((1 - q) q^k) probes (Feller, "An Introduction to Probability Theory", vol. 1, 3rd ed., 1968, XIII.7). It
stands beside the simulated delay, and counts false alarms, with q the share of probes that fail without an outage.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.replications import spawned_seeds
from sim.experiments.sizing.choices import Option, Sizing, compared
from sim.experiments.sizing.runs import long_enough, over_seeds, run_once
from sim.foundation.errors import UsageError
from sim.judgement.cost.usage import number
from sim.judgement.outages import read_outages
from sim.judgement.targets import targets_of
from sim.models.billing import DAYS_PER_MONTH, SECONDS_PER_MONTH
from sim.results.metrics import UPTIME, ended, judged
from sim.statistics.intervals import clean

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

INTERVALS_S = (300, 60, 30, 10, 5, 1)
"""The plainest first: the fewest probes."""

FAILURES = (1, 2, 3)
TIMEOUT_S = 5.0
"""Of one probe; the brief's. A probe that hangs fails only then."""

FALSE_ALARM_S = 60.0
"""Time that a failover for nothing takes from the users: an assumption."""

OUTAGES = 20_000
"""Simulated for each seed."""

INDIFFERENT_SHARE = 0.01
"""Of a month's error budget: nobody would pay for less."""

PRICE_FACT = "workers.pricing.requests_overage_per_million"


def probe_interval(
    scenario: "Scenario",
    *,
    values: Sequence[float] | None = None,
    seeds: int,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare times between probes (s), each with 1 to 3 failures in a row, by the time lost in a month."""
    intervals_s = [float(one) for one in (INTERVALS_S if values is None else values)]
    if not intervals_s or min(intervals_s) <= 0:
        raise UsageError(f"values={intervals_s} must be times between probes in s, > 0")
    outages = outages_per_month(scenario)
    observe = partial(_failing, timeout_ms=TIMEOUT_S * 1000)
    (healthy,) = over_seeds(
        [partial(run_once, long_enough(scenario, warm_up_s=0.0), observe=observe)],
        seed=scenario.seed, seeds=seeds, on_progress=on_progress,
    )  # fmt: skip
    chosen, usd_each = spawned_seeds(scenario.seed, seeds), number(scenario.facts, PRICE_FACT) / 1e6
    options = []
    for interval_s in intervals_s:
        for failures in FAILURES:
            waits = [delays_s(interval_s, failures, seed=seed).mean() for seed in chosen]
            noticed_s = np.array(waits)
            alarms = false_alarms_per_month(interval_s, failures, failing=healthy["failing"])
            probes = SECONDS_PER_MONTH / interval_s
            beside = {
                "noticed after, s": float(noticed_s.mean()),
                "closed form, s": delay_mean_s(interval_s, failures),
                "false alarms a month": float(alarms.mean()),
                "probes a month": probes,
            }
            lost_s = outages * noticed_s + alarms * FALSE_ALARM_S
            name = f"{interval_s:g} s, {failures} in a row" if failures > 1 else f"{interval_s:g} s, at once"
            options.append(Option((interval_s, failures), name, probes * usd_each, lost_s, beside))
    choices, place = compared(options, unit="s", indifference=budget_s(scenario) * INDIFFERENT_SHARE)
    return Sizing(
        scenario, "probe_interval", "How often to probe, and after how many failures to act?",
        "seconds a month lost to late and to false alarms", "below", choices, place, seeds,
        falsified_by="more false alarms in a month than the closed form says, as when probes fail in bursts",
        notes=(
            f"a month's error budget is {budget_s(scenario):,.0f} s; a hundredth of it makes no difference",
            (
                f"{outages:.2g} outages a month, as the provider confirmed for the services in use; a probe gives up "
                f"after {TIMEOUT_S:g} s; a failover for nothing costs {FALSE_ALARM_S:g} s (assumption)"
            ),
            (
                f"{float(healthy['failing'].mean()):.2g} of the probes fail without an outage: the share of the "
                "simulated requests that fail or take longer, half a failure added to each run"
            ),
            "the bill is that of the probes alone, beyond what the plan includes",
        ),
    )  # fmt: skip


def delays_s(interval_s: float, failures: int, *, seed: int, failing_share: float = 1.0, n: int = OUTAGES) -> Array:
    """Simulate outages; return the time until each is noticed, shape (n,).

    Parameters
    ----------
    interval_s : float
        From one probe to the next.
    failures : int
        In a row, until it is believed.
    seed : int
        Outages of one seed begin at the same moments of the interval, whatever its length.
    failing_share : float
        Of the probes in an outage, in (0, 1]: less than 1 for an outage that some requests survive.
    n : int
    """
    if not 0 < failing_share <= 1:
        raise UsageError(f"failing_share={failing_share:g} must be in (0, 1]")
    rng = np.random.default_rng(seed)
    first_s = interval_s * rng.random(n)
    probes, in_a_row = np.zeros(n), np.zeros(n)
    waiting = np.ones(n, dtype=bool)
    while waiting.any():
        fails = rng.random(n) < failing_share
        probes[waiting] += 1
        in_a_row = np.where(fails, in_a_row + 1, 0)
        waiting &= in_a_row < failures
    return clean(first_s + (probes - 1) * interval_s + TIMEOUT_S, finite=True)


def delay_mean_s(interval_s: float, failures: int, *, failing_share: float = 1.0) -> float:
    """Return the mean of :func:`delays_s` by the closed form."""
    return interval_s / 2 + (probes_until(failures, failing_share) - 1) * interval_s + TIMEOUT_S


def probes_until(failures: int, share: float) -> float:
    """Return the mean number of probes until so many in a row fail, each with probability *share*."""
    return float(failures) if share == 1 else (1 - share**failures) / ((1 - share) * share**failures)


def false_alarms_per_month(interval_s: float, failures: int, *, failing: Array) -> Array:
    """Return false alarms of independent probes, shape (seeds,), for the shares that fail without an outage."""
    return np.array([SECONDS_PER_MONTH / interval_s / probes_until(failures, float(share)) for share in failing])


def budget_s(scenario: "Scenario") -> float:
    """Return the time that a month's error budget lets the deployment be down; 0 without a target for uptime."""
    targets = (line.target for line in targets_of(scenario) if line.metric == UPTIME)
    return SECONDS_PER_MONTH * (1 - next(targets, 1.0))


def outages_per_month(scenario: "Scenario") -> float:
    """Return how often a month a service that *scenario* needs is out, by the outages that the provider confirmed."""
    record, instances = read_outages(scenario.facts), scenario.system.instances
    services = {service for route in scenario.routes.values() for service in instances[route.enter].component.services}
    for used in scenario.operations.values():
        for name, _, operation in (one.partition(".") for one in used):
            services.update(instances[name].component.operations[operation].services)
    events = sum(len(record.of(service)) for service in services)
    return events / record.days * DAYS_PER_MONTH


def _failing(result: "Result", *, timeout_ms: float) -> dict[str, float]:
    frame = judged(result.steady().frame)
    bad = ~ended(frame, "ok") | (frame["latency_ms"].to_numpy() > timeout_ms)
    return {"failing": (int(bad.sum()) + 0.5) / (len(frame) + 1)}
