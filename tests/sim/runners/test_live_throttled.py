"""Deployments that ask for a pause, that fail in a row, and connections that are few.

Goal: Retry-After is respected and reported, and each rule stops a run with what was measured. Method: one fault a test.
"""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.runners.load.abort import AbortRule, AbortWatch
from sim.runners.load.messages import retry_after_s
from tests.sim.runners.test_live import play, seen, shares, steady
from tests.support.adversary import adversary


def test_pause_that_is_asked_for_is_made() -> None:
    """One second at 100 requests/s: at most a few are sent in it, the others are skipped and not sent later."""
    with adversary(statuses=(429, *[200] * 10_000), retry_after="1") as deployment:
        result = play(deployment, steady(200))
        arrived = seen(deployment)["requests"]
    counts = shares(result)
    assert counts["refused"] == 1
    assert 50 < counts["skipped"] <= 100
    assert arrived == 200 - counts["skipped"]
    assert result.generator["throttled_requests"] == 1
    assert result.generator["retry_after_s_max"] == 1
    assert not result.valid
    assert any("the deployment throttled 1 of 200 requests, Retry-After up to 1 s" in note for note in result.notes)


def test_pause_that_is_too_long_stops_the_run() -> None:
    with adversary(statuses=(200, 200, 429), retry_after="120") as deployment:
        result = play(deployment, steady(1000))
    assert result.interrupted
    assert shares(result)["ok"] == 2
    assert "status 429 with Retry-After 120 s, more than 30 s" in result.notes[0]


def test_refusals_without_a_pause_are_only_counted() -> None:
    with adversary(statuses=(429,)) as deployment:
        result = play(deployment, steady(30))
    assert shares(result) == {"refused": 30}
    assert result.generator["throttled_requests"] == 0


def test_failures_in_a_row_stop_the_run() -> None:
    with adversary(statuses=(200, 200, 200, *[500] * 10_000)) as deployment:
        result = play(deployment, steady(1000), abort=AbortRule(failed_fraction=1.0, consecutive_failures=7))
    assert result.interrupted
    assert shares(result)["ok"] == 3
    assert 7 <= shares(result)["error"] < 100
    assert "7 failures in a row" in result.notes[0]


def test_single_connection_makes_requests_wait_and_the_wait_counts() -> None:
    with adversary(delay_ms=30) as deployment:
        result = play(deployment, steady(40), connections=1)
        connections = seen(deployment)["connections"]
    assert connections == 1
    assert result.frame["latency_ms"].iloc[-1] > 20 * 30 / 2


def test_connection_without_keep_alive_serves_one_request() -> None:
    with adversary() as deployment:
        play(deployment, steady(25), keep_alive=False)
        assert seen(deployment)["connections"] == 25


@given(failed=st.lists(st.booleans(), max_size=60), rule=st.integers(1, 10))
def test_failures_in_a_row_are_counted_since_the_last_success(failed: list[bool], rule: int) -> None:
    watch = AbortWatch(AbortRule(failed_fraction=1.0, consecutive_failures=rule))
    for place, bad in enumerate(failed):
        stops = bool(watch.answered(at_s=place / 10, failed=bad))
        assert stops == (place + 1 >= rule and all(failed[place + 1 - rule : place + 1]))


@given(late=st.lists(st.booleans(), min_size=1, max_size=80))
def test_lateness_stops_when_more_than_its_share_of_recent_sends_are_late(late: list[bool]) -> None:
    rule = AbortRule(late_ms=100.0, late_fraction=0.5, window_s=1.0, answers=10)
    watch = AbortWatch(rule)
    for place, is_late in enumerate(late):
        at_s = place / 20
        reason = watch.sent(at_s=at_s, lag_ms=150.0 if is_late else 100.0)
        recent = [one for other, one in enumerate(late[: place + 1]) if other / 20 >= at_s - 1.0]
        assert bool(reason) == (len(recent) >= 10 and np.mean(recent) > 0.5)


@given(pause_s=st.integers(0, 10**8))
def test_retry_after_of_seconds_is_those(pause_s: int) -> None:
    assert retry_after_s(str(pause_s), now_s=0.0) == pause_s


@given(ahead_s=st.integers(-(10**6), 10**6))
def test_retry_after_of_a_date_is_the_time_until_then(ahead_s: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    text = format_datetime(now + timedelta(seconds=ahead_s), usegmt=True)
    assert retry_after_s(text, now_s=now.timestamp()) == max(0, ahead_s)


@given(text=st.text(max_size=30))
@pytest.mark.parametrize("now_s", [0.0])
def test_retry_after_that_cannot_be_read_asks_for_nothing(text: str, now_s: float) -> None:
    assert 0.0 <= retry_after_s(text, now_s=now_s) < float("inf")
