"""Heartbeat and idle timeout of a tunnel: how often a request finds its connection dead.

One connection of one device is simulated, with the requests of that device alone. A connection that is quiet for longer
than its idle timeout, or than the timer of a NAT on the way, is dead or unknown; the next request pays for a new one. A
heartbeat that comes before the timer prevents it, and costs datagrams. A longer timeout prevents it, too, but says
later that the other side is gone.

Sources
-------
For Poisson requests of rate λ, a request finds the connection quiet for longer than T with probability exp(-λ T), which
stands beside each choice. A heartbeat as long as the timeout comes too late (hazard H36).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, exp
from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.experiments.sizing.choices import Option, Sizing, compared
from sim.experiments.sizing.runs import TAIL, long_enough, over_seeds, reached, run_once
from sim.foundation.errors import UsageError
from sim.results.metrics import ended, judged
from sim.scenario.generation import mean_rate_per_s
from sim.statistics.quantiles import quantile

if TYPE_CHECKING:
    from sim.models.tunnel import Tunnel
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Key = Literal["heartbeat_s", "idle_timeout_s"]

HEARTBEATS_S = (0, 60, 45, 30, 25, 20, 15, 10, 5)
"""The plainest first: none at all, then ever more traffic."""

TIMEOUTS_S = (5, 10, 15, 30, 60, 120, 300)
"""The shortest first: it says soonest that the other side is gone."""

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class _Ask:
    """What is varied, and what it is called."""

    what: str
    key: Key
    question: str
    falsified_by: str


HEARTBEAT = _Ask(
    "heartbeat", "heartbeat_s", "How often must a device say that it is there?",
    "a device whose connections die between heartbeats of this length, on a network without loss",
)  # fmt: skip
IDLE = _Ask(
    "idle", "idle_timeout_s", "After how long a silence is a connection given up?",
    "a share of requests that make a new connection, counted at the gateway, beyond exp(-rate x timeout)",
)  # fmt: skip


def heartbeat(
    scenario: "Scenario",
    *,
    values: Sequence[float] | None = None,
    seeds: int,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare times between heartbeats (s; 0: none) by the P99 of the time that the tunnel adds."""
    return _sized(scenario, HEARTBEAT, HEARTBEATS_S if values is None else values, seeds, on_progress)


def idle(
    scenario: "Scenario",
    *,
    values: Sequence[float] | None = None,
    seeds: int,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare idle timeouts (s) by the P99 of the time that the tunnel adds."""
    return _sized(scenario, IDLE, TIMEOUTS_S if values is None else values, seeds, on_progress)


def _sized(
    scenario: "Scenario",
    ask: _Ask,
    values: Sequence[float],
    seeds: int,
    on_progress: Callable[[str], None] | None,
) -> Sizing:
    tunnel = reached(scenario, "tunnel", what=ask.what)
    if ask is HEARTBEAT and not (tunnel.table.idle_timeout_s or tunnel.table.nat_timeout_s):
        path = f"system.{tunnel.name}.idle_timeout_s"
        raise UsageError(f"{path}=0 must be > 0 to size a heartbeat: no connection ever dies (--set {path}=30)")
    device = of_one_device(scenario, tunnel.name)
    rate_per_s = rate_of_one_device(scenario, tunnel.name)
    variants = [device.with_(**{f"system.{tunnel.name}.{ask.key}": float(one)}) for one in values]
    observe = partial(_observe, name=tunnel.name)
    plays = [partial(run_once, long_enough(one, warm_up_s=0.0), observe=observe) for one in variants]
    seen = over_seeds(plays, seed=scenario.seed, seeds=seeds, on_progress=on_progress)
    options = [
        Option(
            float(value),
            "none" if not value else f"{value:g} s",
            0.0,
            row["p99_ms"],
            _beside(variant.system.instances[tunnel.name].table, rate_per_s, failed=float(row["failed"].mean())),
        )
        for value, variant, row in zip(values, variants, seen, strict=True)
    ]
    choices, place = compared(options, unit="ms")
    return Sizing(
        scenario, ask.what, ask.question, "P99 of the tunnel's own time, ms", "below", choices, place, seeds,
        falsified_by=ask.falsified_by,
        notes=(
            (
                f"one connection a key of the scenario: {rate_per_s * 3600:.3g} requests an hour each; heartbeats are "
                "not lost here: losses borne says how many in a row a connection survives"
            ),
            "the gateway is the owner's own machine: heartbeats are on nobody's bill",
        ),
    )  # fmt: skip


def of_one_device(scenario: "Scenario", name: str) -> "Scenario":
    """Return *scenario* with the requests of one of its devices alone: those that enter by the tunnel, of one key."""
    alone = scenario.with_shares(**{route: scenario.shares[route] for route in _entering(scenario, name)})
    return alone.at_rate(rate_of_one_device(scenario, name))


def rate_of_one_device(scenario: "Scenario", name: str) -> float:
    """Return the mean requests a second of one of the tunnel's devices, of which there are as many as keys."""
    routes = _entering(scenario, name)
    keys = max(scenario.population(route).count for route in routes)
    return mean_rate_per_s(scenario) * sum(scenario.shares[route] for route in routes) / keys


def _entering(scenario: "Scenario", name: str) -> list[str]:
    return [route for route, one in scenario.routes.items() if one.enter == name]


def _beside(table: "Tunnel", rate_per_s: float, *, failed: float) -> dict[str, float]:
    """Return what the closed forms say of a connection."""
    timers_s = [timer for timer in (table.idle_timeout_s, table.nat_timeout_s) if timer]
    first_s = min(timers_s, default=0.0)
    kept = 0 < table.heartbeat_s < first_s
    return {
        "found quiet, %": 100 * exp(-rate_per_s * first_s) if first_s and not kept else 0.0,
        "losses borne": float(ceil(first_s / table.heartbeat_s) - 2) if kept else 0.0,
        "datagrams a day": SECONDS_PER_DAY / table.heartbeat_s if table.heartbeat_s else 0.0,
        "gone is noticed after, s": table.idle_timeout_s,
        "failed, %": 100 * failed,
    }


def _observe(result: "Result", *, name: str) -> dict[str, float]:
    frame = judged(result.steady().frame)
    good = ended(frame, "ok")
    own_ms = (frame[f"{name}_ms"] + frame[f"{name}_queue_ms"]).to_numpy()
    return {"p99_ms": quantile(np.where(good, own_ms, np.inf), TAIL), "failed": float(np.mean(~good))}
