"""The cost of additional requests: a load run, beside the month's own traffic.

Prices are those beyond the inclusions, which a month's own traffic may have used up; what goes on by itself and what is
stored are the month's, and are not counted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.judgement.cost.bill import merged
from sim.judgement.cost.usage import Traffic, number
from sim.models.registry import meters

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario


def requests_usd(scenario: "Scenario", requests: int) -> tuple[float, tuple[str, ...]]:
    """Return what *requests* of a scenario's traffic cost in USD, and the meters whose price is not known.

    Messages on WebSockets are among them.

    Raises
    ------
    UsageError
        *requests* is negative.
    """
    if requests < 0:
        raise UsageError(f"requests={requests} must be >= 0")
    traffic = Traffic(scenario, float(max(requests, 1)))
    per_request = 1 + scenario.messages_per_request
    with_them, without = (merged(traffic.usage(count / per_request), scenario.facts) for count in (requests, 0))
    moved = {name: amount - without.get(name, 0.0) for name, amount in with_them.items()}
    return _usd(moved, scenario)


def _usd(moved: Mapping[str, float], scenario: "Scenario") -> tuple[float, tuple[str, ...]]:
    usd, unpriced = 0.0, []
    for meter in meters():
        amount = moved.get(meter.name, 0.0)
        if meter.counts_as or amount <= 0:
            continue
        if meter.price in scenario.facts.facts:
            usd += amount / meter.per * number(scenario.facts, meter.price)
        else:
            unpriced.append(meter.name)
    return usd, tuple(unpriced)
