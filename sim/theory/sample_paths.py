"""The wait of every single request, from its arrival and service time and those before it.

No distribution is assumed; this is arithmetic on a sample path: given the same arrivals and services, an
engine must produce the same waits, request by request.

Sources
-------
Lindley, "The theory of queues with a single server", Proc. Camb. Phil. Soc. 48, 1952.
Kiefer and Wolfowitz, "On the theory of queues with many servers", Trans. Amer. Math. Soc. 78, 1955.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from sim.foundation.errors import UsageError
from sim.theory.parameters import whole

Array = NDArray[np.float64]


def lindley(arrival_ms: ArrayLike, service_ms: ArrayLike) -> Array:
    """Waits before one first-come-first-served server (G/G/1).

    Parameters
    ----------
    arrival_ms : array_like, shape (n,)
        Non-decreasing.
    service_ms : array_like, shape (n,)
        At least 0.

    Returns
    -------
    ndarray, shape (n,)
        Wait of each request before its service starts, ms.

    Raises
    ------
    UsageError
        Lengths differ, times are not finite, arrivals fall, or a service is negative.
    """
    arrival, service = _paths(arrival_ms, service_ms)
    return np.asarray(_lindley(arrival, service))


def kiefer_wolfowitz(arrival_ms: ArrayLike, service_ms: ArrayLike, *, servers: int) -> Array:
    """Waits before *servers* servers that share one first-come-first-served queue (G/G/c); as :func:`lindley`."""
    arrival, service = _paths(arrival_ms, service_ms)
    whole(servers=servers)
    return np.asarray(_earliest_server(arrival, service, servers))


def _paths(arrival_ms: ArrayLike, service_ms: ArrayLike) -> tuple[Array, Array]:
    arrival, service = np.asarray(arrival_ms, dtype=np.float64), np.asarray(service_ms, dtype=np.float64)
    if arrival.ndim != 1 or arrival.shape != service.shape:
        raise UsageError(
            f"arrival_ms {arrival.shape} and service_ms {service.shape} must be equally long, one number each"
        )
    if not (np.isfinite(arrival).all() and np.isfinite(service).all()):
        raise UsageError("arrival_ms and service_ms must be finite (drop what never arrived)")
    if np.any(np.diff(arrival) < 0):
        raise UsageError("arrival_ms must not fall (sort by arrival)")
    if np.any(service < 0):
        raise UsageError(f"service_ms={service.min():g} must be >= 0")
    return arrival, service


@njit(cache=True, nogil=True)
def _lindley(arrival: Array, service: Array) -> Array:
    wait = np.empty(arrival.size)
    free = -np.inf
    for i in range(arrival.size):
        start = max(arrival[i], free)
        wait[i] = start - arrival[i]
        free = start + service[i]
    return wait


@njit(cache=True, nogil=True)
def _earliest_server(arrival: Array, service: Array, servers: int) -> Array:
    """Times at which each server is free, kept as a heap: the root is the server that takes the next request."""
    wait = np.empty(arrival.size)
    free = np.full(servers, -np.inf)
    for i in range(arrival.size):
        start = max(arrival[i], free[0])
        wait[i] = start - arrival[i]
        done = start + service[i]
        place = 0
        while 2 * place + 1 < servers:
            child = 2 * place + 1
            if child + 1 < servers and free[child + 1] < free[child]:
                child += 1
            if free[child] >= done:
                break
            free[place] = free[child]
            place = child
        free[place] = done
    return wait
