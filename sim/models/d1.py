"""One database, one query at a time: a distance to travel, a queue, and the SQL itself.

The Worker runs near its user, the database stands where it was created; so every query pays a round trip before it
waits for the single thread that executes it. All queries of one request travel the same distance: they share one draw.

Sources
-------
D1 limits page: "each database processes queries one at a time"; a query of 1 ms allows about 1,000 a
second (hazard H18). Times of reads and writes come from the platform file, partly as assumptions; the distance is the
scenario's.
"""

from sim.flow import Delay, Flow, Serve, Station, Time
from sim.scenario.system import D1


def station(database: D1) -> Station:
    """The database's one thread."""
    return Station("d1", servers=1, queue_limit=database.queue_limit)


def read(database: D1) -> Flow:
    """One indexed query."""
    return _query(database, Serve(station(database), database.read_ms, "d1.read"))


def write(database: D1) -> Flow:
    """One transaction that writes."""
    return _query(database, Serve(station(database), database.write_ms, "d1.write"))


def _query(database: D1, execute: Serve) -> Flow:
    half = Delay(Time(database.rtt_ms, scale=0.5), "d1.rtt", shared=True)
    return (half, execute, half)
