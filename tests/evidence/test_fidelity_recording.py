"""Goal: pages and report say what was recorded, and a recording that the code no longer fits is not read as if it did.

Method: the committed recording is read, written and compared; its runs are those that the code would make; the pages
are written anew from it; recordings with a key too many, too few, or of another type are refused.
"""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from sim import Result, play, schedule
from tests.evidence import fidelity
from tests.evidence import fidelity_recording as recording
from tests.evidence.fidelity_recording import FOLDER, NAME, Recording
from tests.evidence.fidelity_scores import COVERAGE_GOAL, GOAL_LOADS, GOALS, LOADS, QQ_RECORDED, STATISTICS

TEXT = (FOLDER / NAME).read_text("utf-8")


@pytest.fixture(scope="module")
def runs() -> dict[float, list[Result]]:
    """The runs on the reference."""
    return recording.load_runs()


def test_recording_and_code_have_one_form() -> None:
    """A key that the code does not know is refused, and one that the code adds or drops changes the text."""
    assert Recording.model_validate_json(TEXT).model_dump_json(indent=1) + "\n" == TEXT


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("reference", "more"), 1),
        (("runtime", "more"), 1),
        (("runtime", "scores", "scores"), None),
        (("runtime", "scores", "capacity_per_s", "value"), "many"),
        (("runtime", "conditions", "cores"), None),
    ],
    ids=lambda one: ".".join(one) if isinstance(one, tuple) else "",
)
def test_recording_of_another_form_is_refused(path: tuple[str, ...], value: Any) -> None:
    tables = json.loads(TEXT)
    inner = tables
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(ValidationError):
        Recording.model_validate(tables)


def test_runtime_was_scored_by_the_goals_and_at_the_loads_of_the_code() -> None:
    kept = recording.load().runtime
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
    kept = recording.load()
    assert fidelity.PAGE.read_text("utf-8") == fidelity.page(kept, runs), f"{fidelity.COMMAND} --only pages"
    text = fidelity.WHY.read_text("utf-8")
    assert text == fidelity.why(text, kept), f"{fidelity.COMMAND} --only pages"


def test_a_page_without_its_places_is_not_written() -> None:
    with pytest.raises(AssertionError, match="no place for the table conditions"):
        fidelity.why("# Nothing", recording.load())
