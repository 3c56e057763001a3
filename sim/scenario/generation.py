"""The schedule that follows from a scenario and a seed: when each request comes, what it asks, for whom, how large.

Every attribute of request number *i* is looked up under its own stream (:mod:`sim.randomness.streams`). So another mix
keeps the arrivals, another rate keeps the keys, and a schedule is the same wherever it is made.
"""

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.free_memory import check_fits
from sim.randomness.distributions import AnyDistribution
from sim.randomness.streams import checked_seed, stream_key, uniforms
from sim.scenario.arrivals import BYTES_PER_REQUEST, Closed, TraceReplay
from sim.scenario.schedule import Schedule
from sim.scenario.schema import PAGE
from sim.scenario.trace import ROUTES, Trace, read_trace
from sim.scenario.workload import Keys, Route, Sizes, Workload

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

CATALOGUE = 16
"""Adapters that downloads ask for."""


def schedule(scenario: "Scenario", seed: int | None = None) -> Schedule:
    """Who sends what, and when.

    Parameters
    ----------
    scenario : Scenario
    seed : int or None
        Chooses every random number; None takes the scenario's own.

    Returns
    -------
    Schedule

    Raises
    ------
    ScenarioError
        The trace cannot be read, no request arrives, or too many would.
    """
    workload = scenario.workload
    seed = scenario.seed if seed is None else checked_seed(seed)
    arrivals = workload.arrivals
    if isinstance(arrivals, Closed):
        return _closed(workload, arrivals, seed=seed)
    if isinstance(arrivals, TraceReplay):
        trace = read_trace(scenario.find(arrivals.file)).clipped(arrivals.clip_start_s, arrivals.clip_end_s)
        trace = trace.resampled(seed) if arrivals.resample else trace
        trace = trace.scaled(arrivals.time_scale)
        _check_warm_up(workload, float(trace.arrival_ms[-1]))
        return _schedule(workload, seed, arrival_ms=trace.arrival_ms, duration_ms=trace.duration_ms, trace=trace)
    time_s = arrivals.times_s(seed, duration_s=workload.duration_s, requests=workload.requests)
    if len(time_s) == 0:
        raise ScenarioError(f"workload.duration_s={workload.duration_s:g} ends before the first arrival ({PAGE})")
    _check_warm_up(workload, float(time_s[-1]) * 1000)
    duration_s = workload.duration_s or float(time_s[-1])
    return _schedule(workload, seed, arrival_ms=time_s * 1000, duration_ms=duration_s * 1000)


def _check_warm_up(workload: Workload, last_ms: float) -> None:
    if workload.warm_up_s * 1000 > last_ms:
        rule = f"must be <= {last_ms / 1000:g}, the last arrival"
        raise ScenarioError(f"workload.warm_up_s={workload.warm_up_s:g} {rule} ({PAGE})")


def catalogue_bytes(sizes: Sizes) -> NDArray[np.int64]:
    """Sizes of the adapters that downloads ask for, shape (16,): quantiles of their law."""
    return _whole(sizes.download_bytes.quantile((np.arange(CATALOGUE) + 0.5) / CATALOGUE), least=1)


def _closed(workload: Workload, arrivals: Closed, *, seed: int) -> Schedule:
    assert workload.requests is not None, "Workload asks for requests with a closed loop"
    check_fits(workload.requests * BYTES_PER_REQUEST, f"{workload.requests:,} requests to come need")
    think_ms = _drawn(arrivals.think_ms, seed, "workload.think", workload.requests)
    mean_ms = float(think_ms.mean())
    return _schedule(
        workload,
        seed,
        arrival_ms=np.zeros(workload.requests),
        duration_ms=max(workload.requests * mean_ms / arrivals.users, 1.0),
        user=np.arange(workload.requests) % arrivals.users,
        think_ms=think_ms,
    )


