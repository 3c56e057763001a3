"""The mean wait at a station, from the load that a walk has noted.

Stations are taken one by one, with arrivals at random: Erlang C for several servers, and Allen and Cunneen's factor for
service times that are not exponential. Where requests share turns, they wait as :mod:`sim.screening.turns` says.

Sources
-------
Kingman, "The single server queue in heavy traffic", 1961; Allen, "Probability, Statistics and Queueing Theory", 1990
(Allen and Cunneen). Whitt, "The queueing network analyzer", Bell Syst. Tech. J. 62, 1983 (stations one by one).
"""

import numpy as np
from scipy.special import gammaln, pdtr, xlogy

from sim import flow as f
from sim.screening.logbook import Notes
from sim.screening.passage import Array
from sim.screening.traffic import Traffic

SHORTEST_MS = 1e-100
"""A shorter service counts as none: its square would underflow to 0."""


def wait_ms(station: f.Station, notes: Notes, *, coming: Traffic) -> Array:
    """Return the mean wait at each instance, capped at what a run of this length can build up.

    Parameters
    ----------
    station : Station
    notes : Notes
        Of a walk that visited it.
    coming : Traffic
        At one level of its rate.

    Returns
    -------
    ndarray, shape (instances,)
    """
    use = notes.use[station.name]
    visited = use.visits > 0
    visits = np.where(visited, use.visits, 1.0)
    service_ms = np.where(visited, use.work_ms / visits, 0.0)
    lasts = service_ms > SHORTEST_MS
    square = np.where(lasts, service_ms, 1.0) ** 2
    service_cv2 = np.where(lasts, np.maximum(use.square / visits / square - 1, 0), 0.0)
    part = np.minimum(use.visits / (coming.rate_per_s / 1000), 1)
    scatter = (np.maximum(1 + part * (coming.arrival_cv2 - 1), 0) + service_cv2) / 2
    busy = use.work_ms / station.servers
    stay_ms = coming.levels[0].stay_ms
    behind = notes.rates.get(("behind", station.name))
    if behind is not None:  # The rest of the turn, or other work, that is met, and a turn of one's own.
        mean_ms = use.square / 2 + behind / visits
    else:
        mean_ms = _erlang_c(use.work_ms, station.servers) * service_ms / (station.servers * np.maximum(1 - busy, 1e-9))
        if station.discipline != "ps":  # Processor sharing is insensitive to the service-time distribution.
            mean_ms = mean_ms * scatter
        built_ms = np.sqrt(service_ms * stay_ms * np.maximum(scatter, 1e-9) / station.servers)
        mean_ms = np.minimum(mean_ms, built_ms)
    mean_ms = mean_ms + np.maximum(busy - 1, 0) * stay_ms / 2
    if station.queue_limit is not None:
        mean_ms = np.minimum(mean_ms, station.queue_limit * service_ms / station.servers)
    return np.asarray(mean_ms)


def _erlang_c(offered: Array, servers: int) -> Array:
    """Return Erlang C, the probability of waiting, computed by the Poisson distribution; 1 at overload."""
    load = np.clip(offered, 1e-12, servers)
    blocked = np.exp(xlogy(servers, load) - load - gammaln(servers + 1)) / pdtr(servers, load)
    return np.asarray(blocked / (1 - load / servers * (1 - blocked)))
