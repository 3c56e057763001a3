"""Schedules as a way in: how often they run, whatever the other traffic, and that each run is a request on the bill."""

from typing import Any

import numpy as np
import pytest

from sim import run
from sim.foundation.errors import ScenarioError
from sim.judgement.cost import price, usage_per_month
from sim.models.cron_schedule import read_schedule
from sim.scenario.scenario import Scenario
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES, refusal

MINUTES_PER_MONTH = 30 * 24 * 60


def with_runs(rate_per_s: float = 50.0, share: float = 1.0, **more: Any) -> Scenario:
    """A route that runs every minute beside one that has weight."""
    changes: dict[str, Any] = {
        "workload.arrivals": {"kind": "constant", "rate_per_s": rate_per_s},
        "system.cron": {"schedule": "* * * * *", "dispatch_ms": 5.0},
        "routes": {
            "tick": {"share": share, "enter": "cron", "steps": ["workers.compute", "d1.write"]},
            "page": {"share": 3.0, "steps": ["workers.compute", "d1.read"]},
        },
    }
    return KNOWN_TIMES.with_(**{**changes, **more})


@pytest.mark.parametrize(
    ("text", "per_day"),
    [
        ("* * * * *", 1440), ("*/5 * * * *", 288), ("0 * * * *", 24), ("0 3 * * *", 1), ("0,30 8-17 * * *", 20),
        ("0 0 * * sun", 1 / 7), ("0 0 * * 2-6", 5 / 7), ("0 0 1 * *", 12 / 365.25), ("0 0 29 2 *", 1 / 1461),
        ("0 0 L * *", 12 / 365.25), ("0 0 31 2 *", 0.0), ("0 0 LW * *", 12 / 365.25),
        ("*/7 1-3,22 * jan,jul *", 36 * 62 / 365.25),
    ],
)  # fmt: skip
def test_rate_of_a_schedule_is_that_of_its_dates(text: str, per_day: float) -> None:
    assert read_schedule(text).runs_per_s * 86_400 == pytest.approx(per_day, rel=1e-9)


def test_schedule_that_never_comes_is_refused() -> None:
    never: dict[str, Any] = {"system.cron.schedule": "0 0 31 2 *"}
    with pytest.raises(ScenarioError, match="no day has that date, so it never comes"):
        with_runs(**never)


@pytest.mark.parametrize("rate_per_s", [0.5, 50.0, 5_000.0])
def test_schedule_runs_as_often_whatever_the_traffic(rate_per_s: float) -> None:
    scenario = with_runs(rate_per_s)
    assert sum(scenario.shares.values()) == pytest.approx(1)
    assert scenario.shares["tick"] * rate_per_s == pytest.approx(1 / 60, rel=0.01)
    assert scenario.at_rate(2 * rate_per_s).shares["tick"] == pytest.approx(scenario.shares["tick"] / 2, rel=0.01)


def test_share_is_a_factor_on_the_runs() -> None:
    assert with_runs(share=120.0).shares["tick"] == pytest.approx(2 / 50, rel=0.01)
    assert with_runs(share=0.0).shares == {"tick": 0.0, "page": 1.0}
    assert with_runs(**{"routes.page.share": 0.0}).shares == {"tick": 1.0, "page": 0.0}


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_run_comes_in_by_the_schedule_alone(engine: str) -> None:
    frame = run(with_runs(share=600.0), on=engine, requests=2_000, rng=4).frame
    tick = frame["route"] == "tick"
    assert tick.sum() == pytest.approx(400, abs=80)
    assert (frame.loc[tick, "cron_ms"] == 5.0).all()
    assert not frame.loc[~tick, "cron_ms"].any()
    assert (frame.loc[tick, "d1_ms"] == 7.0).all()
    assert not frame.loc[tick, "network_ms"].any()
    assert np.allclose(frame.loc[tick, "latency_ms"], 5 + 2 + 7)


def test_each_run_is_a_request_on_the_bill() -> None:
    scenario = with_runs()
    requests = 50.0 * MINUTES_PER_MONTH * 60
    used = usage_per_month(scenario, requests)
    assert used["workers.requests"] == pytest.approx(requests)
    assert used["d1.rows_written"] == pytest.approx(MINUTES_PER_MONTH, rel=0.01)


def test_a_run_an_hour_of_three_minutes_costs_what_the_provider_says() -> None:
    """Workers pricing, example 3: 720 runs a month of 180,000 ms CPU are 6.99 USD with the plan."""
    runs = read_schedule("0 * * * *").runs_per_s * 30 * 86_400
    assert runs == pytest.approx(720)
    usage = {"workers.plan": 1.0, "workers.requests": runs, "workers.cpu": runs * 180_000}
    assert sum(line.usd for line in price(usage, PLATFORM)) == pytest.approx(6.99, abs=0.005)


def test_schedule_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match=r"routes\.tick by schedule, 0\.01667 a second, must come less often than all"
    ):
        _ = with_runs(rate_per_s=0.01).shares
    closed = {"kind": "closed", "users": 5, "think_ms": 100.0}
    lengths: dict[str, Any] = {"workload.arrivals": closed, "workload.requests": 100, "workload.duration_s": None}
    with pytest.raises(ScenarioError, match=r"routes\.tick\.enter is a schedule; a closed loop has no rate"):
        _ = with_runs(**lengths).shares


def test_bad_schedule_is_one_line() -> None:
    (line,) = refusal({"system.cron.schedule": "60 * * * *"})
    assert line.startswith("system.cron.schedule")
    assert "minute='60' must be 0 to 59" in line
    assert "\n" not in line
