"""Goal: steps that only some requests take, that repeat, run at once or are hedged are calibrated rightly, or refused.

Method: simulated runs whose numbers are known, of routes with one such step each.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import calibrate, load_scenario, run
from sim.experiments.calibration.calibrate import Calibration
from sim.experiments.calibration.laws import Law
from sim.experiments.calibration.seen import columns, draws
from sim.experiments.calibration.steps import chances, step_of
from sim.foundation.errors import UsageError
from sim.scenario.scenario import Scenario

READ, WAY = "system.d1.read_ms", "system.d1.rtt_ms"
TRUE = {"distribution": "erlang", "mean": 6.0, "stages": 3}
AWAY = {"distribution": "lognormal", "median": 8.0, "p99": 20.0}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a scenario whose only route takes some steps."""

    def written(steps: str, *, rate_per_s: float = 20.0) -> Path:
        file = tmp_path / "steps.toml"
        file.write_text(
            f"""
base = "cloudflare.toml"
name = "steps"
question = "What do the steps of a route take?"
[workload]
requests = 3_000
warm_up_s = 0
keys = {{ count = 100, zipf = 0 }}
[workload.arrivals]
kind = "poisson"
rate_per_s = {rate_per_s}
[routes.page]
share = 1
steps = {steps}
[routes.other]
share = 0
steps = ["workers.compute"]
[system.d1]
rtt_ms = 0
read_ms = 3
write_ms = 3
[assumptions]
"routes" = "an example"
"""
        )
        return file

    return written


def calibrated(file: Path, **changes: Any) -> Calibration:
    """The calibration of a run in which a read takes another time than the scenario believes."""
    truth = load_scenario(file)
    return calibrate(file, [run(truth.with_(**{READ: TRUE} | changes), rng=3)])


@settings(max_examples=5, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 1_000))
def test_the_share_that_takes_a_step_is_counted(chance: float, seed: int) -> None:
    feed = load_scenario("feed").with_(**{"workload.requests": 2_000, "workload.warm_up_s": 0})
    base = feed.with_(**{"system.posts.rtt_ms": 0.0}).with_shares(feed=1)
    truth = {"routes.feed.steps[1].chance": chance, "system.posts.read_ms": TRUE}
    found = _of(base, run(base.with_(**truth), rng=seed))
    interval = found["routes.feed.steps[1].chance"].law.intervals["value"]
    assert interval.low - 0.02 <= chance <= interval.high + 0.02  # 95 %: the rest misses by little.
    assert found["system.posts.read_ms"].law.intervals["mean"].value == pytest.approx(6.0, rel=0.12)


def _of(base: Scenario, result: Any) -> dict[str, Any]:
    """Identify what a run shows of a scenario that is no file."""
    from sim.experiments.calibration.components import Solver, shown

    zero = frozenset({"system.posts.rtt_ms"})
    solver = Solver({}, [], zero=zero, rng=0)
    solver.solve(list(shown(result, base, seen=columns(base), run="run", unfit={})))
    return solver.found


def test_a_share_is_in_the_file_with_the_whole_list_of_steps(write: Any, tmp_path: Path) -> None:
    file = write('["workers.compute", { use = "d1.read", chance = 0.5, rows_read = 40 }]')
    out = tmp_path / "measured.toml"
    result = run(load_scenario(file).with_(**{READ: TRUE, "routes.page.steps[1].chance": 0.3}), rng=4)
    found = calibrate(file, [result], out=out)
    share = found["routes.page.steps[1].chance"].law
    assert share.intervals["value"].low <= 0.3 <= share.intervals["value"].high
    assert found[READ].law.name == "erlang"
    after = load_scenario(out)
    assert after.routes["page"].steps[1].chance == pytest.approx(share.entry, rel=1e-5)
    assert after.routes["page"].steps[1].parameters == {"rows_read": 40}
    assert after.routes["page"].steps[0].use == "workers.compute"
    assert [row.confidence for row in after.provenance if row.path == "routes.page.steps"] == ["C"]
    assert "# routes.page.steps[1].chance: 0." in out.read_text()
    assert 0 < found.drawn(1).routes["page"].steps[1].chance < 1


def test_a_share_that_hardly_anybody_takes_is_refused(write: Any) -> None:
    file = write('["workers.compute", { use = "d1.read", chance = 0.001 }]')
    found = calibrated(file)
    assert found.refused["routes.page.steps[1].chance"].endswith("requests had it, must be >= 30 (play more)")
    assert found.refused[READ].endswith("must be >= 30 (play more)")


def test_a_step_that_some_take_beside_one_that_all_take_is_refused_by_name(write: Any) -> None:
    file = write('["workers.compute", "d1.read", { use = "d1.read", chance = 0.3 }]')
    why = calibrated(file).refused[READ]
    assert why.startswith("page.d1 adds what only some requests have (routes.page.steps[2].chance) to what others have")
    assert "play a route that has it alone" in why


@pytest.mark.parametrize("times", [2, 5])
def test_repeated_draws_are_told_from_their_sum(write: Any, times: int) -> None:
    found = calibrated(write(f'["workers.compute", {{ use = "d1.read", times = {times} }}]', rate_per_s=5.0))
    law = found[READ].law
    assert isinstance(law, Law)
    assert law.intervals["mean"].value == pytest.approx(6.0, rel=0.03)
    assert law.distribution.quantile(np.array([0.9]))[0] == pytest.approx(10.64, rel=0.1)


