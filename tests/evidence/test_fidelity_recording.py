"""Goal: pages and report say what was recorded, and a recording that the code no longer fits is not read as if it did.

Method: the committed recording is read, written and compared; its runs are those that the code would make; the pages
are written anew from it; recordings with a key too many, too few, or of another type are refused.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sim import Result, play, schedule
from tests.evidence import fidelity
from tests.evidence import fidelity_recording as recording
from tests.evidence.fidelity_recording import Reference, Runtime
from tests.evidence.fidelity_scores import COVERAGE_GOAL, GOAL_LOADS, GOALS, LOADS, QQ_RECORDED, STATISTICS

FILES: dict[type[Reference] | type[Runtime], Path] = {
    Reference: recording.reference_file(),
    Runtime: recording.runtime_file(),
}


@pytest.fixture(scope="module")
def runs() -> dict[float, list[Result]]:
    """The runs on the reference."""
    return recording.load_runs()


@pytest.mark.parametrize("kind", FILES)
def test_recording_and_code_have_one_form(kind: type[Reference] | type[Runtime]) -> None:
    """A key that the code does not know is refused, and one that the code adds or drops changes the text."""
    text = FILES[kind].read_text("utf-8")
    assert recording.text_of(kind.model_validate_json(text)) == text


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (Reference, ("schema_version",), 2),
        (Reference, ("more",), 1),
        (Reference, ("goals", "p50"), "small"),
        (Runtime, ("schema_version",), 0),
        (Runtime, ("more",), 1),
        (Runtime, ("scores", "scores"), None),
        (Runtime, ("scores", "capacity_per_s", "value"), "many"),
        (Runtime, ("conditions", "cores"), None),
    ],
)
def test_recording_of_another_form_is_refused(
    kind: type[Reference] | type[Runtime], path: tuple[str, ...], value: Any
) -> None:
    tables = json.loads(FILES[kind].read_text("utf-8"))
    inner = tables
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(ValidationError):
        kind.model_validate(tables)


def test_both_were_scored_by_the_goals_and_at_the_loads_of_the_code() -> None:
    assert recording.load_reference().goals == fidelity.GOALS
    kept = recording.load_runtime()
    assert (kept.goals, kept.goal_loads, kept.coverage_goal) == (GOALS, GOAL_LOADS, COVERAGE_GOAL)
    assert kept.qq_probabilities == QQ_RECORDED
    assert tuple(one.load for one in kept.scores.scores) == LOADS
    for one in kept.scores.scores:
        assert set(one.predicted) == {*STATISTICS, "utilization"}
        assert set(one.measured) == {*STATISTICS, "utilization", "throughput"}
        assert {len(values) for values in one.measured.values()} == {len(one.driver_ok)}
        assert {len(values) for values in one.qq_ms.values()} == {len(QQ_RECORDED)}
    assert kept.scores.saturation_per_s == kept.scores.scores[-1].measured["throughput"]


def test_runs_on_the_reference_are_those_that_the_code_makes(runs: dict[float, list[Result]]) -> None:
    assert tuple(runs) == fidelity.UTILIZATIONS
    for utilization, found in runs.items():
        asked = fidelity.scenario(utilization)
        assert [run.seed for run in found] == list(range(1, fidelity.RUNS + 1))
        for run in found:
            assert run.scenario.workload == asked.workload
            assert run.scenario.system.d1.read_ms == asked.system.d1.read_ms
            planned = schedule(asked, run.seed)
            assert len(run.frame) == len(planned)
            assert run.frame["arrival_ms"].to_numpy() == pytest.approx(planned.arrival_ms, abs=1e-6)


def test_a_run_that_was_saved_is_simulated_as_the_one_that_was_played(runs: dict[float, list[Result]]) -> None:
    """The model is played with the scenario of the file: it must not have changed on its way."""
    run = runs[fidelity.UTILIZATIONS[0]][0]
    asked = fidelity.scenario(fidelity.UTILIZATIONS[0])
    direct = play(asked, schedule(asked, run.seed), on="compiled", seed=run.seed)
    assert fidelity.simulated(run).frame["latency_ms"].equals(direct.frame["latency_ms"])


def test_pages_say_what_was_recorded(runs: dict[float, list[Result]]) -> None:
    again, scorings = f"{fidelity.COMMAND} --only pages", recording.load_scorings()
    assert fidelity.PAGE.read_text("utf-8") == fidelity.page(recording.load_reference(), runs, scorings), again
    text = fidelity.WHY.read_text("utf-8")
    assert text == fidelity.why(text, scorings), again


def test_a_page_without_its_places_is_not_written() -> None:
    with pytest.raises(AssertionError, match="no place for the table conditions"):
        fidelity.why("# Nothing", recording.load_scorings())


def test_a_scoring_stays_beside_the_next(tmp_path: Path) -> None:
    last = recording.load_runtime()
    first, second, third = (
        last.model_copy(update={"conditions": last.conditions.model_copy(update={"started_utc": started})})
        for started in ("2026-01-31T23:59:00+00:00", "2026-02-01T00:01:00+00:00", "2026-02-01T07:00:00+00:00")
    )
    for one in (first, second, third):
        recording.save_runtime(one, tmp_path)
    assert recording.load_scorings(tmp_path) == [first, second, third]
    assert recording.load_runtime(tmp_path) == third
    assert list(fidelity.by_date([first, third])) == ["31 Jan 2026, 23:59", "1 Feb 2026, 07:00"]


def test_what_is_recorded_takes_the_place_of_what_was(tmp_path: Path, runs: dict[float, list[Result]]) -> None:
    first = fidelity.UTILIZATIONS[0]
    fewer = {first: runs[first][:2]}
    recording.save_reference(recording.load_reference(), {first: runs[first][:3]}, tmp_path)
    recording.save_reference(recording.load_reference(), fewer, tmp_path)
    kept = recording.load_runs(tmp_path)
    assert {utilization: [run.seed for run in found] for utilization, found in kept.items()} == {first: [1, 2]}
    assert kept[first][0].frame.equals(fewer[first][0].frame)
