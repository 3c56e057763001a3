"""Amounts that physics bounds, whatever the traffic.

Goal: no object is active for longer than the month, nothing holds more than the platform lets it, no call uses more
CPU than it is given. Method: traffic far beyond any real one, and closed forms.
"""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.judgement.cost import cost, usage_per_month
from sim.judgement.cost.usage import Traffic
from sim.models.billing import SECONDS_PER_MONTH
from tests.support import frames

PER_OBJECT_GB = 0.128


@given(st.floats(1, 1e14), st.integers(1, 50))
def test_objects_are_active_for_at_most_the_month(requests: float, keys: int) -> None:
    busy = frames.scenario({"workload.keys.count": keys}, shares={"log": 1.0})
    active = usage_per_month(busy, requests)["durable_objects.duration"]
    assert active <= keys * SECONDS_PER_MONTH * PER_OBJECT_GB * (1 + 1e-9)


def test_calls_that_overlap_in_an_object_count_once() -> None:
    """One object of Poisson reads of 1 ms: busy for 1 - exp(-rate x 1 ms) of the month, as an M/G/∞ queue."""
    one = frames.scenario({"workload.keys.count": 1}, shares={"balance": 1.0})
    for rate_per_s in (1, 500, 5_000):
        duration = usage_per_month(one, rate_per_s * SECONDS_PER_MONTH)["durable_objects.duration"]
        assert duration == pytest.approx((1 - exp(-rate_per_s * 0.001)) * SECONDS_PER_MONTH * PER_OBJECT_GB)


@pytest.mark.parametrize("month", [1, 12])
def test_nothing_holds_more_than_the_platform_lets_it(month: int) -> None:
    """A database of 10 GB, objects of 10 GB each; buckets have no such bound."""
    bill = cost(frames.scenario(), requests_per_month=1e12, month=month)
    stored = {line.component: line.used for line in bill.lines if line.meter == "storage"}
    assert stored["d1"] <= 10
    assert stored["durable_objects"] <= 10 * 10
    assert stored["r2"] > 1e6


def test_storage_before_it_is_full_is_the_sum_of_what_came() -> None:
    """600,000 logs of 200 bytes: half of them are there on the average of the first month, in object and database."""
    usage = usage_per_month(frames.scenario(), 1e6)
    assert usage["d1.storage"] == pytest.approx(0.6e6 * 200 / 1e9 / 2)
    assert usage["durable_objects.storage"] == pytest.approx(0.6e6 * 200 / 1e9 / 2)


def test_log_in_one_value_is_full_at_two_megabytes() -> None:
    """The seed policy rewrites one value an object: 2 MB are 10,000 events of 200 bytes in the fullest of ten."""
    seed = Traffic(frames.scenario({"system.ledger.policy": "seed"}, shares={"log": 1.0}))
    fullest = 1 / sum(1 / key for key in range(1, 11))
    requests = [found for limit, _, found in seed.storage_limits() if limit.what == "a value"]
    assert requests == pytest.approx([10_000 / fullest])
    hardened = Traffic(frames.scenario(shares={"log": 1.0}))
    assert not [limit for limit, *_ in hardened.storage_limits() if limit.what == "a value"]


def test_call_that_uses_more_cpu_than_the_platform_gives_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"system\.workers uses 1e\+06 ms in one call, must be <= 300000"):
        cost(frames.scenario({"system.workers.cpu_ms": 1e6}))
