"""Read replicas of a D1 database: copies near the readers, which show a write only after a lag.

A read that belongs to no session, and every write, goes to the primary. In a session a read goes to the replica of the
reader's region, and the session decides what it may find there: with ``first-unconstrained`` whatever the replica has,
with ``bookmark`` at least what the session has seen and written so far, for which the replica makes it wait; with
``first-primary`` it goes to the primary, and its bookmark is the newest state. A session is that of the request's key.

A replica that is read at a time t with a lag L has all that was committed before t - L; so a read whose bookmark is of
the time w waits until w + L. The lag is drawn for each read, as a reader finds it.

Simplifications: each key is of one region, the regions have equally many keys, and every region has its replica at one
distance from its readers; the lags of two reads are independent, whereas that of a real replica changes slowly; a
replica never falls behind what an earlier read of the same session found; an outage of the database is one of its
replicas too. How many reads are stale is counted by :func:`sim.stale_reads`.

Sources
-------
D1 read replication page: asynchronous copies in every region; without the Sessions API all queries are executed by the
primary; a replica waits until it is as up to date as the query's bookmark; replicas cost nothing, and rows are billed
alike. D1 limits page: each replica runs its own queries one at a time. The lag is published nowhere.
"""

from typing import Annotated, Any, Literal

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from sim.flow import Delay, Flow, Mark, Stamp, Station, Time
from sim.foundation.schema import Count
from sim.models.component import Instance

Session = Literal["", "first-unconstrained", "first-primary", "bookmark"]
"""What a read may find, in the words of the Sessions API; empty: it belongs to no session."""


def _read(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        regions = check(value)
    except ValidationError:
        raise ValueError("must be a whole number >= 1, or a list of regions") from None
    if isinstance(regions, tuple) and (not regions or len(set(regions)) < len(regions)):
        raise ValueError("must name at least one region, and each of them once")
    return regions


Regions = Annotated[Count | tuple[str, ...], WrapValidator(_read)]
"""Regions with readers and a replica: their number, or their names."""


def check(table: Any) -> None:
    """Refuse replicas without a distance and a lag, and these without replicas.

    Raises
    ------
    ValueError
        The message names the key.
    """
    given = [key for key in ("replica_rtt_ms", "replica_lag_ms") if getattr(table, key) is not None]
    if table.replicas is None and given:
        raise ValueError(f"has {given[0]}, needs replicas, of which it says something")
    if table.replicas is not None and len(given) < 2:
        lacking = "replica_lag_ms" if "replica_rtt_ms" in given else "replica_rtt_ms"
        raise ValueError(f"has replicas={_count(table)}, needs {lacking}: no such figure is published")


def serves(d1: Instance, session: Session) -> bool:
    """Whether a replica serves a read of this session."""
    return d1.table.replicas is not None and session in ("first-unconstrained", "bookmark")


def station(d1: Instance) -> Station:
    """Return the replicas, each with one thread; the request's key selects the one of its region."""
    limit = d1.table.queue_limit
    return Station(f"{d1.name}_replica", instances=_count(d1.table), queue_limit=limit, queue=d1.name)


def half_way(d1: Instance) -> Delay:
    """Return the way to the replica, or back."""
    return Delay(Time(d1.table.replica_rtt_ms, scale=0.5), d1.stream("replica_rtt"), shared=True)


def catch_up(d1: Instance, session: Session) -> Flow:
    """Wait until the replica has what the session's bookmark stands for."""
    if session != "bookmark":
        return ()
    return (Delay(Time(d1.table.replica_lag_ms, since=_bookmark(d1)), d1.stream("replica_lag")),)


def seen(d1: Instance, session: Session) -> Flow:
    """Move the session's bookmark to the newest state, which the primary has shown it."""
    if d1.table.replicas is None or session != "first-primary":
        return ()
    return (Mark(_bookmark(d1), at=_newest(d1)),)


def written(d1: Instance, *, in_session: bool) -> Flow:
    """Note the time of a commit, and move the session's bookmark to it if it is the session's."""
    if d1.table.replicas is None:
        return ()
    return (Mark(_newest(d1)), *((Mark(_bookmark(d1)),) if in_session else ()))


def _bookmark(d1: Instance) -> Stamp:
    """When the last write was committed that the session of the request's key knows of."""
    return Stamp(f"{d1.name}_bookmark", instances=d1.keys)


def _newest(d1: Instance) -> Stamp:
    """When the last write was committed, whoever wrote."""
    return Stamp(f"{d1.name}_newest")


def _count(table: Any) -> int:
    return len(table.replicas) if isinstance(table.replicas, tuple) else int(table.replicas)
