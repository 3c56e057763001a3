"""Loads below the capacity: a target that the highest load keeps may be missed at a lower one.

Goal: the lower end is found where theory puts it, told wherever the capacity is told, and nothing is said where no
lower load misses a target. Method: a cache. Reads of one of K keys at a rate of r miss with chance 1 / (1 + r T / K), T
the time to live, since a copy is read until it expires. So the median is that of a hit from r = K / T on.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim.experiments.capacity import Capacity, capacity
from sim.experiments.probe import OVERLOAD
from sim.judgement.targets import Verdict
from sim.report.json_document import capacity_document
from sim.report.lower_loads import below, held, missed_below
from sim.report.sentences import headroom, lower_load, summary
from sim.report.tables import capacity as capacity_grid
from sim.report.tiles import tiles
from sim.scenario.scenario import Scenario, load_scenario
from tests.support.one_queue import MU_PER_S, NOTHING
from tests.support.plans import example_capacity, example_plan

KEYS = 300
TTL_S = 30.0
LEAST_PER_S = KEYS / TTL_S

TARGETS = """
[[targets]]
metric = "api_latency_ms"
statistic = "p50"
target = 50
alert = 500
direction = "below"
unit = "ms"
"""


def cached(folder: Path, *, mean_per_s: float, own_per_s: float = 40.0, **changes: Any) -> Scenario:
    """Reads of a cache whose copies expire, behind one Worker isolate, with a demand of this mean."""
    (folder / "targets.toml").write_text(TARGETS, encoding="utf-8")
    path = folder / "cached.toml"
    path.write_text(
        f"""
base = "cloudflare.toml"
name = "cached"
question = "Does it keep its target at lower loads?"
targets = "{folder / "targets.toml"}"
[workload]
duration_s = 60
warm_up_s = 0
[workload.arrivals]
kind = "poisson"
rate_per_s = {own_per_s}
[workload.keys]
count = {KEYS}
zipf = 0.0
[demand]
requests_per_day = {mean_per_s * 86_400}
[routes.feed]
share = 1.0
request = {{ method = "GET", path = "/feed" }}
steps = ["workers.compute", "kv.get"]
""",
        encoding="utf-8",
    )
    numbers = {
        "system.network.client_rtt_ms": NOTHING,
        "system.workers.cpu_ms": {"distribution": "exponential", "mean": 1000 / MU_PER_S},
        "system.workers.isolates": 1,
        "system.workers.cold_fraction": 0.0,
        "system.kv.hot_ms": 1.0,
        "system.kv.cold_ms": 100.0,
        "system.kv.cache_ttl_s": TTL_S,
    }
    return load_scenario(path).with_(**{**numbers, **changes})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Capacity:
    """At its mean, a third of the least load that keeps the median, most reads miss the cache."""
    return capacity(cached(tmp_path_factory.mktemp("lower"), mean_per_s=LEAST_PER_S / 3), seeds=2)


def test_lower_end_is_that_of_theory(found: Capacity) -> None:
    assert found.lower.holds_from_per_s == pytest.approx(LEAST_PER_S, rel=0.15)
    assert found.estimate.value > 10 * LEAST_PER_S


def test_mean_load_is_judged_and_names_the_part_that_is_slower(found: Capacity) -> None:
    mean = found.lower.mean
    assert mean is not None
    assert mean.rate_per_s == pytest.approx(LEAST_PER_S / 3)
    (row,) = mean.missed(found.kept)
    assert (row.name, row.verdict) == ("api_latency_ms p50", Verdict.WARN)
    assert row.low > row.target
    assert mean.slower == "kv_ms"
    assert mean.slower_ms == pytest.approx(1 + 99 / (1 + TTL_S / KEYS * mean.rate_per_s), rel=0.05)
    assert found.lower.missed_at == mean


def test_mean_load_counts_messages_as_the_capacity_does(tmp_path: Path) -> None:
    """Beside each request of the demand come 2 messages: its mean in the capacity's unit is three times as high."""
    room: dict[str, Any] = {
        "routes.room": {
            "share": 0.25,
            "request": {"method": "GET", "path": "/room"},
            "steps": ["workers.compute", "websocket.connect"],
            "messages": {"every_s": 10, "session_s": 100},
        }
    }
    busy = capacity(cached(tmp_path, mean_per_s=LEAST_PER_S / 3, **room), seeds=2)
    mean = busy.lower.mean
    assert mean is not None
    assert mean.rate_per_s == pytest.approx(3 * LEAST_PER_S / 3)
    assert mean.messages_per_s == pytest.approx(2 * LEAST_PER_S / 3)
    said = [row[0].text for row in capacity_grid(busy).rows]
    assert "at the mean load of 10.0 requests/s (3.33 HTTP requests/s and 6.67 messages/s)" in said


