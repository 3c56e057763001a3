"""What a deployment costs an hour when it runs away, and what the provider's spending limit stops of it.

An alarm that sets itself, a table scanned for every query, callers that repeat what fails: each uses without end what
nobody asked for. Components say how they can run away (:class:`sim.models.billing.Runaway`); a storm of retries is
every caller's. Prices are those beyond the inclusions, which are gone within minutes.

A spending limit counts only the meters that the provider says (Workers requests and CPU). What else the same requests
use is billed beside it until they are stopped; what comes by no Worker request goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum, inf
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.foundation.figures import figure
from sim.judgement.cost.bill import merged
from sim.judgement.cost.usage import Traffic, number
from sim.judgement.cost.volume import MonthVolume
from sim.models.billing import Usage
from sim.models.component import Instance, Tier
from sim.scenario.routes import Step

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

SECONDS_PER_HOUR = 3_600

SPENDING_LIMIT_USD = 100.0
"""Taken for the account's own if nobody says another: above the usual month's spending."""


@dataclass(frozen=True)
class RunawayCost:
    """One way to run away, priced.

    Attributes
    ----------
    name : str
        ``"durable_objects: alarm loop"``.
    sentence : str
    hour_usd : float
        What each hour costs beyond the usual.
    counted_hour_usd : float
        The part that the spending limit counts.
    stopped_after_s : float
        Until the counted part has reached the limit; infinite if there is none.
    spent_usd : float
        All that is spent until then; infinite likewise.
    unstopped : str
        What the limit does not stop.
    lines : dict of str to float
        USD an hour by meter.
    """

    name: str
    sentence: str
    hour_usd: float
    counted_hour_usd: float
    stopped_after_s: float
    spent_usd: float
    unstopped: str
    lines: dict[str, float]


def runaways(
    traffic: Traffic, volume: MonthVolume, *, spending_limit_usd: float = SPENDING_LIMIT_USD
) -> tuple[RunawayCost, ...]:
    """Price every way to run away, the dearest first.

    Parameters
    ----------
    traffic : Traffic
    volume : MonthVolume
        Its played rate, the peak, is what a storm multiplies.
    spending_limit_usd : float
        Of the account, above its usual month.

    Raises
    ------
    UsageError
        The limit is negative or not finite.
    """
    if not 0 <= spending_limit_usd < inf:
        raise UsageError(f"spending_limit={spending_limit_usd:g} must be >= 0 and finite")
    found = [*_of_components(traffic, spending_limit_usd), _storm(traffic, volume, spending_limit_usd)]
    return tuple(sorted((one for one in found if one.hour_usd > 0), key=lambda one: -one.hour_usd))


def _of_components(traffic: Traffic, spending_limit_usd: float) -> Iterator[RunawayCost]:
    scenario = traffic.scenario
    for instance in scenario.system.instances.values():
        if instance.name not in scenario.reached:
            continue
        for way in instance.component.runaways:
            if not _has_facts(way.usage_per_s, traffic, instance):
                continue
            usage = way.usage_per_s(instance, lambda key: number(scenario.facts, key))
            seconds = SECONDS_PER_HOUR * _used_share(traffic, instance)
            amounts = {name: amount * seconds * traffic.scale(name) for name, amount in usage.amounts.items()}
            yield _priced(
                f"{instance.name}: {way.name}",
                way.sentence,
                amounts,
                traffic=traffic,
                limit_usd=spending_limit_usd,
            )


def _used_share(traffic: Traffic, instance: Instance) -> float:
    """Return the share of an instance's parts that are used: a trace numbers the keys of all its routes together."""
    callers = [
        one
        for one in traffic.scenario.system.instances.values()
        if one is instance or instance in [one.linked(key) for key in one.component.links]
    ]
    used = np.array([traffic.part_share(instance, one) > 0 for one in callers]).any(axis=0)
    return float(used.mean()) if used.any() else 1.0


