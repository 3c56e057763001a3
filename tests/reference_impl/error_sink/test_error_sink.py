"""A collector of errors: its sample, its limits, its issues, and that nothing of a client reaches it.

Goal: whatever is reported when, the limits hold and every report is counted once. Method: reports at times drawn by
Hypothesis; a route of a whole deployment under a virtual clock.
"""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.error_sink.sink import EVENTS_KEPT, ErrorEvent, Sink, SinkSettings
from reference_impl.tables import Table
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.routed import request, route, routed


def sink(**table: Any) -> tuple[Sink, VirtualClock]:
    settings = SinkSettings.read(Table("system.error_sink", {"send_ms": 30, **table}))
    return Sink(settings), VirtualClock()


def report(found: Sink, clock: VirtualClock, kind: str = "TypeError") -> tuple[bool, Stopwatch]:
    watch = Stopwatch(clock)
    return clock.run(found.report(ErrorEvent("feed", kind, clock.now_ms()), watch))[0], watch


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 30))
def test_no_second_and_no_month_takes_more_than_its_limit(waits_ms: list[int], per_s: int, per_month: int) -> None:
    found, clock = sink(send_ms=0, events_per_s_max=per_s, events_per_month_max=per_month)
    taken_ms: list[float] = []
    for wait_ms in waits_ms:
        clock.advance(wait_ms)
        if report(found, clock)[0]:
            taken_ms.append(clock.now_ms())
    assert len(taken_ms) == found.billed["events"] <= per_month + 1
    assert len(taken_ms) + found.dropped == len(waits_ms)
    for since_ms in taken_ms:  # A full bucket, and what fills it meanwhile.
        assert sum(since_ms <= at_ms < since_ms + 1_000 for at_ms in taken_ms) <= 2 * per_s


def test_a_storm_uses_up_the_month_and_the_rest_is_lost() -> None:
    found, clock = sink(events_per_month_max=100)
    assert sum(report(found, clock)[0] for _ in range(500)) == 100
    assert found.dropped == 400
    clock.advance(2 * 30 * 86_400_000 / 100)
    assert report(found, clock)[0], "a hundredth of a month later there is room for one more"


def test_alike_errors_are_one_issue_and_only_the_newest_are_kept() -> None:
    found, clock = sink(send_ms=0)
    for number in range(EVENTS_KEPT + 10):
        report(found, clock, kind=("TypeError", "Overloaded")[number % 2])
    assert sorted(found.issues.values()) == [EVENTS_KEPT / 2 + 5] * 2
    assert len(found.events) == EVENTS_KEPT


def test_a_report_takes_its_time_and_what_is_not_sent_takes_none() -> None:
    found, clock = sink(events_per_s_max=1)
    assert [report(found, clock)[1].spent_ms.get("error_sink", 0.0) for _ in range(2)] == [30.0, 0.0]
    none, clock = sink(sample_fraction=0)
    assert report(none, clock)[1].spent_ms == {}
    assert none.unsampled == 1


def test_the_client_sends_the_share_of_the_scenario() -> None:
    with routed({"one": route("error_sink.report")}, {"network": {}, "error_sink": {"sample_fraction": 0.25}}) as w:
        for number in range(2_000):
            w.clock.run(w.deployment.serve_http(request(key=number), w.deployment.stopwatch()))
        found = w.deployment.instances["error_sink"]
        assert found.billed["events"] + found.unsampled == 2_000
        assert found.billed["events"] == pytest.approx(500, abs=4 * math.sqrt(2_000 * 0.25 * 0.75))


def test_nothing_of_the_client_is_reported() -> None:
    with routed({"one": route("error_sink.report")}, {"network": {}, "error_sink": {}}) as w:
        w.clock.run(w.deployment.serve_http(request(key=7), w.deployment.stopwatch()))
        (event,) = w.deployment.instances["error_sink"].events
        assert (event.route, event.kind) == ("one", "reported")
        assert vars(event).keys() == {"route", "kind", "at_ms"}
