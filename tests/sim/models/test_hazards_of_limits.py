"""What the model says of limits in bytes: the log of the policy ``seed`` (H1, H2, H3) and the tunnel's answers (H42).

Goal: the model breaks at the event and at the byte where the formula says, in both engines, as the reference does
(``tests/reference_impl/ledger/test_ledger_hazards.py`` has the same numbers). Method: one organisation, known times.
"""

from typing import Any

import numpy as np
import pytest

from sim import run
from sim.foundation.errors import ScenarioError
from sim.results.result import Result
from tests.support.routes import KNOWN_TIMES, of_steps

ONE_KEY = KNOWN_TIMES.with_(
    **{
        "workload.keys.count": 1,
        "system.ledger.policy": "seed",
        "system.durable_objects.sqlite_value_bytes_max": 2_000_000,
        "system.durable_objects.kv_value_bytes_max": 131_072,
    }
)
ENGINES = ("simpy", "compiled")


def appended(requests: int, *, engine: str = "compiled", **changes: Any) -> Result:
    scenario = of_steps("ledger.append", scenario=ONE_KEY.with_(**changes))
    return run(scenario, on=engine, requests=requests, rng=1)


# --- H1, H2: one growing value -----------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("storage", "event_bytes", "predicted"),
    [("kv", 216, 606), ("kv", 151, 868), ("sqlite", 216, 9_259), ("sqlite", 151, 13_244)],
)
def test_h1_the_log_is_full_after_the_event_that_the_formula_names(
    engine: str, storage: str, event_bytes: int, predicted: int
) -> None:
    storing = {"system.durable_objects.storage": storage, "system.ledger.event_bytes": event_bytes}
    outcome = appended(predicted + 20, engine=engine, **storing).frame.sort_values("arrival_ms")["outcome"]
    assert (outcome == "ok").to_numpy().tolist() == [True] * predicted + [False] * 20


def test_h1_a_row_for_each_event_has_no_such_limit() -> None:
    assert (appended(10_000, **{"system.ledger.policy": "hardened"}).frame["outcome"] == "ok").all()


def test_the_back_end_without_sql_refuses_the_policy_of_rows() -> None:
    with pytest.raises(ScenarioError, match=r"system\.durable_objects\.storage='kv' has no SQL"):
        appended(10, **{"system.ledger.policy": "hardened", "system.durable_objects.storage": "kv"})


def test_h2_from_then_on_every_event_is_lost() -> None:
    """Unbilled events = events offered - N: none after the limit is ever stored."""
    frame = appended(2_000, **{"system.durable_objects.storage": "kv"}).frame
    assert (frame["outcome"] == "error").sum() == 2_000 - 606


# --- H3: an append takes longer with every event ------------------------------------------------


def test_h3_the_cpu_target_breaks_before_the_limit_of_the_value() -> None:
    """S(n) = a + b n: 10 ms are crossed at n = (10 - a) / b, which is less than 9,259."""
    write_ms, us_per_event, line_ms = 0.04, 1.2, 10.0
    times: dict[str, Any] = {
        "workload.arrivals.rate_per_s": 20.0,  # An append takes 11 ms at most.
        "system.ledger.write_ms": {"distribution": "constant", "value": write_ms},
        "system.ledger.append_us_per_event": us_per_event,
    }
    frame = appended(9_300, **times).frame
    took_ms = frame["ledger_ms"].to_numpy()
    stored = np.flatnonzero(frame["outcome"] == "ok")
    assert np.allclose(took_ms[stored], write_ms + us_per_event / 1_000 * np.arange(len(stored)))
    crossed = int(np.argmax(took_ms > line_ms))
    assert crossed == int((line_ms - write_ms) / us_per_event * 1_000) + 1 == 8_301
    assert crossed < len(stored) == 9_259


# --- H42: the largest answer of the tunnel -------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("size_bytes", "outcome"), [(1_048_576, "ok"), (1_048_577, "too_large")])
def test_h42_one_byte_more_than_the_limit_fails_after_its_work(engine: str, size_bytes: int, outcome: str) -> None:
    size = {"distribution": "constant", "value": size_bytes}
    scenario = of_steps("workers.compute", "r2.get", scenario=KNOWN_TIMES, enter="tunnel", size_bytes=size)
    frame = run(scenario, on=engine, requests=50, rng=1).frame
    assert set(frame["outcome"]) == {outcome}
    assert (frame["r2_ms"] > 0).all(), "the work was done, and is billed"


def test_h42_wasted_share_is_that_of_the_sizes_over_the_limit() -> None:
    size = {"distribution": "uniform", "low": 0, "high": 2_000_000}
    scenario = of_steps("r2.get", scenario=KNOWN_TIMES, enter="tunnel", size_bytes=size)
    frame = run(scenario, on="compiled", requests=20_000, rng=1).frame
    share = 1 - 1_048_576 / 2_000_000
    assert (frame["outcome"] == "too_large").mean() == pytest.approx(
        share, abs=4 * np.sqrt(share * (1 - share) / 20_000)
    )
