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

from sim.errors import ScenarioError, SimError, UsageError
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
    shapes = {"bursty", "closed", "ramp", "spike", "steady", "step", "trace"}
    assert set(SHIPPED) == {"launch", "phase2", "phase3", "phase4"} | {f"shapes/{shape}" for shape in shapes}


def test_every_number_of_the_deployment_has_a_source_or_a_reason(launch: Scenario) -> None:
    vouched = {row.path for row in launch.provenance}
    for component, table in launch.system_numbers().items():
        for key, value in table.items():
            path = f"system.{component}.{key}"
            inner = (
                {f"{path}.{name}" for name in value if name != "distribution"} if isinstance(value, dict) else {path}
            )
            assert path in vouched or inner <= vouched, path


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
    assert launch.system_numbers()["durable_objects"]["output_gate_ms"]["low"] == 10


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
    numbers = launch.system_numbers()
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["workers"]["cpu_ms"] == {"distribution": "exponential", "mean": 2.2}
    assert "platform:" not in json.dumps(numbers)


# ---------------------------------------------------------------- vary


def test_vary_changes_one_value_and_nothing_else(launch: Scenario) -> None:
    varied = launch.vary("system.durable_objects.shards", 8).model_dump()
    assert varied["system"]["durable_objects"]["shards"] == 8
    varied["system"]["durable_objects"]["shards"] = "per_org"
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
    if name == "shapes/closed":
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


def test_mix_and_arrivals_are_replaced_as_a_whole(tmp_path: Path) -> None:
    text = 'base = "launch.toml"\n[workload.mix]\nlog = 1\n[workload.arrivals]\nkind = "constant"\nrate_per_s = 1\n'
    workload = load_scenario(saved(tmp_path, text)).workload
    assert workload.mix == {"log": 1}
    assert workload.arrivals.model_dump() == {"kind": "constant", "rate_per_s": 1}


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
    with pytest.raises(ScenarioError, match="does not exist"):
        load_scenario(tmp_path / "no.toml")


