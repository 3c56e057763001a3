"""The page of hazards is what the catalogue and the tests say today, and every citation in the tree has a row.

Goal: "hazard H31" leads somewhere, and nobody claims a test that is not there. Method: the page is made anew and
compared; what counts as a citation is shown on made-up text first.
"""

import re
from typing import Any

import pytest

from sim import load_scenario
from tests.project import hazards
from tests.project.hazards import CATALOGUE, PAGE, catalogue, cited
from tests.project.test_tree import texts
from tests.support import shown

IDS = [hazard.id for hazard in catalogue()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hazard H31.", {"H31"}),
        ("hazards H8 and H9; H11, H70", {"H8", "H9", "H11", "H70"}),
        ("(H1 to H4)", {"H1", "H2", "H3", "H4"}),
        ("def test_h17_a_chain() -> None:", {"H17"}),
        ('the queue "M/H2/1, cv 4"', set()),
        ("hazard_h3, SHA256, H100, x.H5", set()),
    ],
)
def test_a_citation_is_recognised(text: str, found: set[str]) -> None:
    assert cited(text) == found


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text("utf-8") == hazards.page(), "run python -m tests.project.hazards"


def test_there_is_a_row_for_every_hazard() -> None:
    assert len(IDS) == len(set(IDS))
    assert set(IDS) == {f"H{number}" for number in range(1, len(IDS) + 1)}
    rows = re.findall(r"^\| (H\d+) \|", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert rows == IDS


def test_every_citation_in_the_tree_has_a_row() -> None:
    """Whatever kind of text it stands in; the examples above are none."""
    kinds = (".py", ".md", ".toml", ".sql", ".txt")
    exempt = {"tests/project/test_hazards.py", "tests/project/hazards.py"}
    checked = [(name, text) for name, text in texts() if name.endswith(kinds) and name not in exempt]
    assert len(checked) > 200
    assert {name: cited(text) - set(IDS) for name, text in checked if not cited(text) <= set(IDS)} == {}


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([], "not yet"),
        (["tests/reference_impl/r2/test_r2.py"], "reference"),
        (["tests/faults/test_schedules.py", "tests/sim/runners/test_live.py"], "reference, simulated"),
        (["tests/sim/scaffold/lint/test_lint.py"], "lint"),
        (["tests/similar/test_r2", "tests/project/test_tree.py"], "not yet"),
    ],
)
def test_the_status_is_that_of_the_tests_that_cite(files: list[str], status: str) -> None:
    assert hazards.status(files) == status


def numbers(scenario: dict[str, Any], prefix: str = "") -> set[str]:
    """Every path of a scenario, tables included."""
    paths = {f"{prefix}{key}" for key in scenario}
    inner = [(key, value) for key, value in scenario.items() if isinstance(value, dict)]
    return paths.union(*(numbers(value, f"{prefix}{key}.") for key, value in inner))


def test_every_parameter_is_a_key_of_the_default_scenario() -> None:
    launch = load_scenario("launch")
    keys = numbers(launch.model_dump(mode="json")) | numbers(launch.system.numbers(), "system.")
    unknown = {hazard.id: set(hazard.parameters) - keys for hazard in catalogue() if set(hazard.parameters) - keys}
    assert unknown == {}, f"{CATALOGUE.name} names keys that the launch scenario does not have"


def test_the_catalogue_is_in_whole_sentences() -> None:
    for hazard in catalogue():
        for text in (hazard.what, hazard.prediction, hazard.not_simulated or "Simulated."):
            assert re.fullmatch(r"(?s)\S.*\.", text), (hazard.id, text)
            assert "\n" not in text


def test_a_hazard_is_simulated_or_says_why_not() -> None:
    """Not both; and what is on the page beside its formula is within its tolerance."""
    recorded = {row.hazard for row in shown.recorded()}
    simulated = {name for name, files in hazards.citations("tests/sim").items() if "simulated" in hazards.status(files)}
    said = {hazard.id for hazard in catalogue() if hazard.not_simulated}
    assert recorded <= simulated
    assert not said & simulated
    for row in shown.recorded():
        assert row.simulated == pytest.approx(row.formula, rel=row.within or 1e-9, abs=0.0), row
