"""Generate the schedule of a scenario and a seed: arrival time, route, key and size of every request.

Every attribute of request number *i* has its own stream of random numbers (:mod:`sim.randomness.streams`). So another
mix keeps the arrivals, another rate keeps the keys, and a schedule is the same on every machine.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.foundation.free_memory import check_fits
from sim.foundation.schema import PAGE
from sim.randomness.distributions import AnyDistribution
from sim.randomness.streams import checked_seed, in_blocks, stream_key, uniforms
from sim.scenario.arrivals import BYTES_PER_REQUEST, Closed, TraceReplay
from sim.scenario.recorded import recorded_weights, trace_of
from sim.scenario.routes import Route
from sim.scenario.schedule import Schedule
from sim.scenario.workload import Keys, Workload

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.traces.trace import Trace


def schedule(scenario: "Scenario", seed: int | None = None) -> Schedule:
    """Generate the schedule of *scenario*.

    Parameters
    ----------
    scenario : Scenario
    seed : int or None
        Seed of all random numbers; None takes the scenario's own.

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
    arrivals = scenario.arrivals
    if isinstance(arrivals, Closed):
        return _closed(scenario, arrivals, seed=seed)
    if isinstance(arrivals, TraceReplay):
        trace = trace_of(scenario)
        assert trace is not None, "these arrivals are a trace's"
        trace = trace.spread(seed)
        trace = trace.resampled(seed) if arrivals.resample else trace
        trace = trace.scaled(arrivals.time_scale)
        _check_warm_up(workload, float(trace.arrival_ms[-1]))
        return _schedule(scenario, seed, arrival_ms=trace.arrival_ms, duration_ms=trace.duration_ms, trace=trace)
    time_s = arrivals.times_s(seed, duration_s=workload.duration_s, requests=workload.requests)
    if len(time_s) == 0:
        raise ScenarioError(f"workload.duration_s={workload.duration_s:g} ends before the first arrival ({PAGE})")
    _check_warm_up(workload, float(time_s[-1]) * 1000)
    duration_s = workload.duration_s or float(time_s[-1])
    return _schedule(scenario, seed, arrival_ms=time_s * 1000, duration_ms=duration_s * 1000)


def _check_warm_up(workload: Workload, last_ms: float) -> None:
    if workload.warm_up_s * 1000 > last_ms:
        rule = f"must be <= {last_ms / 1000:g}, the last arrival"
        raise ScenarioError(f"workload.warm_up_s={workload.warm_up_s:g} {rule} ({PAGE})")


def stored_bytes(route: Route) -> NDArray[np.int64]:
    """Return the sizes of a route's stored objects, shape (objects,): quantiles of `size_bytes`."""
    assert route.objects is not None
    assert route.size_bytes is not None
    return _whole(route.size_bytes.quantile((np.arange(route.objects) + 0.5) / route.objects), least=1)


def _closed(scenario: "Scenario", arrivals: Closed, *, seed: int) -> Schedule:
    workload = scenario.workload
    assert workload.requests is not None, "Workload asks for requests with a closed loop"
    check_fits(workload.requests * BYTES_PER_REQUEST, f"{workload.requests:,} requests to come need")
    think_ms = _drawn(arrivals.think_ms, seed, "workload.think", np.arange(workload.requests))
    mean_ms = float(think_ms.mean())
    return _schedule(
        scenario,
        seed,
        arrival_ms=np.zeros(workload.requests),
        duration_ms=max(workload.requests * mean_ms / arrivals.users, 1.0),
        user=np.arange(workload.requests) % arrivals.users,
        think_ms=think_ms,
    )


def _schedule(
    scenario: "Scenario",
    seed: int,
    *,
    arrival_ms: NDArray[np.float64],
    duration_ms: float,
    trace: "Trace | None" = None,
    user: NDArray[np.int64] | None = None,
    think_ms: NDArray[np.float64] | None = None,
) -> Schedule:
    """Return the schedule of the given arrivals: other columns from the trace if it has them, else drawn."""
    n, workload = len(arrival_ms), scenario.workload
    shares = np.array(list(scenario.shares.values()))
    route_code = _recorded(trace, "route_code", _routes(shares, seed, n))
    object_number, size_bytes = _objects(scenario, seed, route_code, trace=trace)
    tokens = workload.tokens
    return Schedule(
        routes=tuple(scenario.routes),
        route_code=route_code,
        arrival_ms=arrival_ms,
        key=_recorded(trace, "key", _keys(scenario, seed, route_code)),
        size_bytes=size_bytes,
        tokens_in=_recorded(trace, "tokens_in", _tokens(tokens.tokens_in if tokens else None, seed, "tokens_in", n)),
        tokens_out=_recorded(
            trace, "tokens_out", _tokens(tokens.tokens_out if tokens else None, seed, "tokens_out", n)
        ),
        object_number=object_number,
        duration_ms=duration_ms,
        warm_up_ms=workload.warm_up_s * 1000,
        user=user,
        think_ms=think_ms,
    )


