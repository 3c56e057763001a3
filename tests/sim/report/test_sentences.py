"""Sentences: what a plan says in words is what its rows say.

Goal: a reader of the sentences alone knows the verdicts, the limit and what nobody measured. Method: plans put together
by hand, whose sentences are known.
"""

import re
from dataclasses import replace

import pytest

from sim.judgement.targets import Verdict
from sim.report.sentences import answer, confirmation, facts, from_cold, headroom, live_rate, rate_of, untested
from sim.report.tiles import tiles
from sim.report.wording import significant, target_name
from sim.scenario.provenance import Provenance
from sim.statistics.intervals import Estimate
from tests.support.plans import example_capacity, example_plan, judged


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (("PASS", "PASS"), "All 2 targets are met, each with its whole 95 % interval."),
        (("PASS", "WARN"), "API latency P99 (150 ms against 200 ms) is missed, none beyond its alert line."),
        (("ALERT", "WARN"), "0 of 2 targets are met; API latency P99 (150 ms against 200 ms) and"),
        (("PASS", "ALERT"), "is missed, API latency P99 beyond the alert line."),
        (("PASS", "INCONCLUSIVE"), "1 of 2 targets are met; none is missed for certain; API latency P99 is not"),
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
    assert headroom(plan).endswith(
        "beyond that API latency P99 breaks first, and the slowest requests wait longest for D1."
    )
    overloaded = replace(plan, capacity=example_capacity(limited_by=("overload",)))
    assert headroom(overloaded).endswith("beyond that D1 is overloaded.")
    assert headroom(replace(plan, capacity=None)) == ""


def test_headroom_warns_of_a_target_that_only_higher_loads_keep() -> None:
    assert headroom(judged("WARN")).endswith("At today's load, however, API latency P99 is missed: see the figure.")
    assert "Yet" not in headroom(judged("PASS"))


def test_confirmation_follows_the_comparison() -> None:
    plan = example_plan()
    assert plan.comparison is not None
    said = {"agrees": "confirms", "differs": "contradicts", "not settled": "does not settle"}
    reference = (
        "The measurement on this project's reference server, whose latencies are drawn from the model's assumptions,"
    )
    assert f"{reference} {said[plan.comparison.verdict]}" in confirmation(plan)
    assert ("confirms" in confirmation(plan)) is plan.comparison.agrees
    assert "INVALID" in confirmation(replace(plan, comparison=replace(plan.comparison, valid=False)))


def test_headroom_names_the_start_the_assumption_and_the_length() -> None:
    """What a cold start sustains, what the author believes, and whether the probes settled."""
    isolates = Provenance("system.workers.isolates", None, 8, "1", "enough", "A", low_confidence=True)
    start = Estimate(600.0, 550.0, 650.0, 5, "by hand")
    found = example_capacity(cold_start=start, assumption=isolates, settled=False, longest_s=1_200.0)
    said = headroom(replace(example_plan(), capacity=found))
    assert "It is limited by your assumption system.workers.isolates = 8." in said
    assert "In the first 3 minutes after a cold start or a deploy, the same targets hold up to 600 requests/s" in said
    assert "It holds for runs of about 20.0 min" in said
    none = replace(found, cold_start=Estimate(0.0, 0.0, 0.0, 5, "by hand"), settled=True, assumption=None)
    assert "the same targets hold at no load" in headroom(replace(example_plan(), capacity=none))


def test_verdicts_that_differ_because_the_live_part_starts_cold_say_so() -> None:
    plan = example_plan()
    target = plan.targets[0]
    others = plan.targets[1:]
    measured = {row.name: row.verdict for row in plan.measured_targets}
    opposite = Verdict.ALERT if measured[target.name] != Verdict.ALERT else Verdict.PASS
    told = from_cold(replace(plan, targets=(replace(target, verdict=opposite), *others)))
    assert "starts on cold objects" in told
    assert f"{target_name(target.name)} {measured[target.name]} against {opposite}" in told
    assert from_cold(replace(plan, simulated_window=())) == ""


def test_what_is_modelled_is_not_said_to_be_left_out() -> None:
    said = " ".join(untested(example_plan()))
    assert "rate limits of the provider other than" in said
    assert "quotas" not in said
    assert "growth of stored data" not in said


def test_a_slower_live_part_says_its_rate() -> None:
    plan = example_plan()
    assert plan.measured is not None
    frame = plan.measured.frame.assign(arrival_ms=4 * plan.measured.frame["arrival_ms"])
    slower = replace(plan, measured=replace(plan.measured, frame=frame))
    assert live_rate(slower).startswith(
        f"It was played at {significant(rate_of(plan.measured) / 4)} requests/s, the whole"
    )
    assert live_rate(slower) in confirmation(slower)
    assert live_rate(replace(plan, measured=replace(plan.simulated[0], on="reference"))) == ""
    assert live_rate(replace(plan, measured=None)) == ""


def test_first_mention_of_the_measurement_says_what_was_measured() -> None:
    assert any("this project's reference server" in fact for fact in facts(example_plan()))
    assert not any("measured" in fact for fact in facts(replace(example_plan(), measured=None)))


def test_cards_of_the_capacity_say_for_which_targets() -> None:
    cards = {what: below for what, _, below in tiles(example_plan())}
    assert cards["Capacity"].startswith("for API latency P50 and P99, not for D1 query P99, missed at any load; ")
    assert "for API latency P50 and P99" in cards["Headroom"]
