"""Sentences: what a plan says in words is what its rows say.

Goal: a reader of the sentences alone knows the verdicts, the limit and what nobody measured. Method: plans put together
by hand, whose sentences are known.
"""

import re
from dataclasses import replace

import pytest

from sim.report.sentences import answer, confirmation, headroom
from tests.support.plans import example_capacity, example_plan, judged


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (("PASS", "PASS"), "All 2 targets are kept, each with its whole 95 % interval."),
        (("PASS", "WARN"), "API latency P99 (150 ms against 200 ms) is missed, none beyond its alert line."),
        (("ALERT", "WARN"), "0 of 2 targets are kept; API latency P99 (150 ms against 200 ms) and"),
        (("PASS", "ALERT"), "is missed, API latency P99 beyond the alert line."),
        (("PASS", "INCONCLUSIVE"), "1 of 2 targets are kept; none is missed for certain; API latency P99 is not"),
    ],
)
def test_answer_says_what_the_rows_say(verdicts: tuple[str, ...], told: str) -> None:
    assert told in answer(judged(*verdicts))


def test_answer_is_one_sentence() -> None:
    assert re.search(r"\.\s", answer(example_plan())) is None


def test_pass_that_was_cut_short_is_not_called_settled() -> None:
    assert answer(replace(judged("PASS"), interrupted=True)).endswith("interrupted, so nothing is settled.")


def test_headroom_tells_the_limit_and_its_cause() -> None:
    plan = example_plan()
    assert "P50 and P99 hold up to 1,234 requests/s (95 % interval 1,100 to 1,400), " in headroom(plan)
    assert headroom(plan).endswith("there API latency P99 gives way, and the slowest requests wait longest for D1.")
    overloaded = replace(plan, capacity=example_capacity(limited_by=("overload",)))
    assert headroom(overloaded).endswith("beyond that D1 is overloaded.")
    assert headroom(replace(plan, capacity=None)) == ""


def test_headroom_warns_of_a_target_that_only_higher_loads_keep() -> None:
    assert headroom(judged("WARN")).endswith("Yet at today's load API latency P99 is missed: see the figure.")
    assert "Yet" not in headroom(judged("PASS"))


def test_confirmation_follows_the_comparison() -> None:
    plan = example_plan()
    assert plan.comparison is not None
    said = {"agrees": "confirms", "differs": "contradicts", "not settled": "does not settle"}
    assert f"The measurement {said[plan.comparison.verdict]}" in confirmation(plan)
    assert ("confirms" in confirmation(plan)) is plan.comparison.agrees
    assert "INVALID" in confirmation(replace(plan, comparison=replace(plan.comparison, valid=False)))