def _objects(
    scenario: "Scenario", seed: int, route_code: NDArray[np.int16], *, trace: "Trace | None"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the object of each request and its bytes: a stored object of its route, or a new one.

    New objects are numbered by request, after the stored objects of all routes; a route without bytes has number -1. A
    recorded size is mapped to the stored object of the nearest size.
    """
    n = len(route_code)
    first_new = max((route.objects or 0 for route in scenario.routes.values()), default=0)
    number, size_bytes = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    recorded = None if trace is None else trace.size_bytes
    for code, (name, route) in enumerate(scenario.routes.items()):
        here = np.flatnonzero(route_code == code)
        if route.size_bytes is None or not here.size:
            continue
        if route.objects is None:
            number[here] = first_new + here
            drawn = _whole(_drawn(route.size_bytes, seed, f"workload.{name}_bytes", here), least=1)
            size_bytes[here] = drawn if recorded is None else np.where(recorded[here] < 0, drawn, recorded[here])
            continue
        stored = stored_bytes(route)
        u = uniforms(stream_key(seed, f"workload.{name}_object"), here)
        number[here] = (u * route.objects).astype(np.int64)
        if recorded is not None:
            nearest = np.searchsorted((stored[1:] + stored[:-1]) / 2, recorded[here], side="right")
            number[here] = np.where(recorded[here] < 0, number[here], nearest)
        size_bytes[here] = stored[number[here]]
    return number, size_bytes


def _recorded(trace: "Trace | None", column: str, otherwise: NDArray[Any]) -> NDArray[Any]:
    """Return the trace's column, or *otherwise* when there is none, and where its cell is blank."""
    found: NDArray[Any] | None = getattr(trace, column, None)
    return otherwise if found is None else np.where(found < 0, otherwise, found)


def _drawn(distribution: AnyDistribution, seed: int, stream: str, request: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values of the given requests alone: looking one up does not move the others."""
    key = stream_key(seed, stream)

    def sample(block: NDArray[np.int64]) -> NDArray[np.float64]:
        return distribution.sample(np.stack([uniforms(key, block, draw=draw) for draw in range(distribution.draws)]))

    return in_blocks(sample, request)


def _whole(values: NDArray[np.float64], *, least: int = 0) -> NDArray[np.int64]:
    return np.maximum(np.rint(values), least).astype(np.int64)


def _tokens(distribution: AnyDistribution | None, seed: int, name: str, n: int) -> NDArray[np.int64]:
    if distribution is None:
        return np.zeros(n, dtype=np.int64)
    return _whole(_drawn(distribution, seed, f"workload.{name}", np.arange(n)))


def _routes(shares: NDArray[np.float64], seed: int, n: int) -> NDArray[np.int16]:
    return _chosen(shares, stream_key(seed, "workload.route"), n).astype(np.int16)


def _keys(scenario: "Scenario", seed: int, route_code: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return every request's key, drawn from its route's population."""
    n = len(route_code)
    key = np.zeros(n, dtype=np.int64)
    for population in dict.fromkeys(route.keys for route in scenario.routes.values()):
        codes = [code for code, route in enumerate(scenario.routes.values()) if route.keys == population]
        keys = scenario.workload.populations[population] if population else scenario.workload.keys
        stream = f"workload.key.{population}" if population else "workload.key"
        drawn = _chosen(popularity(keys), stream_key(seed, stream), n)
        if len(codes) == len(scenario.routes):
            return drawn
        key = np.where(np.isin(route_code, codes), drawn, key)
    return key


def popularity(keys: Keys) -> NDArray[np.float64]:
    """Return the unnormalised popularity of each key, shape (count,): a power of its rank (Zipf)."""
    return np.arange(1, keys.count + 1, dtype=np.float64) ** -keys.zipf


def key_weights(scenario: "Scenario", route: str) -> NDArray[np.float64]:
    """Return how popular each key is on a route, shape (keys,), not yet a share: as recorded, else by rank."""
    recorded = recorded_weights(scenario, route)
    return popularity(scenario.population(route)) if recorded is None else recorded


def _chosen(weights: NDArray[np.float64], key: int, n: int) -> NDArray[np.int64]:
    """Return indices drawn in proportion to *weights*, never one of weight 0."""
    edges, last = np.cumsum(weights), np.flatnonzero(weights)[-1]

    def choose(request: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.searchsorted(edges[:-1], uniforms(key, request) * edges[-1], side="right")
        # The product of a number below 1 and the total may be rounded up to the total, past the last index.
        chosen: NDArray[np.int64] = np.minimum(found, last).astype(np.int64, copy=False)
        return chosen

    return in_blocks(choose, np.arange(n))


def mean_rate_per_s(scenario: "Scenario") -> float:
    """Return the mean arrival rate of a whole schedule of *scenario*, for any kind of arrivals.

    Raises
    ------
    ScenarioError
        The trace lasts less than a second, too short to know a rate.
    """
    trace = trace_of(scenario)
    if trace is not None:
        return trace.rate_per_s / scenario.workload.arrivals.time_scale  # type: ignore[union-attr]  # a trace's arrivals
    played = schedule(scenario)
    return len(played) / (played.duration_ms / 1000)
