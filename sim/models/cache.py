"""The cache of the edge location that a request came to: look-ups and stores of the Cache API, free of charge.

The route decides whether a look-up is a hit: the steps that a miss needs follow the look-up with a ``chance``, the
share of misses. So the look-up itself takes equally long in both cases. Sending the bytes of a hit to the client takes
no time, as for any other answer (:mod:`sim.models.network`).

Sources
-------
Workers limits page: an entry of at most 512 MB. A call is neither a request nor a subrequest on the bill. No time of a
look-up is published: the times are the scenario's assumptions.
"""

from sim.flow import AttributeOver, Delay, Flow, Guard
from sim.foundation.schema import Count, Table
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.randomness.distributions import Distribution


class Cache(Table):
    """The edge cache of one location."""

    get_ms: Distribution
    """A look-up, whether it finds anything or not."""
    put_ms: Distribution
    """Storing an entry, or throwing one away."""
    entry_bytes_max: Count
    """A larger entry is refused."""


def get(cache: Instance, _: NoParameters) -> Flow:
    """Look an entry up; the share of misses is the ``chance`` of the steps after it."""
    return (Delay(cache.table.get_ms, cache.stream("get")),)


def put(cache: Instance, _: NoParameters) -> Flow:
    """Store the request's bytes as an entry."""
    too_large = Guard(AttributeOver("size_bytes", cache.table.entry_bytes_max), "too_large")
    return (too_large, Delay(cache.table.put_ms, cache.stream("put")))


def delete(cache: Instance, _: NoParameters) -> Flow:
    """Delete an entry."""
    return (Delay(cache.table.put_ms, cache.stream("delete")),)


COMPONENT = Component(
    name="cache",
    label="cache",
    colour="#556b2f",
    tier=Tier.STORE,
    table=Cache,
    operations={
        "get": Operation(get, services=("edge_http",), reads=True),
        "put": Operation(put, services=("edge_http",)),
        "delete": Operation(delete, services=("edge_http",)),
    },
)
