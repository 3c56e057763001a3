"""Goal: the phases of a fault hold the requests that they should, and the recovery is when the targets hold for good.

Method: frames made by hand, where every request's phase and every bin's share of late ones is known; then a run.
"""

import numpy as np
import pandas as pd
import pytest

from sim import run
from sim.flow import OUTCOMES
from sim.report.json_document import run_document
from sim.report.phase_tables import phase_table, recoveries_of, recovery_sentence
from sim.results.phases import phases, recoveries, spans_of
from sim.results.result import Result
from sim.scenario.scenario import load_scenario

SHORT = load_scenario("launch").with_(**{"workload.duration_s": 60, "workload.warm_up_s": 5})

OUTAGE = {"instance": "d1", "kind": "outage", "at_s": 20, "duration_s": 5}


def made(bad_s: tuple[tuple[float, float], ...], *faults: dict[str, object]) -> Result:
    """A thousand requests, one every 60 ms: 50 ms each, but 900 ms where they arrive in *bad_s*."""
    arrival_ms = np.arange(1000) * 60.0
    bad = np.zeros(1000, dtype=bool)
    for start_s, end_s in bad_s:
        bad |= (arrival_ms >= start_s * 1000) & (arrival_ms < end_s * 1000)
    frame = pd.DataFrame(
        {
            "arrival_ms": arrival_ms,
            "latency_ms": np.where(bad, 900.0, 50.0),
            "outcome": pd.Categorical(["ok"] * 1000, categories=list(OUTCOMES)),
            "route": "search",
            "attempts": 1,
        }
    )
    return Result(SHORT.vary("faults", list(faults)), "hand", 1, frame, pd.DataFrame(), 60.0, warm_up_ms=5000.0)


def test_requests_belong_to_the_phase_in_which_they_arrive() -> None:
    """Since the warm-up, in the window, until the end; with a second fault, until that starts."""
    one = {phase.phase: phase.requests for phase in phases([made((), OUTAGE)])}
    assert one == {"before": 250, "during": 83, "after": 583}
    both = phases([made((), OUTAGE, {**OUTAGE, "instance": "r2", "at_s": 40})])
    assert [(p.fault, p.phase, p.requests) for p in both] == [
        ("d1 outage", "before", 250),
        ("d1 outage", "during", 83),
        ("d1 outage", "after", 250),
        ("r2 outage", "before", 250),
        ("r2 outage", "during", 83),
        ("r2 outage", "after", 250),
    ]


@pytest.mark.parametrize(
    ("bad_s", "expected_s"),
    [
        ((), 0.0),
        (((20, 25),), 0.0),
        (((24, 36.9),), 12.0),  # In bins of 6 s, of which the second and third are bad in part.
        (((25, 25.5), (33, 34)), 12.0),  # All was well in between, but not for good.
        (((30, 60),), None),
    ],
)
def test_recovery_is_when_the_line_holds_for_good(bad_s: tuple[tuple[float, float], ...], expected_s: object) -> None:
    """The bin of 100 requests is 6 s long: the answer is a multiple of it."""
    (found,) = recoveries([made(bad_s, OUTAGE)], statistic="p99", limit_ms=200.0)
    assert (found.time_s and round(found.time_s.value, 1)) == expected_s
    assert (found.windows, found.recovered_windows) == (1, 0 if expected_s is None else 1)
    assert found.line == "P99 <= 200 ms"


def test_a_line_that_did_not_hold_before_the_fault_is_not_said_to_be_lost_by_it() -> None:
    (held,) = recoveries([made((), OUTAGE)], statistic="p99", limit_ms=200.0)
    (missed,) = recoveries([made(((0, 20), (30, 120)), OUTAGE)], statistic="p99", limit_ms=200.0)
    assert (held.missed_before, missed.missed_before) == (False, True)
    assert recovery_sentence(missed) == "d1 outage: P99 <= 200 ms did not hold before it either"
    assert "holds again" in recovery_sentence(held)


def test_a_fault_that_another_follows_at_once_has_no_recovery() -> None:
    """Nothing can be said of it."""
    follows = {**OUTAGE, "instance": "r2", "at_s": 25}
    assert [one.fault for one in recoveries([made((), OUTAGE, follows)], statistic="p99", limit_ms=1.0)] == [
        "r2 outage"
    ]


def test_replications_give_intervals_and_a_scenario_without_faults_gives_nothing() -> None:
    """Three seeds of a stall: the queue is served after it, so that recovery takes longer than nothing."""
    asked = SHORT.vary("faults", [{**OUTAGE, "kind": "stall"}])
    runs = [run(asked, rng=seed) for seed in (1, 2, 3)]
    during = next(one for one in phases(runs) if one.phase == "during")
    assert during.p99_ms is not None
    assert during.p99_ms.low > 1000
    (back,) = recoveries_of(runs)
    assert back.recovered_windows == back.windows == 3
    assert phase_table(runs).rows
    document = run_document(runs[0])
    assert [row["phase"] for row in document["phases"]] == ["before", "during", "after"]
    assert document["recoveries"][0]["line"] == "P99 <= 200 ms"
    assert "phases" not in run_document(run(SHORT, requests=200))
    assert spans_of(run(SHORT, requests=50)) == []