# ---------------------------------------------------------------- wrong values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("workload.arrivals.rate_per_s", -3, "workload.arrivals.rate_per_s=-3 must be > 0"),
        ("workload.arrivals.rate_per_s", 0, "workload.arrivals.rate_per_s=0 must be > 0"),
        ("workload.arrivals.rate_per_s", float("nan"), "workload.arrivals.rate_per_s=nan must be a finite number"),
        ("workload.duration_s", float("inf"), "workload.duration_s=inf must be a finite number"),
        ("workload.arrivals.rate_per_s", "10", 'workload.arrivals.rate_per_s="10" must be a number'),
        ("workload.arrivals.rate_per_s", True, "workload.arrivals.rate_per_s=true must be a number"),
        ("workload.arrivals.rate", 3, "workload.arrivals.rate is not a key; did you mean rate_per_s?"),
        ("workload.arival", 3, "workload.arival is not a key; did you mean arrivals?"),
        ("sytem.d1.rtt_ms", 3, "sytem is not a key; did you mean system?"),
        ("system.d1.rt_ms", 3, "system.d1.rt_ms is not a key; did you mean rtt_ms?"),
        ("system.d1.rtt_ms.medain", 3, "system.d1.rtt_ms.medain is not a key; did you mean median?"),
        ("system.d1.queue_limit.x", 3, "system.d1.queue_limit.x is not a key; queue_limit=1000 is no table"),
        ("workload.arrivals.kind", "poison", 'workload.arrivals.kind="poison" is unknown; did you mean poisson?'),
        ("workload.arrivals", {"rate_per_s": 1}, "workload.arrivals needs a key 'kind'"),
        ("workload.mix.lgo", 0.3, "workload.mix.lgo is not a route; did you mean log?"),
        ("workload.mix.log", -0.3, "workload.mix.log=-0.3 must be >= 0"),
        ("workload.mix", {"log": 0}, "workload.mix must hold a weight > 0"),
        ("workload.mix", {}, "workload.mix must hold a weight > 0"),
        ("workload.keys.count", 0, "workload.keys.count=0 must be >= 1"),
        ("workload.keys.count", 1.5, "workload.keys.count=1.5 must be a whole number"),
        ("workload.warm_up_s", 600, "workload needs warm_up_s=600 < duration_s=600"),
        (
            "system.durable_objects.shards",
            0,
            'system.durable_objects.shards=0 must be a whole number >= 1, or "per_org"',
        ),
        ("system.d1.rtt_ms", -2, "system.d1.rtt_ms=-2 must be >= 0"),
        ("system.d1.rtt_ms", {"distribution": "lognormal", "median": 3}, "system.d1.rtt_ms.p99 is missing"),
        (
            "system.d1.rtt_ms",
            {"distribution": "lognorm"},
            'system.d1.rtt_ms.distribution="lognorm" is unknown; did you mean lognormal?',
        ),
        ("system.d1.rtt_ms.p99", 1, "system.d1.rtt_ms p99=1 must be >= median=6"),
        ("system.d1", 3, "system.d1=3 must be a table"),
        ("system.client.retries", 11, "system.client.retries=11 must be <= 10"),
        ("system.workers.cold_fraction", 1.1, "system.workers.cold_fraction=1.1 must be <= 1"),
        ("system.ledger.policy", "sed", "system.ledger.policy=\"sed\" must be 'seed' or 'hardened'"),
        ("schema_version", 2, "schema_version=2 must be 1"),
        ("seed", -1, "seed=-1 must be >= 0"),
        ("name", "", 'name="" must not be empty'),
        ("system.d1.rtt_ms", "platform:d1.limits.rowbytes", "did you mean d1.limits.row_bytes?"),
        (
            "workload.arrivals",
            {"kind": "step", "rate_per_s": 1, "steps": [[3, -1]]},
            "workload.arrivals.steps[0][1]=-1 must be >= 0",
        ),
        (
            "workload.arrivals",
            {"kind": "step", "rate_per_s": 1, "steps": [[3, 1], [2, 1]]},
            "workload.arrivals steps must rise in time: 2 follows 3",
        ),
        ("workload.arrivals", {"kind": "step", "rate_per_s": 0, "steps": [[3, 0]]}, "needs a rate > 0 somewhere"),
        ("workload.arrivals", {"kind": "step", "rate_per_s": 0, "steps": []}, "steps=() must hold at least 1"),
        ("workload.arrivals", {"kind": "ramp", "rate_per_s": 0, "to_rate_per_s": 0}, "needs a rate_per_s or to_rate"),
        ("workload.arrivals", {"kind": "closed", "users": 2, "think_ms": 1}, "with kind=closed needs requests"),
        (
            "workload.arrivals",
            {"kind": "trace", "file": "x", "clip_start_s": 3, "clip_end_s": 2},
            "workload.arrivals needs clip_end_s=2 > clip_start_s=3",
        ),
    ],
)
def test_wrong_value_names_path_value_and_rule(launch: Scenario, path: str, value: Any, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        launch.vary(path, value)
    line = str(caught.value)
    assert message in line
    assert line.endswith("(scenarios/README.md)")
    assert "\n" not in line


def test_a_trace_takes_no_end_and_a_ramp_needs_one(launch: Scenario) -> None:
    trace, ramp = {"kind": "trace", "file": "x"}, {"kind": "ramp", "rate_per_s": 1, "to_rate_per_s": 2}
    with pytest.raises(ScenarioError, match="with kind=trace must not hold requests: clip"):
        launch.with_(**{"workload.arrivals": trace, "workload.requests": 5})
    with pytest.raises(ScenarioError, match="with kind=ramp needs duration_s"):
        launch.with_(**{"workload.arrivals": ramp, "workload.requests": 5})


def test_further_problems_are_notes(launch: Scenario) -> None:
    with pytest.raises(ScenarioError, match="retries") as caught:
        launch.with_(**{"system.client.retries": -1, "system.d1.queue_limit": 0})
    assert caught.value.__notes__ == ["system.d1.queue_limit=0 must be >= 1 (scenarios/README.md)"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("platform:x"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["distribution", "kind", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(st.sampled_from(PATHS) | st.text("abz._", max_size=6), anything)
def test_any_value_anywhere_is_a_scenario_or_one_clear_line(path: str, value: Any) -> None:
    try:
        varied = LAUNCH.vary(path, value)
    except SimError as error:
        told = str(error)
    else:
        told = varied.name
    assert told
    assert "\n" not in told.replace(json.dumps(str(value)), "")
