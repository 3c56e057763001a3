"""Background work that fails: nobody waits for it, so only its own counts show it.

Goal: every background flow that ended is counted by step and outcome, on both engines, and a refusal is told with its
rule wherever a run is told. Method: writes of one key that come regularly, of which the rule lets a known number pass.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim.experiments.plan import Plan, _Work
from sim.judgement.cost import cost
from sim.report.html import result_html
from sim.report.json_document import plan_document, run_document
from sim.report.terminal import run_tables, times_of
from sim.results.background import Background, background, background_notes, refusals_billed
from sim.results.result import Result
from sim.results.storage import load_run, save_run
from sim.runners.play import run
from sim.scenario.scenario import Scenario, load_scenario

PER_S, SECONDS = 4, 50

WRITES: list[dict[str, Any]] = [{"use": "workers.compute"}, {"use": "kv.put", "new_fraction": 0.0, "spawn": True}]

FEED = {"share": 1.0, "request": {"method": "GET", "path": "/feed"}, "size_bytes": 100}


def writing(*steps: Any, **changes: Any) -> Scenario:
    """Four requests a second, which all write one key in the background."""
    numbers = {
        "workload.arrivals": {"kind": "constant", "rate_per_s": float(PER_S)},
        "workload.duration_s": SECONDS,
        "workload.warm_up_s": 10,
        "workload.keys.count": 1,
        "system.network.client_rtt_ms": 1.0,
        "system.workers.cpu_ms": 1.0,
        "system.workers.cold_fraction": 0.0,
        "routes": {"feed": {**FEED, "steps": list(steps or WRITES)}},
    }
    return load_scenario("social").with_(**{**numbers, **changes})


@pytest.fixture(scope="module", params=["simpy", "compiled"])
def played(request: pytest.FixtureRequest) -> Result:
    return run(writing(), request.param)


def test_what_the_rule_lets_pass_and_what_it_refuses_are_counted(played: Result) -> None:
    """One a second of four: the bucket begins full, and no write of the warm-up is left out."""
    (row,) = background([played])
    assert (row.what, row.route, row.count) == ("kv.put", "feed", PER_S * SECONDS)
    assert row.failures == {"refused": pytest.approx((PER_S - 1) * SECONDS, abs=1)}
    assert played.frame["outcome"].eq("ok").all()


def test_every_face_tells_it_with_the_rule(played: Result) -> None:
    (note,) = background_notes([played])
    assert f"150 refused of {PER_S * SECONDS} background kv.put of route feed (75 %, warm-up included)" in note
    assert "1 write a second to one key at most (429)" in note
    document = run_document(played)
    assert note in document["notes"]
    assert document["background"][0]["failures"] == {"refused": 150}
    assert note in result_html(played)
    assert any(note in str(part) for part in run_tables(played))


def test_run_says_when_requests_came_and_when_its_last_event_was() -> None:
    """A copy in KV's cache expires a minute after it was read: the run is longer than its requests."""
    read = run(writing({"use": "workers.compute"}, {"use": "kv.get"}), "compiled")
    said, last_s = times_of(read), SECONDS - 1 / PER_S
    assert said.startswith(
        f"the requests came within {last_s:.1f} s, of which the first 10.0 s (warm-up) are not judged"
    )
    assert said.endswith(f"no longer needed) at {read.duration_s:.1f} s")
    assert read.duration_s > SECONDS + 5 > read.answered_s > read.arriving_s
    document = run_document(read)
    said_s = {name: document[name] for name in ("warm_up_s", "arriving_s", "answered_s", "duration_s")}
    assert said_s == {
        "warm_up_s": 10,
        "arriving_s": read.arriving_s,
        "answered_s": read.answered_s,
        "duration_s": read.duration_s,
    }
    assert "event" not in times_of(replace(read, duration_s=read.answered_s))


def test_replications_are_told_together(played: Result) -> None:
    (row,) = background([played, played])
    assert row.count == 2 * PER_S * SECONDS
    assert "2 runs" in str(row)


def test_bill_says_that_it_counts_what_was_refused(played: Result) -> None:
    """It has as many writes as there are requests, refused or not: no source says that those are free."""
    (note,) = refusals_billed([played])
    assert "75 % of background kv.put of route feed were refused" in note
    assert "counts them as charged, since no source says" in note
    bill = cost(played.scenario, requests_per_month=1e6)
    (writes,) = (line for line in bill.lines if (line.component, line.meter) == ("kv", "writes"))
    assert writes.used == pytest.approx(1e6)


def test_plan_tells_all_its_simulations_in_notes_and_bill() -> None:
    short = writing(**{"workload.duration_s": 20, "workload.warm_up_s": 2})
    draft = Plan(short, short.seed)
    work = _Work(short, "compiled", "reference", on_progress=lambda _: None)
    found = work.bill(work.simulate(draft, 2))
    assert any("120 refused of 160 background kv.put of route feed (75 %, 2 runs" in note for note in found.notes)
    assert found.cost is not None
    assert any("counts them as charged" in note for note in found.cost.notes)
    assert any("counts them as charged" in note for note in plan_document(found)["cost"]["notes"])


def test_group_of_steps_fails_as_a_whole_and_names_its_rule() -> None:
    group = {"steps": [{"use": "kv.put", "new_fraction": 0.0}, {"use": "d1.write"}], "spawn": True}
    (row,) = background([run(writing({"use": "workers.compute"}, group), "compiled")])
    assert (row.what, row.failures) == ("groups of steps", {"refused": 150})
    assert "1 write a second" in row.rule


def test_write_that_is_waited_for_is_a_failed_request_and_no_background(tmp_path: Path) -> None:
    waited = run(writing({"use": "workers.compute"}, {**WRITES[1], "spawn": False}), "compiled")
    assert background([waited]) == ()
    assert not waited.frame["outcome"].eq("ok").all()


def test_nothing_is_said_where_nothing_failed() -> None:
    calm = run(writing(**{"workload.arrivals": {"kind": "constant", "rate_per_s": 0.5}}), "compiled")
    assert background([calm])[0].failures == {}
    assert background_notes([calm]) == refusals_billed([calm]) == ()


def test_counts_come_back_from_a_file_and_older_files_have_none(played: Result, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    save_run(played, path)
    assert load_run(path).background == played.background
    assert background_notes([replace(played, background={})]) == ()


def test_work_of_a_component_is_named_as_it_is() -> None:
    assert str(Background("ledger.alarm", "", {"ok": 9, "error": 1}, 1)).startswith(
        "1 failed of 10 background ledger.alarm (10 %, warm-up included); nobody waits"
    )