def test_repeated_constants_are_their_share_of_the_sum(write: Any) -> None:
    found = calibrated(write('["workers.compute", { use = "d1.read", times = 3 }]'), **{READ: 4.1})
    assert found[READ].law.distribution.expected() == pytest.approx(4.1)


def test_repeated_draws_with_a_way_that_is_held(write: Any) -> None:
    file = write('["workers.compute", { use = "d1.read", times = 2 }]')
    file.write_text(
        file.read_text().replace("rtt_ms = 0\nread", 'rtt_ms = { distribution = "exponential", mean = 2 }\nread')
    )
    truth = {READ: TRUE, WAY: {"distribution": "exponential", "mean": 2.0}}
    result = run(load_scenario(file).with_(**truth), rng=3)
    assert "shows only its sum with" in calibrate(file, [result]).refused[READ]
    found = calibrate(file, [result], hold=[WAY])
    assert found[READ].law.intervals["mean"].value == pytest.approx(6.0, rel=0.05)


def test_steps_at_once_are_refused_by_name(write: Any) -> None:
    file = write('["workers.compute", { steps = ["d1.read", "durable_objects.read"], parallel = true }]')
    found = calibrated(file)
    assert found.refused[READ].startswith(
        "page.d1: routes.page.steps[1] (d1.read, durable_objects.read) runs at once, so that its time is the latest"
    )
    assert found.refused[READ].endswith("(play a route that has it alone)")
    assert {one.path for one in found.found} >= {"system.workers.cpu_ms"}


def test_a_hedge_that_nobody_reached_is_none(write: Any) -> None:
    found = calibrated(write('["workers.compute", { use = "d1.read", hedge_ms = 5_000 }]'))
    assert found[READ].law.name == "erlang"
    assert found[READ].law.distribution.expected() == pytest.approx(6.0, rel=0.05)


def test_a_hedge_that_some_reached_is_refused_by_name(write: Any) -> None:
    found = calibrated(write('["workers.compute", { use = "d1.read", hedge_ms = 12 }]'))
    why = found.refused[READ]
    assert why.startswith("page.d1: routes.page.steps[1] (d1.read) is hedged after 12 ms, which ")
    assert "of 3,000 requests reached" in why
    assert why.endswith("(play it without: --set routes.page.steps[1].hedge_ms=1e6)")
    assert READ not in {one.path for one in found.found}


ONLY = '[{ use = "d1.read"%s }]'


def whole(file: Path, tmp: dict[str, Any] | None = None) -> Calibration:
    """The calibration of whole latencies."""
    none = {"system.network.client_rtt_ms": 0.0, READ: TRUE}
    base = load_scenario(file).with_(**none | (tmp or {}))
    result = run(base, rng=3)
    result = replace(result, frame=result.frame.assign(**dict.fromkeys(result.time_columns, 0.0)))
    return calibrate(file, [result])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            ", chance = 0.4",
            "only some requests of page have system.d1.read_ms (routes.page.steps[0].chance), with no server",
        ),
        (", times = 2", "page adds 2 draws of system.d1.read_ms, with no server times in it"),
        (", hedge_ms = 10", "page.d1: routes.page.steps[0] (d1.read) is hedged after 10 ms, and some requests took"),
        (", times = 2, parallel = true", "page.d1: routes.page.steps[0] (d1.read) runs at once, so that its time"),
    ],
)
def test_whole_latencies_refuse_such_steps_by_name(write: Any, step: str, said: str) -> None:
    file = write(ONLY % step)
    file.write_text(file.read_text().replace("[system.d1]", "[system.network]\nclient_rtt_ms = 0\n[system.d1]"))
    with pytest.raises(UsageError) as refused:
        whole(file)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_whole_latencies_of_a_hedge_that_nobody_reached_are_calibrated(write: Any) -> None:
    file = write(ONLY % ", hedge_ms = 9_000", rate_per_s=40.0)
    file.write_text(file.read_text().replace("[system.d1]", "[system.network]\nclient_rtt_ms = 0\n[system.d1]"))
    assert whole(file)[READ].law.intervals["mean"].value == pytest.approx(6.0, rel=0.2)


def test_shares_and_steps_have_names() -> None:
    feed = load_scenario("feed")
    assert chances(feed)["routes.feed.steps[1].chance"] == 0.2
    assert all(0 < share < 1 for share in chances(feed).values())
    assert step_of(feed, "picture", stream="picture.group.parallel") == "routes.picture.steps[1] (users.read, r2.get)"
    found = draws(columns(feed)["feed"]["posts"]).values()
    assert {term.events for term in found} == {(("routes.feed.steps[1].chance", True),)}
    assert [term.chance for term in found] == [0.2] * len(found)


def test_what_failed_is_counted(write: Any) -> None:
    file = write('["workers.compute", "d1.read"]')
    result = run(load_scenario(file).with_(**{"system.d1.error_chance": 0.5}), rng=3)
    found = calibrate(file, [result])
    assert "requests failed, or were retried, and are left out" in found.notes[0]
