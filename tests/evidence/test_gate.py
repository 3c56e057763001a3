"""The theory gate.

Goal: both engines meet every closed form, and every single wait where only a recursion is known. Method: the gate
itself, `tests.evidence.gate`, with runs of seconds; that it has teeth is shown on an answer that is wrong.
"""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import flow as f
from sim.engines import simpy_engine
from sim.randomness.distributions import Hyperexponential
from sim.randomness.streams import stream_key, uniforms
from sim.statistics.intervals import Estimate
from tests.evidence.gate import ENGINES, GateRow, PathRow, check, follow, main, measures, path_table, plan, table
from tests.evidence.known_queues import Case, cases, queue
from tests.project.tidy import ROOT
from tests.sim.theory.test_general_service import shared_sojourns
from tests.support.schedules import at

REQUESTS = {"simpy": 2_000, "compiled": 20_000}
"""Of each of twenty replications: intervals of some 5 and 2 per cent."""

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_engine_meets_the_closed_form(name: str, engine: str) -> None:
    """Means, percentiles and shares lie where theory says, to an interval that is wrong once in a thousand."""
    for row in check(CASES[name], engine, requests=REQUESTS[engine]):
        assert row.passed, row


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_gives_every_request_the_wait_of_the_recursion(engine: str) -> None:
    """G/G/1 and G/G/4, overload included: bit for bit, which no average could show."""
    rows = list(follow(engine, seed=3, requests=REQUESTS[engine]))
    assert [row.deviation_ms_max for row in rows] == [0, 0, 0]
    assert min(row.wait_ms_mean for row in rows) > 5, "a queue in which nobody waits would show nothing"


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_shares_a_processor_as_an_event_by_event_account_does(engine: str) -> None:
    """Every single sojourn at load 0.9 is that of a plain program that divides the server among all who are inside."""
    requests, distribution = 1_500, Hyperexponential(mean=9.0, cv2=4)
    gaps_ms = np.random.default_rng(8).exponential(10.0, requests)
    planned, seed = at(np.cumsum(gaps_ms)), 4
    simulate = import_module(ENGINES[engine]).simulate
    work_ms = distribution.sample(uniforms(stream_key(seed, "queue.work"), np.arange(requests))[np.newaxis])
    exact_ms = shared_sojourns(planned.arrival_ms.tolist(), work_ms.tolist())
    np.testing.assert_allclose(
        simulate(queue(distribution, shared=True), planned, seed=seed).latency_ms, exact_ms, rtol=1e-9
    )


def test_cases_span_the_theory() -> None:
    """One of each kind, by name, and percentiles of the wait in more than means."""
    names = " ".join(CASES)
    for kind in ("M/M/1", "M/M/4", "M/M/2/6", "Erlang B", "M/D/1", "M/E4/1", "M/H2/1", "lognormal", "processor sharing",
                 "tandem", "come back", "closed loop", "machine repair"):  # fmt: skip
        assert kind in names
    assert sum("p99" in measure for case in CASES.values() for measure in case.exact) >= 8


def test_gate_has_teeth() -> None:
    """An answer that is wrong by a fifth is refused by both engines' gates."""
    case = CASES["M/M/1 at 0.5"]
    wrong = replace(case, exact={"sojourn_ms mean": 1.2 * case.exact["sojourn_ms mean"]})
    for engine in ENGINES:
        (row,) = check(wrong, engine, requests=REQUESTS[engine])
        assert not row.passed


def slowed(part: Any, by: float) -> Any:
    """A flow whose every service takes *by* times as long: what an engine with a small mistake would play."""
    if isinstance(part, tuple):
        return tuple(slowed(one, by) for one in part)
    if isinstance(part, f.Repeat):
        return replace(part, steps=slowed(part.steps, by))
    return replace(part, time=f.Time(part.time, scale=by))


@pytest.mark.parametrize("by", [1.02, 0.98])
def test_gate_sees_an_engine_that_is_wrong_by_two_per_cent(by: float) -> None:
    """In nearly every case even at a tenth of the runs of the page, where all 38 rows fail."""
    refused = [
        not all(row.passed for row in check(replace(case, flow=slowed(case.flow, by)), "compiled", requests=20_000))
        for case in CASES.values()
    ]
    assert sum(refused) >= len(CASES) - 2


def test_warm_up_is_cut_and_losses_are_shares_of_all() -> None:
    """What `measures` keeps: the last four fifths; waits of those served, losses over everybody."""
    case = CASES["M/M/2/6 at 1.2"]
    run = simpy_engine.simulate(case.flow, plan(case, requests=1_000, seed=1), seed=1)
    found = measures(case, run)
    assert found["lost_share"].size == 800
    assert found["wait_ms"].size == np.sum(found["lost_share"] == 0)
    assert found["lost_share"].mean() == np.mean(run.outcome[200:] != 0)


def test_closed_loop_is_judged_while_all_users_are_there() -> None:
    """Users end one by one; the thinning crowd at the end is left out."""
    case = CASES["closed loop, 3 users"]
    run = simpy_engine.simulate(case.flow, plan(case, requests=999, seed=1), seed=1)
    assert measures(case, run)["sojourn_ms"].size < 0.8 * 999


def test_tables_mark_what_fails() -> None:
    """One line a row; a failure cannot be overlooked."""
    away = Estimate(1.0, 0.9, 1.1, 10, "t")
    assert "| q | wait_ms mean | 2 | simpy | 1 | 0.9 to 1.1 | **OUTSIDE** |" in table(
        [GateRow("q", "simpy", "wait_ms mean", 2.0, away)]
    )
    assert "| q | simpy | 1,000 | 5 | 0.1 | **DIFFERS** |" in path_table([PathRow("q", "simpy", 1_000, 5.0, 0.1)])


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (2.0, 1)])
def test_command_writes_the_page_and_fails_with_a_row(
    factor: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m tests.evidence.gate` with one cheap case: right, and wrong by a factor of two."""
    case: Case = CASES["M/M/1 at 0.5"]
    cheap = replace(case, exact={"wait_ms mean": factor * case.exact["wait_ms mean"]})
    monkeypatch.setattr("tests.evidence.gate.cases", lambda: iter([cheap]))
    monkeypatch.setattr("tests.evidence.gate.REQUESTS", REQUESTS)
    page = tmp_path / "THEORY.md"
    assert main(["--engines", "simpy", "--seed", "2", "--write", str(page)]) == status
    text = page.read_text(encoding="utf-8")
    assert f"{status} of 1 rows do" in text
    assert text.count("the same |") == 3


def test_committed_page_holds_every_case_on_both_engines() -> None:
    """A new case requires a new page, and no row of it may fail."""
    page = (ROOT / "docs/THEORY.md").read_text(encoding="utf-8")
    for case in cases():
        for measure in case.exact:
            for engine in ENGINES:
                assert re.search(
                    rf"^\| {re.escape(case.name)} \| {measure} \| .* \| {engine} \| .* inside \|$", page, re.MULTILINE
                )
    assert not re.search(r"\*\*(OUTSIDE|DIFFERS)\*\*", page)
