"""Results made by hand, with the columns of a real one and a known truth."""

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import numpy as np
import pandas as pd

from sim.flow import OUTCOMES
from sim.judgement.targets import load_targets
from sim.results.result import STATION_COLUMNS, Result
from sim.scenario.platform import load_platform
from sim.scenario.scenario import Scenario, load_scenario
from tests.project.tidy import ROOT

PLATFORM = load_platform(ROOT / "scenarios/platform/2026-11.toml")

TARGETS_PATH = ROOT / "scenarios/targets.toml"
TARGETS = load_targets(TARGETS_PATH)


NUMBERS: dict[str, Any] = {
    "name": "by-hand",
    "seed": 1,
    "workload.keys.count": 10,
    "workload.keys.zipf": 1.0,
    "routes.upload.size_bytes": 1e6,
    "routes.download.size_bytes": 1e6,
    "system.workers.cpu_ms": 7.0,
    "system.durable_objects.output_gate_ms": 10.0,
    "system.ledger.write_ms": 2.0,
    "system.ledger.read_ms": 1.0,
    "system.ledger.event_bytes": 200,
    "system.ledger.flush_interval_s": 60.0,
    "system.d1.rtt_ms": 10.0,
    "system.d1.write_ms": 5.0,
}
"""What arithmetic by hand rests on: every distribution a constant."""


def scenario(changes: Mapping[str, Any] | None = None, *, shares: Mapping[str, float] | None = None) -> Scenario:
    """The default scenario with round numbers, other *shares* of its routes, and *changes* of its own."""
    return _scenario(tuple((shares or {}).items()), tuple((changes or {}).items()))


@cache
def _scenario(shares: tuple[tuple[str, float], ...], changes: tuple[tuple[str, Any], ...]) -> Scenario:
    mixed = dict(shares) or {"log": 0.6, "search": 0.2, "upload": 0.1, "download": 0.1}
    return load_scenario("launch").with_(**NUMBERS).with_shares(**mixed).with_(**dict(changes))


def frame(latency_ms: Any, *, route: str = "log", outcome: Any = "ok", **columns: Any) -> pd.DataFrame:
    """A frame of requests a millisecond apart; columns that are not given are zero; times are :func:`scenario`'s."""
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
        **{name: np.zeros(n) for name in scenario().time_columns},
    }
    return pd.DataFrame({**whole, **columns})


def result(requests: pd.DataFrame, **fields: Any) -> Result:
    """A result that holds *requests*."""
    stations = pd.DataFrame([], columns=list(STATION_COLUMNS))
    given = {"scenario": scenario(), "on": "by hand", "seed": 1, "stations": stations, "duration_s": 1.0, **fields}
    return Result(frame=requests, **cast("Any", given))
