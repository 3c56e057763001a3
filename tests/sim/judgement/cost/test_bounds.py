"""Amounts that physics bounds, whatever the traffic.

Goal: no object is active for longer than the month, nothing holds more than the platform lets it, no call uses more
CPU than it is given. Method: traffic far beyond any real one, and closed forms.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError
from sim.judgement.cost import cost, usage_per_month
from sim.judgement.cost.usage import Movement, Traffic
from sim.models.billing import SECONDS_PER_MONTH, Usage
from tests.support import frames

PER_OBJECT_GB = 0.128


@given(st.floats(1, 1e14), st.integers(1, 50))
def test_objects_are_active_for_at_most_the_month(requests: float, keys: int) -> None:
    busy = frames.scenario({"workload.keys.count": keys}, shares={"log": 1.0})
    active = usage_per_month(busy, requests)["durable_objects.duration"]
    assert active <= keys * SECONDS_PER_MONTH * PER_OBJECT_GB * (1 + 1e-9)


def test_calls_of_an_object_add_up_until_the_month_is_full() -> None:
    """One object, reads of 1 ms one after the other: half the month at 500 a second, all of it from 1,000 on."""
    one = frames.scenario({"workload.keys.count": 1}, shares={"balance": 1.0})
    for rate_per_s, busy in ((1, 0.001), (500, 0.5), (1_000, 1.0), (5_000, 1.0)):
        duration = usage_per_month(one, rate_per_s * SECONDS_PER_MONTH)["durable_objects.duration"]
        assert duration == pytest.approx(busy * SECONDS_PER_MONTH * PER_OBJECT_GB)


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


def test_writes_say_what_they_leave_behind() -> None:
    """A thousand bytes a row in the database and five hundred in the object: 10 GB are full after ten million posts."""
    steps = [{"use": "d1.write", "stored_bytes": 1_000}, {"use": "durable_objects.write", "stored_bytes": 500}]
    posts = frames.scenario({"workload.keys.zipf": 0.0}).with_(routes={"post": {"share": 1.0, "steps": steps}})
    usage = usage_per_month(posts, 1e6)
    assert usage["d1.storage"] == pytest.approx(1e6 * 1_000 / 1e9 / 2)
    assert usage["durable_objects.storage"] == pytest.approx(1e6 * 500 / 1e9 / 2)
    full = {limit.what: requests for limit, _, requests in Traffic(posts).storage_limits()}
    assert full == {"a database": pytest.approx(10e9 / 1_000), "an object": pytest.approx(10e9 / 500 * 10)}


class Awake(Traffic):
    """Traffic in which all that is billed is ten objects that something keeps awake for the whole month."""

    def movements(self, requests_per_month: float) -> Iterator[Movement]:  # whatever the traffic
        usage = Usage({"durable_objects.duration": 10.0 * SECONDS_PER_MONTH})
        yield Movement("", self.scenario.system.instances["ledger"], usage, 1.0)


def test_what_goes_on_by_itself_is_the_same_in_every_object() -> None:
    """However unequal the keys: each object counts for the whole month, and none for more."""
    awake = Awake(frames.scenario(shares={"balance": 1.0}))
    assert awake.usage(1e6)["durable_objects.duration"] == pytest.approx(10 * SECONDS_PER_MONTH * PER_OBJECT_GB)


def test_logs_are_ingested_once_and_stored_for_a_week() -> None:
    """2,000 bytes a request: 2 GB a million, and 7/30 of a month of them."""
    usage = usage_per_month(frames.scenario({"system.workers.log_bytes": 2_000}), 1e6)
    assert usage["workers.logs_ingested"] == pytest.approx(2.0)
    assert usage["workers.logs_stored"] == pytest.approx(2.0 * 7 / 30)
    assert "workers.logs_ingested" not in usage_per_month(frames.scenario(), 1e6)


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