def _has_facts(usage_per_s: object, traffic: Traffic, instance: object) -> bool:
    """Whether the platform file holds the numbers that a way to run away is reckoned with."""
    missing: list[str] = []

    def look_up(key: str) -> float:
        if key not in traffic.scenario.facts.facts:
            missing.append(key)
            return 0.0
        return number(traffic.scenario.facts, key)

    assert callable(usage_per_s)
    usage_per_s(instance, look_up)
    return not missing


def _storm(traffic: Traffic, volume: MonthVolume, spending_limit_usd: float) -> RunawayCost:
    """Every call fails, and every caller repeats it as often as its policy lets it."""
    scenario = traffic.scenario
    first = _hour(traffic, volume.played_per_s, attempts=False)
    storm = _hour(traffic, volume.played_per_s, attempts=True)
    extra = {name: amount - first.get(name, 0.0) for name, amount in storm.items()}
    clients = _client_attempts(scenario)
    sentence = (
        f"every call fails at {figure(volume.played_per_s)} requests/s, and every caller repeats it as often as its "
        f"policy says ({clients} attempts of a client)"
    )
    return _priced("callers: retry storm", sentence, extra, traffic=traffic, limit_usd=spending_limit_usd)


def _client_attempts(scenario: "Scenario") -> int:
    """Return the most attempts that a client makes per request."""
    attempts = 1
    for instance in scenario.system.instances.values():
        if instance.component.tier == Tier.CALLER:
            attempts *= 1 + int(getattr(instance.table, "retries", 0))
    return attempts


def _hour(traffic: Traffic, rate_per_s: float, *, attempts: bool) -> dict[str, float]:
    """Amounts of an hour of routes' calls, each once or as often as its callers' policies allow."""
    scenario, found = traffic.scenario, dict[str, float]()
    all_per_s = rate_per_s * (1 + scenario.messages_per_request)
    clients = _client_attempts(scenario) if attempts else 1
    for name, route in scenario.routes.items():
        requests = all_per_s * SECONDS_PER_HOUR * traffic.mix.share[name] * clients
        for step, often in _calls(route.steps, 1.0, attempts=attempts):
            assert step.use is not None
            where, _, operation = step.use.partition(".")
            instance = scenario.system.instances[where]
            wanted = instance.component.operations[operation]
            call = traffic.call(name, wanted.parameters.model_validate(step.parameters))
            usage: Usage = wanted.usage(instance, call)
            for meter, amount in usage.amounts.items():
                found[meter] = found.get(meter, 0.0) + requests * often * amount * traffic.scale(meter)
    return found


def _calls(steps: tuple[Step, ...], share: float, *, attempts: bool) -> Iterator[tuple[Step, float]]:
    for step in steps:
        often = share * step.chance * step.times * (1 + step.retries if attempts else 1)
        if step.steps is None:
            yield step, often
        else:
            yield from _calls(step.steps, often, attempts=attempts)


def _priced(name: str, sentence: str, amounts: dict[str, float], *, traffic: Traffic, limit_usd: float) -> RunawayCost:
    """The hour's amounts at the prices beyond the inclusions."""
    facts = traffic.scenario.facts
    lines: dict[str, float] = {}
    for meter_name, amount in merged(amounts, facts).items():
        meter = traffic.meters.get(meter_name)
        if meter is not None and meter.price in facts.facts and amount > 0 and not meter.once:
            lines[meter_name] = amount / meter.per * number(facts, meter.price)
    hour_usd = fsum(lines.values())
    counted_usd = fsum(usd for meter_name, usd in lines.items() if traffic.meters[meter_name].spending_limit)
    stops = counted_usd > 0
    beside = sorted({traffic.meters[one].component for one in lines if not traffic.meters[one].spending_limit})
    if not stops:
        unstopped = "all of it: it adds no Worker request and no CPU"
    else:
        names = ", ".join(beside) or "nothing"
        unstopped = f"what {names} bill until then, and alarms that are set already"
    return RunawayCost(
        name,
        sentence,
        hour_usd,
        counted_usd,
        limit_usd / counted_usd * SECONDS_PER_HOUR if stops else inf,
        limit_usd / counted_usd * hour_usd if stops else inf,
        unstopped,
        lines,
    )
