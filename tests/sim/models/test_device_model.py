"""The model of a device's disk: how many files fit, how long they take, what makes room; the reference beside it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim.judgement.cost import usage_per_month
from sim.scenario.deployment import findings
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario
from tests.support.in_step import on_the_reference
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, played

MODEL_BYTES = 4_700_000_000


def storing(*steps: Any, keys: int = 1, requests: int = 20, **device: Any) -> Scenario:
    numbers = {"disk_bytes": 15_000_000_000, "write_bytes_per_s": 470e6, "file_ms": 0.0, **device}
    changes: dict[str, Any] = {f"system.device.{key}": value for key, value in numbers.items()}
    changes |= {"workload.keys": {"count": keys, "zipf": 0}, "system.r2.bandwidth_bytes_per_s": 47e6}
    return of_steps(*steps, scenario=KNOWN_TIMES.with_(**changes, **at_rate(0.01, requests)))


def store(size: float = MODEL_BYTES) -> dict[str, Any]:
    return {"use": "device.store", "file_bytes": size}


@pytest.mark.parametrize(("disk_gb", "fit"), [(4, 0), (4.7, 1), (9.3, 1), (9.4, 2), (15, 3)])
def test_as_many_files_fit_as_the_disk_divides_into(disk_gb: float, fit: int) -> None:
    frame = played(storing(store(), disk_bytes=int(disk_gb * 1e9)), 10).frame
    assert frame["outcome"].astype(str).tolist() == ["ok"] * fit + ["too_large"] * (10 - fit)


def test_three_models_are_fetched_and_written_and_the_fourth_has_no_room() -> None:
    """100 s from R2 and 10 s to the disk for each; the fourth is refused after it was fetched in vain."""
    scenario = storing("r2.get", store()).with_(**{"routes.only.size_bytes": float(MODEL_BYTES)})
    frame = played(scenario, 4).frame
    assert frame["r2_ms"].to_numpy() == pytest.approx(23.0 + 100_000.0)
    assert frame["device_ms"].to_numpy() == pytest.approx([10_000.0] * 3 + [0.0])
    assert frame["outcome"].iloc[-1] == "too_large"
    assert not any(name.startswith("device") for name in usage_per_month(scenario, 1e6))


def test_who_removes_the_old_file_first_never_runs_out() -> None:
    steps = [{"use": "device.remove", "file_bytes": MODEL_BYTES}, store()]
    assert (played(storing(*steps, disk_bytes=5_000_000_000), 50).frame["outcome"] == "ok").all()


def test_each_device_has_a_disk_and_engines_and_reference_agree() -> None:
    removed = {"use": "device.remove", "file_bytes": 2e9, "chance": 0.1}
    times = {"distribution": "lognormal", "median": 5.0, "p99": 40.0}
    steps = (store(), {**store(2e9), "chance": 0.5}, removed)
    scenario = storing(*steps, keys=7, requests=200, file_ms=times)
    simulated = played(scenario, 200, seed=3).frame
    measured: pd.DataFrame = on_the_reference(scenario, schedule(scenario, 3).head(200), seed=3)
    assert measured["outcome"].astype(str).tolist() == simulated["outcome"].astype(str).tolist()
    ended = (simulated["outcome"] == "ok").to_numpy()
    np.testing.assert_allclose(measured["latency_ms"][ended], simulated["latency_ms"][ended], rtol=0, atol=1e-6)
    assert ended.sum() >= 7 * 2


def test_a_plan_says_how_many_files_fit() -> None:
    assert findings(storing(store())) == ("route only: device has room for 3 files of 4.7 GB in 15 GB",)