def _schedule(
    workload: Workload,
    seed: int,
    *,
    arrival_ms: NDArray[np.float64],
    duration_ms: float,
    trace: Trace | None = None,
    user: NDArray[np.int64] | None = None,
    think_ms: NDArray[np.float64] | None = None,
) -> Schedule:
    """Give every arrival its route, key, sizes and tokens: the trace's where it has them, else the laws'."""
    n = len(arrival_ms)
    route_code = _recorded(trace, "route_code", _routes(workload.mix, seed, n))
    is_upload, is_download = (route_code == ROUTES.index(route) for route in ("upload", "download"))
    upload_bytes = _whole(_drawn(workload.sizes.upload_bytes, seed, "workload.upload_bytes", n), least=1)
    lora, download_bytes = _downloads(workload.sizes, seed, n, trace=trace)
    return Schedule(
        route_code=route_code,
        arrival_ms=arrival_ms,
        key=_recorded(trace, "key", _keys(workload.keys, seed, n)),
        size_bytes=np.select(
            [is_download, is_upload], [download_bytes, _recorded(trace, "size_bytes", upload_bytes)], 0
        ),
        tokens_in=_recorded(trace, "tokens_in", _tokens(workload.tokens.tokens_in, seed, "tokens_in", n)),
        tokens_out=_recorded(trace, "tokens_out", _tokens(workload.tokens.tokens_out, seed, "tokens_out", n)),
        lora=np.select([is_download, is_upload], [lora, CATALOGUE + np.arange(n)], -1),
        duration_ms=duration_ms,
        warm_up_ms=workload.warm_up_s * 1000,
        user=user,
        think_ms=think_ms,
    )


def _recorded(trace: Trace | None, column: str, otherwise: NDArray[Any]) -> NDArray[Any]:
    """The trace's column, or *otherwise* when there is none."""
    found: NDArray[Any] | None = getattr(trace, column, None)
    return otherwise if found is None else found


def _drawn(law: AnyDistribution, seed: int, stream: str, n: int) -> NDArray[np.float64]:
    index = np.arange(n)
    return law.sample(np.stack([uniforms(stream_key(seed, stream), index, draw=draw) for draw in range(law.draws)]))


def _whole(values: NDArray[np.float64], *, least: int = 0) -> NDArray[np.int64]:
    return np.maximum(np.rint(values), least).astype(np.int64)


def _tokens(law: AnyDistribution, seed: int, name: str, n: int) -> NDArray[np.int64]:
    return _whole(_drawn(law, seed, f"workload.{name}", n))


def _routes(mix: dict[Route, float], seed: int, n: int) -> NDArray[np.int16]:
    weights = np.array([mix.get(route, 0.0) for route in get_args(Route)])
    return _chosen(weights, uniforms(stream_key(seed, "workload.route"), np.arange(n))).astype(np.int16)


def _keys(keys: Keys, seed: int, n: int) -> NDArray[np.int64]:
    weights = np.arange(1, keys.count + 1, dtype=np.float64) ** -keys.zipf
    return _chosen(weights, uniforms(stream_key(seed, "workload.key"), np.arange(n)))


def _chosen(weights: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions drawn in proportion to *weights*; one of weight 0 has no room between its neighbours."""
    edges = np.cumsum(weights)
    found = np.searchsorted(edges[:-1], u * edges[-1], side="right")
    # The product of a number below 1 and the total may be rounded up to the total, which is behind everything.
    return np.asarray(np.minimum(found, np.flatnonzero(weights)[-1]), dtype=np.int64)


def _downloads(sizes: Sizes, seed: int, n: int, *, trace: Trace | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the catalogue's adapters each request would fetch, and its size.

    A recorded size is served by the adapter nearest to it: nothing else can be downloaded.
    """
    catalogue = catalogue_bytes(sizes)
    if trace is not None and trace.size_bytes is not None:
        between = (catalogue[1:] + catalogue[:-1]) / 2
        lora = np.searchsorted(between, trace.size_bytes, side="right").astype(np.int64)
    else:
        lora = (uniforms(stream_key(seed, "workload.lora"), np.arange(n)) * CATALOGUE).astype(np.int64)
    return lora, catalogue[lora]


def shares(scenario: "Scenario") -> dict[str, float]:
    """Share of each route in the mix; 0 for a route that is not in it."""
    weights = {str(route): weight for route, weight in scenario.workload.mix.items()}
    total = sum(weights.values())
    return {route: weights.get(route, 0.0) / total for route in ROUTES}


def mean_rate_per_s(scenario: "Scenario") -> float:
    """Mean arrival rate of a whole schedule of *scenario*, which any kind of arrivals has."""
    played = schedule(scenario)
    return len(played) / (played.duration_ms / 1000)
