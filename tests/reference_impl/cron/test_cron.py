"""Cron triggers: when a schedule is due, in the reference and in the model.

Goal: both read a schedule as the provider does. Method: dates that the calendar gives; two readers written apart, one
that is asked minute by minute and one that counts, on schedules drawn by Hypothesis; and what is no schedule.
"""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.cron.schedule import Schedule
from reference_impl.errors import ConfigError
from sim.models.cron_schedule import read_schedule
from tests.support.routed import ask, route, routed


def field(low: int, high: int, *names: str) -> st.SearchStrategy[str]:
    """Lists of numbers, ranges and steps."""
    one = st.integers(low, high).map(str) if not names else st.sampled_from(names)
    span = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda ends: f"{min(ends)}-{max(ends)}")
    part = st.one_of(one, span, st.tuples(span, st.integers(1, 9)).map(lambda both: f"{both[0]}/{both[1]}"))
    return st.one_of(
        st.just("*"), st.integers(1, 40).map("*/{}".format), st.lists(part, min_size=1, max_size=2).map(",".join)
    )


DAYS = st.one_of(field(1, 31), st.sampled_from(["L", "LW", "1W", "15W", "30W", "31W", "L,3"]))
WEEKDAYS = st.one_of(field(1, 7, "sun", "MON", "Fri"), st.sampled_from(["1L", "friL", "2#1", "thu#5", "mon-fri"]))
SCHEDULES = st.tuples(field(0, 59), field(0, 23), DAYS, field(1, 12, "jan", "Dec"), WEEKDAYS).map(" ".join)


@given(SCHEDULES, st.dates(dt.date(2024, 1, 1), dt.date(2031, 12, 31)), st.integers(0, 23), st.integers(0, 59))
def test_model_and_reference_read_a_schedule_alike(text: str, day: dt.date, hour: int, minute: int) -> None:
    ours, theirs = Schedule(text), read_schedule(text)
    assert ours.is_due_on(day) == (day.month in theirs.months and theirs.is_on(day))
    moment = dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=dt.UTC)
    named = hour in theirs.hours and minute in theirs.minutes
    assert ours.is_due(moment) == (named and ours.is_due_on(day))


@given(SCHEDULES, st.integers(1_700_000_000_000, 1_900_000_000_000))
def test_next_run_is_due_and_none_was_before_it(text: str, unix_ms: int) -> None:
    schedule = Schedule(text)
    due_ms = schedule.next_after(unix_ms)
    if due_ms is None:
        assert read_schedule(text).runs_per_s == 0
        return
    assert due_ms > unix_ms
    assert schedule.is_due(dt.datetime.fromtimestamp(due_ms / 1_000, dt.UTC))
    for minutes in range(1, min(60, (due_ms - unix_ms) // 60_000)):
        assert not schedule.is_due(dt.datetime.fromtimestamp(due_ms / 1_000 - 60 * minutes, dt.UTC))


@pytest.mark.parametrize(
    ("text", "since", "due"),
    [
        ("*/30 * * * *", "2026-11-25T10:00", "2026-11-25T10:30"),
        ("59 23 LW * *", "2026-11-01T00:00", "2026-11-30T23:59"),
        ("0 15 1 * *", "2026-11-25T00:00", "2026-12-01T15:00"),
        ("0 0 * * 1", "2026-11-25T00:00", "2026-11-29T00:00"),
        ("0 9 * * mon-fri", "2026-11-28T00:00", "2026-11-30T09:00"),
        ("0 0 15W * *", "2026-11-01T00:00", "2026-11-16T00:00"),
        ("0 0 29 2 *", "2026-11-25T00:00", "2028-02-29T00:00"),
        ("0 18 * * 6L", "2026-11-25T00:00", "2026-11-27T18:00"),
        ("0 0 * * 5#2", "2026-11-25T00:00", "2026-12-10T00:00"),
        ("0 0 13 * fri", "2026-11-25T00:00", "2026-11-27T00:00"),
        ("0 0 31 2 *", "2026-11-25T00:00", ""),
    ],
)
def test_schedule_is_due_as_the_calendar_says(text: str, since: str, due: str) -> None:
    found = Schedule(text).next_after(int(dt.datetime.fromisoformat(f"{since}+00:00").timestamp() * 1_000))
    wanted = int(dt.datetime.fromisoformat(f"{due}+00:00").timestamp() * 1_000) if due else None
    assert found == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 0", "* * * * 8",
        "*/0 * * * *", "5-1 * * * *", "a * * * *", "* * * feb-jan *", "* * 40W * *", "* * * * 2#6", "@daily",
        "1- * * * *", "* * *,2 * *", "* * * * *,2", "* * *,2 * *,2", "* * 2 * 3,*",
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_by_both(text: str) -> None:
    with pytest.raises(ConfigError):
        Schedule(text)
    with pytest.raises(ValueError, match="must be five fields"):
        read_schedule(text)


def test_route_comes_in_by_the_trigger() -> None:
    system: dict[str, Any] = {
        "network": {"client_rtt_ms": 50},
        "cron": {"schedule": "0 3 * * *", "dispatch_ms": 7},
        "d1": {},
    }
    with routed({"one": route("d1.read", enter="cron", path="/cdn-cgi/handler/scheduled")}, system) as w:
        answer, watch = ask(w, "/cdn-cgi/handler/scheduled")
        assert answer.status == 200
        assert watch.spent_ms["cron"] == 7
        assert "network" not in watch.spent_ms
        assert w.deployment.instances["cron"].schedule.text == "0 3 * * *"
