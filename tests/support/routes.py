"""Scenarios with routes that a test writes itself, over a system whose every time is a known constant."""

from typing import Any

from sim.foundation.errors import ScenarioError
from sim.scenario.scenario import Scenario, load_scenario

OPERATION_MS = {
    "workers.compute": 2.0,
    "auth.compute": 3.0,
    "d1.read": 5.0,
    "d1.write": 7.0,
    "archive.read": 11.0,
    "archive.write": 13.0,
    "durable_objects.read": 17.0,
    "durable_objects.write": 19.0,
    "r2.get": 23.0,
    "r2.put": 29.0,
}
"""How long each operation takes when nobody is in its way."""

STATION_OF = {use: use.partition(".")[0] for use in OPERATION_MS if not use.startswith("r2.")}
"""The queue that each operation passes."""

_NUMBERS: dict[str, Any] = {
    "system.network.client_rtt_ms": 0.0,
    "system.client": {"timeout_ms": 1e9, "retries": 0, "backoff_ms": 0.0},
    "system.workers": {"isolates": 1_000, "cpu_ms": 2.0, "cold_start_ms": 0.0, "cold_fraction": 0.0},
    "system.auth": {"like": "workers", "cpu_ms": 3.0},
    "system.d1": {"rtt_ms": 0.0, "read_ms": 5.0, "write_ms": 7.0, "queue_limit": 100_000},
    "system.archive": {"like": "d1", "read_ms": 11.0, "write_ms": 13.0},
    "system.durable_objects": {
        "shards": "per_key", "rtt_ms": 0.0, "cold_start_ms": 0.0, "evict_idle_ms": 1e9, "output_gate_ms": 0.0,
        "queue_limit": 100_000, "read_ms": 17.0, "write_ms": 19.0,
    },
    "system.r2": {"put_ms": 29.0, "get_ms": 23.0, "bandwidth_bytes_per_s": 1e6},
}  # fmt: skip

KNOWN_TIMES = load_scenario("launch").with_(**_NUMBERS)
"""The default scenario, but for the ledger without a random time, with a second Worker and a second database."""


def of_steps(*steps: Any, scenario: Scenario = KNOWN_TIMES, **route: Any) -> Scenario:
    """A scenario whose only route, ``only``, takes these steps."""
    return scenario.with_(routes={"only": {"share": 1.0, "steps": list(steps), **route}})


def refusal(changes: dict[str, Any], *, scenario: Scenario = KNOWN_TIMES) -> list[str]:
    """What is wrong with changes of a scenario, a line each; nothing if they are right."""
    try:
        scenario.with_(**changes)
    except ScenarioError as error:
        return [str(error), *getattr(error, "__notes__", ())]
    return []
