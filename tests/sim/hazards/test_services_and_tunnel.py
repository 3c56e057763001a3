"""Hazards of R2, KV, the tunnel and the services around them, simulated beside their formulas."""

from typing import Any

import numpy as np
import pytest

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.recording import Recording
from sim.randomness.distributions import Constant
from sim.scenario.schedule import Schedule
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.schedules import at, poisson
from tests.support.shown import SMALL, at_rate, error_of_a_share, played, shown

ONE_KEY = KNOWN_TIMES.with_(**{"workload.keys.count": 1})
KV = {
    "component": "kv", "hot_ms": 7.0, "cold_ms": 200.0, "cache_ttl_s": 60.0, "write_ms": 60.0, "list_ms": 80.0,
    "value_bytes_max": 26_214_400, "writes_per_s": 1.0,
}  # fmt: skip
"""A namespace with the platform's limits: 25 MiB, one write of a key a second."""
UPLOADS = {"distribution": "uniform", "low": 50e6, "high": 500e6}
"""The brief's adapters: 50 to 500 MB."""
OK = 0
"""Code of the outcome of a request that succeeds."""


def simulated(flow: f.Flow, schedule: Schedule) -> Recording:
    """Play steps of the model, without components, on both engines."""
    found = compiled_engine.simulate(flow, schedule, seed=1)
    if len(schedule) <= SMALL:
        other = simpy_engine.simulate(flow, schedule, seed=1)
        np.testing.assert_array_equal(found.latency_ms, other.latency_ms)
        np.testing.assert_array_equal(found.outcome, other.outcome)
    return found


def constant(value: float) -> Constant:
    return Constant(value=value)


# --- Objects: steps without a component -----------------------------------------------------------


def test_h11_a_ceiling_that_is_checked_before_the_charge() -> None:
    """Requests that are under way when the ceiling is reached are charged too: one charge for each of them."""
    balance, ceiling, concurrent = f.Counter("balance"), 500, 40
    work = f.Delay(constant(concurrent * 10.0 + 5.0), "work.ms")
    late = (f.Guard(f.CountAtLeast(balance, ceiling), "refused"), work, f.Count(balance))
    charged = (simulated(late, at(np.arange(2_000) * 10.0 + 1.0)).outcome == OK).sum()
    shown("H11", "charges over the ceiling, 40 concurrent", formula=concurrent, simulated=charged - ceiling, within=0)


@pytest.mark.parametrize("gate", ["open", "closed"])
def test_h16_an_external_call_of_an_object(gate: str) -> None:
    """The call holds the object (``blockConcurrencyWhile``, a closed gate) or does not."""
    own_ms, call_ms, requests = 5.0, 45.0, 2_000
    own, external = f.Delay(constant(own_ms), "own.ms"), f.Delay(constant(call_ms), "call.ms")
    place = f.Station("object")
    flow = (f.Hold(place, (own, external)),) if gate == "closed" else (f.Hold(place, (own,)), external)
    found = simulated(flow, at(np.zeros(requests)))
    rate = requests / (found.arrival_ms + found.latency_ms).max() * 1_000
    formula = 1_000 / (own_ms + (call_ms if gate == "closed" else 0.0))
    shown("H16", f"requests/s of an object, gate {gate}", formula=formula, simulated=rate, within=0.01)


def test_h68_a_lock_without_fencing() -> None:
    """Sizes of 50 to 500 MB at 3.3 MB/s against a lock of 30 s: all above 99 MB hold it too long."""
    lock, speed = f.Counter("lock"), 3.3e6
    release = f.Spawn((f.Reset(lock),), "lock.expiry", after=constant(30_000.0))
    upload = f.Transfer(f.Link("store", bytes_per_s=speed), "store")
    flow = (f.Guard(f.CountAtLeast(lock, 1), "refused"), f.Count(lock), release, upload)
    rng = np.random.default_rng(7)
    asked = poisson(60_000, rate_per_s=1.0)
    asked = at(asked.arrival_ms, size_bytes=rng.uniform(50e6, 500e6, 60_000).astype(np.int64))
    found = simulated(flow, asked)
    held = found.outcome == OK
    begun, ended = found.arrival_ms[held], (found.arrival_ms + found.latency_ms)[held]
    two = (begun[1:] < ended[:-1]).mean()
    # The next holder comes 1 s after the lock's end on average, and finds the first at work if that lasts longer.
    longest, shortest, lock_s = 500e6 / speed, 50e6 / speed, 30.0
    formula = (longest - lock_s - 1.0) / (longest - shortest)
    within = error_of_a_share(formula, int(held.sum()))
    shown("H68", "share of locks with two holders, 50 to 500 MB", formula=formula, simulated=two, within=within)


@pytest.mark.parametrize(("chance", "fit"), [(0.2, 2), (0.3, 3)])
def test_h38_heartbeats_that_are_lost(chance: float, fit: int) -> None:
    """A connection lives until *fit* heartbeats in a row are lost, p^k each time: (p^-k - 1) / (1 - p) heartbeats."""
    clients, every_ms = 1_500, 10_000.0
    lost, dead = (f.Counter(name, instances=clients) for name in ("lost", "dead"))
    beat = (
        f.Delay(constant(every_ms), "beat.ms"),
        f.Branch(f.Chance(chance, "beat.lost"), (f.Count(lost),), (f.Reset(lost),)),
        f.Branch(f.CountAtLeast(lost, fit), (f.Count(dead),)),
    )
    flow = (
        f.Repeat(f.CountAtLeast(dead, 0), (*beat, f.Guard(f.CountAtLeast(dead, 1), "error")), "beat.n", limit=100_000),
    )
    found = simulated(flow, at(np.arange(clients) * 1.0, key=np.arange(clients)))
    beats = found.latency_ms.mean() / every_ms
    formula = (chance**-fit - 1) / (1 - chance)
    what = f"heartbeats until {fit} in a row are lost, {chance:.0%} loss"
    shown("H38", what, formula=formula, simulated=beats, within=0.08)


