"""Where may state live that is read much: how many reads miss a write that was made before them, and by how long.

Four places get the same reads and writes. An object and a database answer in the order of the requests, so no read is
stale. A read replica shows a write only after its lag. A cache of KV shows what it fetched until its copy expires, to
readers at another location than the writer's. Requests act when they arrive: milliseconds of latency are nothing beside
seconds of staleness.

Sources
-------
For Poisson writes of rate μ: a read of a replica of lag L is stale with probability 1 - E exp(-μ L). A copy is fetched
by the first read after the last one expired, so that with reads of rate λ one read in 1 + λ T fetches, and the others
find a copy of an age that is uniform up to the time to live T. Lag of a D1 replica, where the scenario says none: one
user's measurement across the Pacific, P50 0.8 s and P99 6.1 s (gyaansetu.com), confidence M. KV: "a change may take 60
seconds or more to be seen".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sim.experiments.replications import spawned_seeds
from sim.foundation.errors import UsageError
from sim.randomness.distributions import AnyDistribution, Lognormal
from sim.scenario.generation import schedule
from sim.statistics.intervals import Estimate, mean_interval
from sim.statistics.quantiles import quantile

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Place = Literal["object", "database", "replica", "cache"]
PLACES: tuple[Place, ...] = get_args(Place)
SEEDS = 8
REPLICA_LAG_MS = Lognormal(median=800.0, p99=6_100.0)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StaleReads:
    """The reads that one place answers with an old value.

    Attributes
    ----------
    place : str
    reads : int
        Of all seeds.
    stale : Estimate
        Their share; the interval is over the seeds.
    predicted_share : float
        By the closed form, with the rates of reads and writes of each key that were played.
    behind_s_p99 : float
        P99, over the stale reads, of the time since the first write that they miss; 0 where none is stale.
    """

    place: Place
    reads: int
    stale: Estimate
    predicted_share: float
    behind_s_p99: float


def stale_reads(
    scenario: "Scenario", place: Place, *, write_share: float = 0.2, rng: int | None = None, seeds: int = SEEDS
) -> StaleReads:
    """Play *scenario*'s requests as reads and writes of their keys' state in one place.

    Parameters
    ----------
    scenario : Scenario
        Its arrivals and keys, ``[system.kv] cache_ttl_s``, and the lag of its first database that has replicas; its
        routes do not matter.
    place : {"object", "database", "replica", "cache"}
    write_share : float
        Of the requests, in [0, 1).
    rng : int, optional
        Seed; the scenario's own if None.
    seeds : int
        Replications, at least 2.

    Raises
    ------
    UsageError
        There is no such place, or a number is outside of its range.
    """
    if place not in PLACES:
        raise UsageError(f"place={place!r} must be one of {', '.join(PLACES)}")
    if not 0 <= write_share < 1:
        raise UsageError(f"write_share={write_share:g} must be in [0, 1): some requests must read")
    if seeds < 2:
        raise UsageError(f"seeds={seeds} must be >= 2: one seed has no interval")
    ttl_ms = scenario.system.of("kv")[0].table.cache_ttl_s * 1000
    runs = [
        _run(scenario, place, seed, write_share=write_share, ttl_ms=ttl_ms)
        for seed in spawned_seeds(scenario.seed if rng is None else rng, seeds)
    ]
    behind_ms = np.concatenate([behind for behind, _ in runs])
    late = behind_ms[behind_ms > 0]
    return StaleReads(
        place=place,
        reads=int(sum(len(behind) for behind, _ in runs)),
        stale=mean_interval([float((behind > 0).mean()) for behind, _ in runs], method="independent"),
        predicted_share=float(np.mean([share for _, share in runs])),
        behind_s_p99=quantile(late, 0.99) / 1000 if len(late) else 0.0,
    )


def _run(scenario: "Scenario", place: Place, seed: int, *, write_share: float, ttl_ms: float) -> tuple[Array, float]:
    """Return how far each read is behind, shape (reads,), and the share that the closed form expects."""
    planned, rng = schedule(scenario, seed), np.random.default_rng(seed)
    writes = rng.random(len(planned)) < write_share
    lag = _lag(scenario)
    lag_ms = lag.sample(rng.random((lag.draws, len(planned))))
    seen_until: Callable[[Array, Array], Array] = {
        "replica": lambda at, lag: at - lag,
        "cache": lambda at, _: _fetched(at, ttl_ms),
    }.get(place, lambda at, _: at)
    behind, expected, reads = [], 0.0, 0
    span_ms = float(planned.arrival_ms[-1] - planned.arrival_ms[0])
    for key in np.unique(planned.key):
        mine = planned.key == key
        at, written = planned.arrival_ms[mine & ~writes], planned.arrival_ms[mine & writes]
        behind.append(_behind(at, seen_until(at, lag_ms[mine & ~writes]), written))
        reads += len(at)
        expected += len(at) * _expected(place, len(at) / span_ms, len(written) / span_ms, lag_ms, ttl_ms)
    return np.concatenate(behind), expected / max(reads, 1)


def _lag(scenario: "Scenario") -> AnyDistribution:
    """Return the lag of the scenario's own replicas, or where it has none the one that a user measured."""
    lags = [one.table.replica_lag_ms for one in scenario.system.of("d1") if one.table.replicas is not None]
    return lags[0] if lags else REPLICA_LAG_MS


def _behind(at: Array, seen_until: Array, written: Array) -> Array:
    """Return the time since the first write that each read misses, shape (reads,); 0 for none."""
    first = np.searchsorted(written, seen_until, side="right")
    missed = np.append(written, np.inf)[first]
    return np.where(missed < at, at - missed, 0.0)


def _fetched(at: Array, ttl_ms: float) -> Array:
    """Return when the copy that each read finds was fetched, shape (reads,): by a read at or before it."""
    fetched, place = np.empty(len(at)), 0
    while place < len(at):
        end = int(np.searchsorted(at, at[place] + ttl_ms, side="left"))
        fetched[place : max(end, place + 1)] = at[place]
        place = max(end, place + 1)
    return fetched


def _expected(place: Place, read_per_ms: float, write_per_ms: float, lag_ms: Array, ttl_ms: float) -> float:
    """Return the share of a key's reads that the closed form expects to be stale."""
    if place == "replica":
        return float(-np.expm1(-write_per_ms * lag_ms).mean())
    if place != "cache" or not write_per_ms:
        return 0.0
    missing_ms = ttl_ms + np.expm1(-write_per_ms * ttl_ms) / write_per_ms
    return float(read_per_ms * missing_ms / (1 + read_per_ms * ttl_ms))
