"""A deployment that is one M/M/1 queue: searches only, and of a search only the time in D1's queue and thread."""

from pathlib import Path
from typing import Any

from sim.results.metrics import unit_of
from sim.scenario.scenario import Scenario, load_scenario

MU_PER_S = 200.0
"""Service rate; the P99 of latency is ln 100 / (MU_PER_S - arrival rate) seconds."""

NOTHING = {"distribution": "constant", "value": 0.0}

CHANGES: dict[str, Any] = {
    "workload.arrivals": {"kind": "poisson", "rate_per_s": 50.0},
    "system.network.client_rtt_ms": NOTHING,
    "system.workers.cpu_ms": NOTHING,
    "system.workers.cold_fraction": 0.0,
    "system.d1.rtt_ms": NOTHING,
    "system.d1.read_ms": {"distribution": "exponential", "mean": 1000 / MU_PER_S},
    "system.client.timeout_ms": 1e6,
    "system.d1.queue_limit": 1_000_000,
}

TARGET = """
[[targets]]
metric = "{metric}"
statistic = "p99"
target = {target}
alert = {alert}
direction = "below"
unit = "{unit}"
"""


def judged_by(folder: Path, *rows: tuple[str, float]) -> Scenario:
    """Return launch with P99 targets alone, each a metric and its line; the alert is at twice that."""
    path = folder / "targets.toml"
    lines = (TARGET.format(metric=name, target=line, alert=2 * line, unit=unit_of(name)) for name, line in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return load_scenario("launch").with_(targets=str(path))


def as_one_queue(launch: Scenario, **changes: Any) -> Scenario:
    """Return launch without all else; *changes* come last."""
    return launch.with_(**{**CHANGES, **changes}).with_shares(search=1.0)
