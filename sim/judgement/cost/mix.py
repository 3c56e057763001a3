"""What the requests of a month are like: their routes, and how large they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.scenario.generation import stored_bytes
from sim.scenario.routes import Route

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

QUANTILES = (np.arange(1_000) + 0.5) / 1_000
"""Of sizes of requests, where the bill counts each begun unit of one."""


@dataclass(frozen=True)
class Mix:
    """Shares of the routes in what is played, the mean size of their requests, and sizes that are equally likely.

    Attributes
    ----------
    share, size_bytes : mapping of str to float
        By route.
    sizes_bytes : mapping of str to ndarray, shape (n,)
        Empty for a route without sizes.
    """

    share: Mapping[str, float]
    size_bytes: Mapping[str, float]
    sizes_bytes: "Mapping[str, NDArray[np.float64]]"


def mix_of(scenario: "Scenario", recorded: "Schedule | None") -> Mix:
    """Return shares and sizes of the routes: those of the *recorded* requests of a trace, or what is drawn from."""
    routes = scenario.routes
    if recorded is None:
        mean = {name: _size_bytes(route) for name, route in routes.items()}
        return Mix(scenario.shares, mean, {name: _sizes_bytes(route) for name, route in routes.items()})
    count = np.bincount(recorded.route_code, minlength=len(routes))
    size = np.bincount(recorded.route_code, weights=recorded.size_bytes, minlength=len(routes)) / np.maximum(count, 1)
    sizes = {name: recorded.size_bytes[recorded.route_code == code] for code, name in enumerate(routes)}
    return Mix(
        dict(zip(routes, (count / count.sum()).tolist(), strict=True)),
        dict(zip(routes, size.tolist(), strict=True)),
        {name: np.quantile(mine, QUANTILES) if mine.size else np.zeros(0) for name, mine in sizes.items()},
    )


def _size_bytes(route: Route) -> float:
    """Mean bytes that a request of a route carries or asks for."""
    if route.size_bytes is None:
        return 0.0
    return route.size_bytes.expected() if route.objects is None else float(stored_bytes(route).mean())


def _sizes_bytes(route: Route) -> "NDArray[np.float64]":
    """Sizes of a route's requests that are equally likely, shape (n,); none if they have none."""
    if route.size_bytes is None:
        return np.zeros(0)
    if route.objects is not None:
        return stored_bytes(route).astype(np.float64)
    return np.asarray(route.size_bytes.quantile(QUANTILES), dtype=np.float64)
