"""An origin: servers, queue, errors, and a fetch that is given up.

Goal: an origin takes as long as its servers and its queue say, whoever still waits. Method: fetches at one instant,
whose times are known exactly, under a virtual clock.
"""

import math
from typing import Any

import pytest

from reference_impl.messages import Response
from reference_impl.origin.origin import content
from tests.support.routed import request, route, routed


def asked(count: int, size_bytes: int = 0, **origin: Any) -> tuple[list[tuple[Response, Any]], int]:
    """Answers to so many fetches at once, and how many the origin worked on in the end."""
    with routed({"one": route("origin.fetch")}, {"network": {}, "origin": origin}) as w:
        tasks = []
        for number in range(count):
            watch = w.deployment.stopwatch()
            asks = request(key=number, size_bytes=size_bytes, object=number)
            tasks.append((watch, w.deployment.serve_http(asks, watch)))
        answers = w.clock.run(*(task for _, task in tasks))
        w.clock.run_until(w.clock.now_ms() + 1_000_000)
        served = w.deployment.instances["origin"].served
    return [(answer, watch) for answer, (watch, _) in zip(answers, tasks, strict=True)], served


def test_fetches_wait_for_a_server_and_travel_both_ways() -> None:
    answers, served = asked(5, rtt_ms=10, answer_ms=100, servers=2)
    assert served == 5
    assert [watch.planned_ms for _, watch in answers] == [110, 110, 210, 210, 310]
    assert [watch.spent_ms.get("origin_queue", 0) for _, watch in answers] == [0, 0, 100, 100, 200]
    assert {watch.spent_ms["origin"] for _, watch in answers} == {110}


def test_one_more_than_may_wait_is_refused_as_overloaded() -> None:
    answers, served = asked(5, answer_ms=100, servers=1, queue_limit=2)
    assert [answer.status for answer, _ in answers] == [200, 200, 200, 503, 503]
    assert served == 3


def test_fetch_is_given_up_and_the_origin_goes_on() -> None:
    answers, served = asked(3, rtt_ms=10, answer_ms=100, servers=1, timeout_s=0.2)
    assert [answer.status for answer, _ in answers] == [200, 524, 524]
    assert served == 3
    assert [watch.planned_ms for _, watch in answers] == [110, 200, 200]
    assert answers[2][1].spent_ms["client"] == 200


@pytest.mark.parametrize(("share", "statuses"), [(0, {200}), (1, {502})])
def test_errors_come_after_the_work(share: float, statuses: set[int]) -> None:
    answers, served = asked(10, answer_ms=5, error_fraction=share)
    assert {answer.status for answer, _ in answers} == statuses
    assert served == 10


def test_share_of_errors_is_that_of_the_scenario() -> None:
    answers, _ = asked(2_000, error_fraction=0.25)
    errors = sum(answer.status == 502 for answer, _ in answers)
    assert errors == pytest.approx(500, abs=4 * math.sqrt(2_000 * 0.25 * 0.75))


def test_bytes_take_their_time_and_are_the_paths() -> None:
    answers, _ = asked(2, size_bytes=1_000, bandwidth_bytes_per_s=10_000)
    assert [answer.body for answer, _ in answers] == [content(f"/one/objects/{n}", 1_000) for n in range(2)]
    assert {watch.spent_ms["origin"] for _, watch in answers} == {100}