# --- R2 and KV ------------------------------------------------------------------------------------


def test_h32_orphans_of_an_adapter() -> None:
    """Three objects and a row: where the row fails, the objects stay. The first half of a run has half of them."""
    requests, chance = 60_000, 0.05
    changes = {"system.d1.error_chance": chance, "system.d1.read_retries": 0, **at_rate(50.0, requests)}
    steps = ({"use": "r2.put", "times": 3}, "d1.write")
    frame = played(of_steps(*steps, scenario=KNOWN_TIMES.with_(**changes)), requests).frame
    orphaned = ((frame["outcome"] == "error") & (frame["r2_ms"] > 0)).to_numpy()
    within = error_of_a_share(chance, requests)
    shown(
        "H32",
        "orphans of 60,000 uploads, 5 % of rows fail",
        formula=requests * chance,
        simulated=orphaned.sum(),
        within=within,
    )
    half = orphaned[: requests // 2].sum()
    shown("H32", "orphans of the first half", formula=requests * chance / 2, simulated=half, within=2 * within)


def test_h34_an_adapter_does_not_fit_into_kv() -> None:
    size = {"distribution": "uniform", "low": 50e6, "high": 200e6}
    scenario = of_steps("kv.put", scenario=KNOWN_TIMES.with_(**{"system.kv": KV}), size_bytes=size)
    stored = (played(scenario, 4_000).frame["outcome"] == "ok").sum()
    shown("H34", "adapters of 50 to 200 MB that KV takes", formula=0, simulated=stored, within=0)


@pytest.mark.parametrize(("rate_per_min", "kind"), [(50, "constant"), (60.1, "constant"), (100, "poisson")])
def test_h63_a_limiter_in_kv(rate_per_min: float, kind: str) -> None:
    """One key takes a write a second: of constant arrivals each ceil(gap)-th, of Poisson ones 1 / (1 + 1 / rate)."""
    requests, rate_per_s = 40_000, rate_per_min / 60
    changes = {"system.kv": KV, **at_rate(rate_per_s, requests, kind=kind)}
    step = {"use": "kv.put", "new_fraction": 0.0}
    frame = played(of_steps(step, scenario=ONE_KEY.with_(**changes)), requests).frame
    refused = (frame["outcome"] == "refused").mean()
    formula = rate_per_s / (1 + rate_per_s) if kind == "poisson" else 1 - 1 / np.ceil(rate_per_s)
    within = error_of_a_share(formula, requests) if kind == "poisson" else 0.001
    what = f"share of writes refused, {rate_per_min:g} a minute ({kind})"
    shown("H63", what, formula=formula, simulated=refused, within=within)


def test_h64_a_route_that_records_nothing() -> None:
    requests, share = 40_000, 0.3
    routes = {
        "chat": {"share": 1 - share, "steps": ["workers.compute", "ledger.append"]},
        "stream": {"share": share, "steps": ["workers.compute"]},
    }
    frame = played(KNOWN_TIMES.with_(routes=routes, **at_rate(50.0, requests)), requests).frame
    unbilled = (frame["ledger_ms"] == 0).mean()
    within = error_of_a_share(share, requests)
    shown("H64", "share of requests without a usage event", formula=share, simulated=unbilled, within=within)


@pytest.mark.parametrize("documents", [10, 100])
def test_h66_documents_one_after_another(documents: int) -> None:
    changes = {"system.d1.rtt_ms": 6.0, **at_rate(0.01, 20)}
    step = {"steps": ["r2.put", "d1.write"], "times": documents}
    frame = played(of_steps(step, scenario=KNOWN_TIMES.with_(**changes)), 20).frame
    formula = documents * (29.0 + 6.0 + 7.0)
    shown("H66", f"ms of {documents} documents", formula=formula, simulated=frame["latency_ms"].median(), within=1e-6)


# --- Tunnel ---------------------------------------------------------------------------------------


def test_h41_streams_of_a_tunnel() -> None:
    requests = 4_000
    tunnel = {"system.tunnel.streams": 100, "system.tunnel.overhead_ms": 0.0, "system.r2.get_ms": 2_500.0}
    scenario = KNOWN_TIMES.with_(**tunnel, **at_rate(80.0, requests))
    frame = played(of_steps("r2.get", scenario=scenario, enter="tunnel"), requests).frame
    rate = requests / (frame["arrival_ms"] + frame["latency_ms"]).max() * 1_000
    shown("H41", "requests/s of 100 streams, answers of 2.5 s", formula=40.0, simulated=rate, within=0.02)


def test_h42_answers_over_the_limit() -> None:
    size: dict[str, Any] = {"distribution": "uniform", "low": 0, "high": 2_000_000}
    scenario = of_steps("r2.get", scenario=KNOWN_TIMES, enter="tunnel", size_bytes=size)
    frame = played(scenario, 20_000).frame
    share = 1 - 1_048_576 / 2_000_000
    lost = (frame["outcome"] == "too_large").mean()
    within = error_of_a_share(share, 20_000)
    shown("H42", "share of work wasted, answers of 0 to 2 MB", formula=share, simulated=lost, within=within)
