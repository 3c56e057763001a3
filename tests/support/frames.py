"""Results made by hand, with the columns of a real one and a known truth."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from sim.flow import OUTCOMES
from sim.judgement.targets import load_targets
from sim.results.result import STATION_COLUMNS, TIME_COLUMNS, Result
from sim.scenario.platform import load_platform
from tests.project.tidy import ROOT

PLATFORM = load_platform(ROOT / "scenarios/platform/2026-11.toml")

TARGETS_PATH = ROOT / "scenarios/targets.toml"
TARGETS = load_targets(TARGETS_PATH)


def distribution(mean: float) -> SimpleNamespace:
    """A distribution of which only the mean matters."""
    return SimpleNamespace(expected=lambda: mean)


def scenario(*, policy: str = "hardened", mix: dict[str, float] | None = None) -> Any:
    """As much of a scenario as judgement, cost and availability look at."""
    workload = SimpleNamespace(
        mix=mix or {"log": 0.6, "search": 0.2, "upload": 0.1, "download": 0.1},
        keys=SimpleNamespace(count=10, zipf=1.0),
        sizes=SimpleNamespace(upload_bytes=distribution(1e6), download_bytes=distribution(1e6)),
    )
    system = SimpleNamespace(
        workers=SimpleNamespace(cpu_ms=distribution(7.0)),
        durable_objects=SimpleNamespace(shards="per_org", output_gate_ms=distribution(10.0)),
        ledger=SimpleNamespace(
            policy=policy, write_ms=distribution(2.0), read_ms=distribution(1.0), event_bytes=200, flush_interval_s=60.0
        ),
        d1=SimpleNamespace(rtt_ms=distribution(10.0), write_ms=distribution(5.0)),
    )
    return SimpleNamespace(
        name="by-hand", seed=1, workload=workload, system=system, targets_path=TARGETS_PATH, facts=PLATFORM
    )


def frame(latency_ms: Any, *, route: str = "log", outcome: Any = "ok", **columns: Any) -> pd.DataFrame:
    """A frame of requests a millisecond apart; columns that are not given are zero."""
    latency_ms = np.asarray(latency_ms, dtype=float)
    n = len(latency_ms)
    outcomes = [outcome] * n if isinstance(outcome, str) else list(outcome)
    whole: dict[str, Any] = {
        "request": np.arange(n),
        "route": pd.Categorical([route] * n),
        "key": np.zeros(n, dtype=np.int64),
        "size_bytes": np.zeros(n, dtype=np.int64),
        "arrival_ms": np.arange(n, dtype=float),
        "latency_ms": latency_ms,
        "outcome": pd.Categorical(outcomes, categories=list(OUTCOMES)),
        "attempts": np.ones(n, dtype=np.int16),
        **{name: np.zeros(n) for name in TIME_COLUMNS},
    }
    return pd.DataFrame({**whole, **columns})


def result(requests: pd.DataFrame, **fields: Any) -> Result:
    """A result that holds *requests*."""
    stations = pd.DataFrame([], columns=list(STATION_COLUMNS))
    given = {"scenario": scenario(), "on": "by hand", "seed": 1, "stations": stations, "duration_s": 1.0, **fields}
    return Result(frame=requests, **cast("Any", given))
