"""Scenarios: read, checked, taken over, varied, and traced to their sources.

Goal: a right file loads with every number accounted for, a wrong one is one clear line and never a traceback. Method:
the shipped scenarios, one small change at a time; and random values at every path.
"""

import functools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError, UsageError
from sim.scenario.scenario import Scenario, load_scenario
from tests.project.tidy import ROOT

SHIPPED = sorted(
    path.relative_to(ROOT / "scenarios").with_suffix("").as_posix()
    for path in (ROOT / "scenarios").rglob("*.toml")
    if "question" in path.read_text("utf-8")
)


@pytest.fixture(scope="module")
def launch() -> Scenario:
    return load_scenario("launch")


LAUNCH = load_scenario("launch")
"""For property tests, which take no fixture that changes between examples."""


shipped = functools.cache(load_scenario)
"""A shipped scenario, read once."""


def paths(table: dict[str, Any], place: str = "") -> list[str]:
    """Every dotted path of a scenario."""
    found = []
    for key, value in table.items():
        path = f"{place}.{key}".removeprefix(".")
        found += [path, *(paths(value, path) if isinstance(value, dict) else [])]
    return found


PATHS = [path for path in paths(LAUNCH.model_dump()) if not path.startswith("assumptions")]


def saved(folder: Path, text: str, name: str = "mine.toml") -> Path:
    """A scenario file."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- the shipped ones


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenario_loads_by_its_name(name: str) -> None:
    assert load_scenario(name).name == Path(name).name


def test_every_phase_and_shape_is_shipped() -> None:
    shapes = {f"shapes/{shape}" for shape in ("bursty", "closed", "ramp", "spike", "steady", "step", "trace")}
    drills = {"d1_stall", "deploy_at_peak", "reconnect_storm", "retry_storm", "shard_loss", "viral_tenant"}
    named = {"assistant", "feed", "launch", "pipeline", "phase2", "phase3", "phase4", "social"}
    assert set(SHIPPED) == named | shapes | {f"drills/{drill}" for drill in drills}


def test_every_number_of_the_deployment_has_a_source_or_a_reason(launch: Scenario) -> None:
    vouched = {row.path for row in launch.provenance}
    for name, table in launch.system.numbers().items():
        for key in table.keys() - launch.system.instances[name].component.links.keys():
            path, value = f"system.{name}.{key}", table[key]
            inner = (
                {f"{path}.{name}" for name in value if name != "distribution"} if isinstance(value, dict) else {path}
            )
            assert value is None or path in vouched or inner <= vouched, path


def test_peak_of_launch_is_five_times_the_mean_of_a_million_a_day(launch: Scenario) -> None:
    assert launch.at_rate(5e6 / 86_400).workload == launch.vary("workload.arrivals.rate_per_s", 5e6 / 86_400).workload
    assert launch.model_dump()["workload"]["arrivals"]["rate_per_s"] == pytest.approx(5e6 / 86_400, rel=1e-3)


# ---------------------------------------------------------------- where numbers come from


def test_platform_reference_is_a_number_with_provenance(launch: Scenario) -> None:
    (row,) = (row for row in launch.provenance if row.path == "system.durable_objects.output_gate_ms.low")
    assert row.platform_key == "durable_objects.performance.output_gate_flush_ms_low"
    assert (row.value, row.unit, row.source, row.confidence, row.low_confidence) == (
        10,
        "ms",
        "lumenize.com",
        "M",
        True,
    )
    assert launch.system.numbers()["durable_objects"]["output_gate_ms"]["low"] == 10


def test_assumption_has_the_letter_in_its_brackets_or_is_a_plain_one(launch: Scenario) -> None:
    rows = {row.path: row for row in launch.provenance if row.platform_key is None}
    assert (rows["system.tunnel.streams"].confidence, rows["system.tunnel.streams"].low_confidence) == ("O", False)
    assert (rows["system.r2.put_ms"].confidence, rows["system.r2.put_ms"].low_confidence) == ("A", True)
    assert rows["system.r2.put_ms"].unit == "ms"
    assert "[" not in rows["system.tunnel.streams"].source


def test_a_fact_in_another_unit_is_refused(launch: Scenario) -> None:
    with pytest.raises(ScenarioError, match=r"system\.d1\.rtt_ms=.* is in bytes, must be in ms"):
        launch.vary("system.d1.rtt_ms", "platform:d1.limits.row_bytes")


def test_a_varied_number_loses_the_reason_of_the_old_one(launch: Scenario) -> None:
    varied = launch.vary("system.r2.put_ms.median", 50)
    assert "system.r2.put_ms" in {row.path for row in launch.provenance}
    assert "system.r2.put_ms" not in {row.path for row in varied.provenance}


def test_numbers_of_the_system_are_plain_json(launch: Scenario) -> None:
    numbers = launch.system.numbers()
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["workers"]["cpu_ms"] == {"distribution": "exponential", "mean": 2.2}
    assert "platform:" not in json.dumps(numbers)


# ---------------------------------------------------------------- vary


def test_vary_changes_one_value_and_nothing_else(launch: Scenario) -> None:
    varied = launch.vary("system.durable_objects.shards", 8).model_dump()
    assert varied["system"]["durable_objects"]["shards"] == 8
    varied["system"]["durable_objects"]["shards"] = "per_key"
    del varied["assumptions"]
    before = launch.model_dump()
    del before["assumptions"]
    assert varied == before


def test_vary_takes_numbers_of_numpy_and_laws_as_tables(launch: Scenario) -> None:
    assert launch.vary("workload.keys.count", np.int64(3)).workload.keys.count == 3
    assert launch.vary("system.d1.rtt_ms", 5).system.d1.rtt_ms.expected() == 5
    assert launch.vary("system.d1.rtt_ms", {"distribution": "exponential", "mean": 5}).system.d1.rtt_ms.expected() == 5


def test_with_changes_several_values_at_once(launch: Scenario) -> None:
    arrivals = {"kind": "closed", "users": 3, "think_ms": 10}
    closed = launch.with_(**{"workload.arrivals": arrivals, "workload.requests": 100})
    assert (closed.workload.requests, closed.workload.duration_s) == (100, None)


def test_a_new_end_replaces_its_rival(launch: Scenario) -> None:
    assert launch.vary("workload.requests", 100).workload.duration_s is None
    assert launch.vary("workload.requests", 100).vary("workload.duration_s", 90).workload.requests is None


def test_a_trace_brings_its_own_length_and_needs_no_warm_up(launch: Scenario) -> None:
    workload = launch.vary("workload.arrivals", {"kind": "trace", "file": "x.csv"}).workload
    assert (workload.duration_s, workload.requests, workload.warm_up_s) == (None, None, 0)


def test_none_takes_a_key_away(launch: Scenario) -> None:
    with pytest.raises(ScenarioError, match="workload needs either duration_s or requests"):
        launch.vary("workload.duration_s", None)


@given(st.sampled_from(SHIPPED), st.floats(0.1, 100))
def test_at_rate_sets_the_rate_that_names_the_process(name: str, rate_per_s: float) -> None:
    scenario = shipped(name)
    if name in ("shapes/closed", "drills/reconnect_storm"):
        with pytest.raises(UsageError, match="closed loop"):
            scenario.at_rate(rate_per_s)
        return
    arrivals = scenario.at_rate(rate_per_s).workload.arrivals
    if name == "shapes/trace":
        from sim.scenario.generation import schedule

        played = schedule(scenario.at_rate(rate_per_s))
        assert len(played) / played.duration_ms * 1000 == pytest.approx(rate_per_s)
    else:
        assert getattr(arrivals, "nominal_per_s", None) == pytest.approx(rate_per_s)


@pytest.mark.parametrize("rate_per_s", [0, -1, float("nan"), float("inf")])
def test_at_rate_needs_a_rate(launch: Scenario, rate_per_s: float) -> None:
    with pytest.raises(UsageError, match=r"rate_per_s=.* must be > 0 and finite"):
        launch.at_rate(rate_per_s)


def test_scenario_is_frozen_and_can_be_sent_to_another_process(launch: Scenario) -> None:
    with pytest.raises(ValueError, match="frozen"):
        launch.seed = 1  # type: ignore[misc]  # that it is refused is the test
    again = pickle.loads(pickle.dumps(launch))
    assert again == launch
    assert again.vary("seed", 3).provenance == launch.provenance


# ---------------------------------------------------------------- files and bases


def test_base_is_taken_over_key_by_key_and_laws_as_a_whole(tmp_path: Path, launch: Scenario) -> None:
    text = 'base = "launch.toml"\nname = "mine"\n[system.d1]\nrtt_ms = { distribution = "exponential", mean = 4 }\n'
    mine = load_scenario(saved(tmp_path, text))
    assert mine.name == "mine"
    assert mine.question == launch.question
    assert mine.system.d1.rtt_ms.model_dump() == {"distribution": "exponential", "mean": 4}
    assert mine.system.d1.read_ms == launch.system.d1.read_ms


def test_arrivals_are_replaced_as_a_whole_and_routes_key_by_key(tmp_path: Path, launch: Scenario) -> None:
    text = 'base = "launch.toml"\n[routes.log]\nshare = 1\n[workload.arrivals]\nkind = "constant"\nrate_per_s = 1\n'
    mine = load_scenario(saved(tmp_path, text))
    assert mine.workload.arrivals.model_dump() == {"kind": "constant", "rate_per_s": 1}
    assert mine.routes["log"] == launch.routes["log"].model_copy(update={"share": 1})
    assert {**mine.routes, "log": None} == {**launch.routes, "log": None}


def test_a_varied_route_keeps_what_the_base_said_of_it(launch: Scenario) -> None:
    assert launch.vary("routes.upload.share", 1.0).routes["upload"].steps == launch.routes["upload"].steps
    assert list(launch.vary("routes.extra", {"share": 1, "steps": ["d1.read"]}).routes)[-1] == "extra"


def test_shares_that_are_not_named_are_none(launch: Scenario) -> None:
    searches = launch.with_shares(search=3.0, upload=1.0)
    assert searches.shares == {**dict.fromkeys(launch.routes, 0.0), "search": 0.75, "upload": 0.25}
    with pytest.raises(ScenarioError, match=r"routes must hold a share > 0 "):
        launch.with_shares()
    with pytest.raises(ScenarioError, match=r"routes\.serch\.steps is missing"):
        launch.with_shares(serch=1.0)


def test_both_ends_in_one_file_are_refused_even_over_a_base(tmp_path: Path) -> None:
    text = 'base = "launch.toml"\n[workload]\nduration_s = 10\nrequests = 10\nwarm_up_s = 0\n'
    with pytest.raises(ScenarioError, match="workload needs either duration_s or requests"):
        load_scenario(saved(tmp_path, text))


def test_files_are_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    saved(tmp_path / "here", "", "targets.toml")
    saved(tmp_path / "here", "arrival_ms\n0\n", "mine.csv")
    mine = load_scenario(saved(tmp_path / "here", 'base = "launch.toml"\n'))
    assert mine.targets_path == tmp_path / "here/targets.toml"
    assert mine.find("mine.csv") == tmp_path / "here/mine.csv"
    with pytest.raises(ScenarioError, match=r"no\.csv does not exist"):
        mine.find("no.csv")


def test_base_of_itself_ends(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r'base="mine\.toml" must end within 8 files'):
        load_scenario(saved(tmp_path, 'base = "mine.toml"\n'))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("x = 1\ny = = 2\n", r"mine\.toml is not TOML: .*line 2, column 5"),
        ("", r"platform must be the name of a file"),
        ("base = 3\n", r"base=3 must be the name of a scenario file"),
        ('base = "gone.toml"\n', r"gone\.toml does not exist"),
        ('base = "launch.toml"\nplatform = "gone.toml"\n', r'platform="gone\.toml" does not exist'),
        ('base = "launch.toml"\ntargets = "gone.toml"\n', r'targets="gone\.toml" does not exist'),
        ('base = "launch.toml"\nworkload = 3\n', r"workload=3 must be a table"),
        (
            'base = "launch.toml"\n[assumptions]\n"system.d1.rtt" = "x"\n',
            r'"system\.d1\.rtt" is not a path .* rtt_ms\?',
        ),
        ('base = "launch.toml"\n[assumptions]\nsystem.d1 = "x"\n', r"assumptions\.system.* must be a text in quotes"),
    ],
)
def test_wrong_file_is_one_clear_line(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(ScenarioError, match=rule):
        load_scenario(saved(tmp_path, text))


def test_missing_scenario_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r'scenario="launh" does not exist; did you mean launch\?'):
        load_scenario("launh")
    with pytest.raises(
        ScenarioError, match=r'scenario="cloudflare" does not exist; it is one of: assistant, feed, launch, phase2'
    ):
        load_scenario("cloudflare")  # A base asks no question, so it is no scenario.
    with pytest.raises(ScenarioError, match="does not exist"):
        load_scenario(tmp_path / "no.toml")


def test_notes_are_the_authors_and_replace_those_of_the_base(tmp_path: Path) -> None:
    assert LAUNCH.notes == ()
    (tmp_path / "ours.toml").write_text('base = "launch.toml"\nnotes = ["one"]\n', "utf-8")
    (tmp_path / "more.toml").write_text('base = "ours.toml"\nnotes = ["two", "three"]\n', "utf-8")
    assert load_scenario(tmp_path / "more.toml").notes == ("two", "three")
    with pytest.raises(ScenarioError, match="notes"):
        LAUNCH.vary("notes", [""])
