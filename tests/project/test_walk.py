"""The walk: one name, five faces.

Goal: whoever follows a component from scenario to model to reference to test meets the same name. Method: the models
say which components exist; every other place must have each of them, and none besides.
"""

import re
import tomllib
from pathlib import Path

import pytest

from sim.scenario.scenario import load_scenario
from tests.project.tidy import ROOT

JOINTS = {"__init__", "deployment"}
"""Files of ``sim/models/`` that join components and are none."""

MODEL_ONLY = {"network", "client"}
"""What lies outside the deployment: the reference is at the other end of a real network, asked by a real client."""

COMPONENTS = sorted({path.stem for path in (ROOT / "sim/models").glob("*.py")} - JOINTS)


SCENARIOS = sorted(path for path in (ROOT / "scenarios").glob("*.toml") if path.stem != "targets")


def test_the_vocabulary_is_the_glossary_s() -> None:
    glossary = (ROOT / "docs/GLOSSARY.md").read_text("utf-8")
    row = re.search(r"^\| component \|(.*)\|$", glossary, flags=re.MULTILINE)
    assert row
    assert sorted(re.findall(r"`(\w+)`", row.group(1))) == COMPONENTS


@pytest.mark.parametrize("component", sorted(set(COMPONENTS) - MODEL_ONLY))
def test_component_has_a_reference(component: str) -> None:
    core = ROOT / "reference_impl"
    assert (core / f"{component}.py").is_file() or (core / component / "__init__.py").is_file()


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_has_tests(component: str) -> None:
    assert [path for path in (ROOT / "tests").rglob("test_*.py") if component in path.stem]


def test_the_default_scenario_has_a_table_for_every_component() -> None:
    launch = tomllib.loads((ROOT / "scenarios/launch.toml").read_text("utf-8"))
    assert sorted(launch["system"]) == COMPONENTS


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_describes_every_component(path: Path) -> None:
    assert sorted(load_scenario(path).system.numbers()) == COMPONENTS


@pytest.mark.parametrize("component", COMPONENTS)
def test_result_has_a_column_for_the_time_in_the_component(component: str) -> None:
    assert f"{component}_ms" in load_scenario("launch").time_columns
