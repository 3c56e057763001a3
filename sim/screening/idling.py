"""How often a station is found idle for long: an object that was evicted, an isolate that is cold.

Visits are taken to come at random, so that none comes for a time t with probability exp(-λt).

Sources
-------
Hazard H14 (a cold start is as likely as no request for so long).
"""

import numpy as np

from sim import flow as f
from sim.screening.logbook import Logbook
from sim.screening.passage import NONE, Array
from sim.screening.structure import Follows


def idle(station: f.Station, longer_ms: float, *, follows: Follows | None, log: Logbook) -> Array:
    """Return the probability of no visit to *station* for *longer_ms*, or since the start of the run.

    A spawned flow (a follower) knows that its parent (its leader) was there.

    Parameters
    ----------
    station : Station
    longer_ms : float
    follows : Follows or None
        The origin of the flow that asks, if it was spawned.
    log : Logbook
        Of the current walk.
    """
    log.say(f"visits of {station.name!r} are taken to come at random times (how often it is idle for long)")
    follows = follows if follows is not None and station in follows.held else None
    if station.name not in log.past.use or (follows and follows.after_ms <= longer_ms):
        return NONE
    lasting, followed = log.lasting(longer_ms), log.touched("followed", station)
    leaders = (log.visits(station) - followed) * lasting
    # No leader for that long, and no follower: one that was spawned earlier and comes later than its leader.
    behind = NONE if follows else np.minimum(log.touched("armed", station) * lasting, followed * longer_ms)
    # In the first *longer_ms* of the run: no visit since the start.
    whole_ms = log.traffic.duration_ms
    early = np.minimum(longer_ms / whole_ms, 1.0)
    asked = np.maximum(leaders, 1e-15)
    alone = np.exp(-asked * early * whole_ms)
    cold = (1 - alone) / (asked * whole_ms) + (1 - early) * alone * np.exp(-behind)
    return np.asarray(np.clip(1 - log.busy(station), 0, 1) * np.minimum(cold, 1))
