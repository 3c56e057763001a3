"""Scenarios that are wrong: a value, a key, a table, a part of the file.

Goal: whatever is wrong is one clear line that names path, value, rule and way out, and never a traceback. Method: one
mistake at a time; junk in place of everything; random values at every path; a small file without each of its parts.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError, SimError
from sim.scenario.scenario import Scenario, load_scenario
from tests.sim.scenario.test_scenario import LAUNCH, PATHS, saved


@pytest.fixture(scope="module")
def launch() -> Scenario:
    return LAUNCH


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
        ("workload.mix.log", 0.3, "workload.mix is not a key; it is one of: "),
        ("routes.log.share", -0.3, "routes.log.share=-0.3 must be >= 0"),
        ("routes.log.share", float("inf"), "routes.log.share=inf must be a finite number"),
        ("routes", {}, "routes must hold at least one route: [routes.NAME] with share and steps"),
        ("workload.keys.count", 0, "workload.keys.count=0 must be >= 1"),
        ("workload.keys.count", 1.5, "workload.keys.count=1.5 must be a whole number"),
        ("workload.warm_up_s", 600, "workload needs warm_up_s=600 < duration_s=600"),
        (
            "system.durable_objects.shards",
            0,
            'system.durable_objects.shards=0 must be a whole number >= 1, or "per_key"',
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
        ("schema_version", 1, "schema_version=1 must be 2"),
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


WORDS = ["platform:x", "d1", "d1.read", "workers.compute", "network", "size_bytes", "/{key}", "{nobody}"]
KEYS = ["distribution", "kind", "x", "component", "like", "share", "use", "steps", "times", "parameters", "rows_read"]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=4,
)


def told(path: str, value: Any) -> str:
    """What one hears of a change: the name of the scenario, or why there is none."""
    try:
        return LAUNCH.vary(path, value).name
    except SimError as error:
        return str(error)


@given(st.sampled_from(PATHS) | st.text("abz._", max_size=6), anything)
def test_any_value_anywhere_is_a_scenario_or_one_clear_line(path: str, value: Any) -> None:
    line = told(path, value)
    assert line
    assert "\n" not in line.replace(json.dumps(str(value)), "")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"component": []}, 'system.archive.component=[] is not a component; it is one of: '),
        ({"component": "d11"}, 'system.archive.component="d11" is not a component; did you mean d1?'),
        ({}, 'system.archive is not a component; '),
        ({"like": "d11"}, 'system.archive.like="d11" must name another table of the system; did you mean d1?'),
        ({"like": "archive"}, 'system.archive.like="archive" must name another table of the system; '),
        ({"like": 3, "component": "d1"}, 'system.archive.like=3 must name another table of the system; '),
        ({"component": "d1"}, 'system.archive.rtt_ms is missing'),
        ([], 'system.archive=[] must be a table'),
    ],
)  # fmt: skip
def test_an_instance_that_is_none_is_one_clear_line(table: Any, line: str) -> None:
    assert line in told("system.archive", table)


@pytest.mark.parametrize("value", [None, True, -3, 1e308, "x", "platform:x", [], {}, [["x"]], {"x": {"x": 3}}], ids=str)
def test_junk_in_place_of_any_key_or_table_is_a_scenario_or_one_clear_line(value: Any) -> None:
    """A key that is missing, too: that is the first value."""
    for path in PATHS:
        line = told(path, value)
        assert line, path
        assert "\n" not in line, path


# ---------------------------------------------------------------- a file without a part

LEAN = {
    "schema_version": "schema_version = 2",
    "name": 'name = "lean"',
    "question": 'question = "How little is enough?"',
    "seed": "seed = 1",
    "platform": 'platform = "platform/2026-11.toml"',
    "targets": 'targets = "targets.toml"',
    "workload": "[workload]\nrequests = 10",
    "workload.arrivals": '[workload.arrivals]\nkind = "poisson"\nrate_per_s = 5',
    "workload.keys": "[workload.keys]\ncount = 3\nzipf = 0",
    "routes": '[routes.fetch]\nshare = 1\nsteps = ["r2.get"]',
    "system.network": "[system.network]\nclient_rtt_ms = 20",
    "system.client": "[system.client]\ntimeout_ms = 1000\nretries = 0\nbackoff_ms = 0",
    "system.r2": "[system.r2]\nput_ms = 1\nget_ms = 1\nbandwidth_bytes_per_s = 1_000",
}
"""Every part that a scenario must hold when it has no base, in the order of a file."""


def test_smallest_file_without_a_base_is_a_scenario(tmp_path: Path) -> None:
    """No assumptions, no bodies, no tokens, three components."""
    lean = load_scenario(saved(tmp_path, "\n".join(LEAN.values())))
    assert (list(lean.system), list(lean.routes), lean.provenance) == (["network", "client", "r2"], ["fetch"], ())
    assert lean.workload.tokens is None


@pytest.mark.parametrize(
    ("without", "line"),
    [
        (["schema_version"], "schema_version is missing"),
        (["name"], "name is missing"),
        (["question"], "question is missing"),
        (["seed"], "seed is missing"),
        (["platform"], "platform must be the name of a file"),
        (["targets"], "targets is missing"),
        (["workload", "workload.arrivals", "workload.keys"], "workload is missing"),
        (["workload.arrivals"], "workload.arrivals is missing"),
        (["workload.keys"], "workload.keys is missing"),
        (["routes"], "routes is missing"),
        (["system.network", "system.client", "system.r2"], "system must hold one client: [system.client]"),
        (["system.network"], 'routes.fetch.enter="network" must be an instance to come in by; '),
        (["system.client"], "system must hold one client: [system.client]"),
        (["system.r2"], 'routes.fetch.steps[0].use="r2.get" is not an operation of the system; '),
    ],
    ids=str,
)
def test_file_without_a_part_is_one_clear_line(without: list[str], line: str, tmp_path: Path) -> None:
    text = "\n".join(part for name, part in LEAN.items() if name not in without)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(saved(tmp_path, text))
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("(scenarios/README.md)")
    assert "\n" not in str(caught.value)


def test_a_recorded_run_is_no_scenario(tmp_path: Path) -> None:
    path = tmp_path / "low.parquet"
    path.write_bytes(b"PAR1\xff")
    with pytest.raises(ScenarioError) as refused:
        load_scenario(path)
    assert (
        str(refused.value)
        == f"{path} is a recorded run, must be a scenario (headroom run SCENARIO --on {path} judges it)"
    )