def test_higher_mean_keeps_its_target_and_the_rungs_still_show_the_lower_end(tmp_path: Path) -> None:
    """At three times the least load the mean is met; a rung at a quarter of the played rate is not."""
    higher = capacity(cached(tmp_path, mean_per_s=3 * LEAST_PER_S, own_per_s=20.0), seeds=2)
    assert higher.lower.mean is not None
    assert not higher.lower.mean.of(higher.kept)
    assert higher.lower.missed_at is not None
    assert higher.lower.missed_at.rate_per_s < LEAST_PER_S
    assert higher.lower.holds_from_per_s == pytest.approx(LEAST_PER_S, rel=0.15)
    assert below(higher).startswith(f"At {higher.lower.missed_at.rate_per_s:.3g}")


def test_load_that_misses_nothing_lower_holds_up_to_its_highest(tmp_path: Path) -> None:
    warm = cached(tmp_path, mean_per_s=LEAST_PER_S / 3, **{"system.kv.cold_ms": 1.0})
    same = capacity(warm, seeds=2)
    assert same.lower.missed_at is None
    assert same.lower.holds_from_per_s is None
    assert "up to" in held(same)
    assert below(same) == ""


def test_arrivals_that_change_have_no_mean_of_their_own(tmp_path: Path) -> None:
    ramp = {"kind": "ramp", "rate_per_s": 10.0, "to_rate_per_s": 50.0}
    changed = cached(tmp_path, mean_per_s=1.0).with_(
        **{"workload.arrivals": ramp, "demand": {"requests_per_day": 86_400}}
    )
    assert capacity(changed, seeds=2).lower.mean is None


def test_every_face_tells_a_range(found: Capacity) -> None:
    plan = replace(example_plan(), capacity=found)
    assert "up to" not in headroom(plan)
    assert "API latency P50 holds from about" in headroom(plan)
    assert lower_load(plan).startswith("At your mean load of 3.33 requests/s API latency P50 (10")
    assert "against 50 ms) is missed, mostly by KV" in lower_load(plan)
    assert "from about" in summary(plan)
    assert any(what == "Mean load" and "missed" in text for what, _, text in tiles(plan))
    rows = {row[0].text: row[1].text for row in capacity_grid(found).rows}
    assert rows["holds from"].startswith("about")
    assert "is missed" in rows["at the mean load of 3.33 requests/s"]
    document = capacity_document(found)["lower_loads"]
    assert document["holds_from_per_s"] == found.lower.holds_from_per_s
    assert document["mean"]["targets"][0]["verdict"] == "WARN"
    assert missed_below(found).startswith("; API latency P50 missed below ")
    assert missed_below(example_capacity()) == ""
    assert "missed at 3.333 requests/s too" in repr(found)


def test_overload_is_that_of_a_station() -> None:
    """In the table as on the page; a target that breaks first needs none, the next row says what is waited for."""
    rows = {row[0].text: row[1].text for row in capacity_grid(example_capacity(limited_by=OVERLOAD)).rows}
    assert rows["breaks first"] == "overload of D1"
    rows = {row[0].text: row[1].text for row in capacity_grid(example_capacity()).rows}
    assert rows["breaks first"] == "API latency P99"


def test_plan_without_lower_loads_says_nothing_of_them() -> None:
    plan = replace(example_plan(), capacity=example_capacity())
    assert lower_load(plan) == ""
    assert "hold up to" in headroom(plan)
