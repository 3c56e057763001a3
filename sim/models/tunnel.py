"""The QUIC tunnel from devices: a request holds one of its streams until the last byte of the answer.

The streams are the tunnel's servers: by Little's law they carry at most ``streams / R`` requests per second when an
answer takes R (hazard H41). An answer over the response limit is refused after its work is done (hazard H42).

Sources
-------
The limit of 100 concurrent streams is the QUIC library's default (quinn); the response limit is the brief's 1 MiB; the
overhead is the scenario's assumption, to be compared with the brief's 50 ms.
"""

from typing import TYPE_CHECKING

import numpy as np

from sim.flow import AttributeOver, Delay, Flow, Guard, Hold, Station, Time
from sim.foundation.schema import Count, Table
from sim.models.component import Component, Instance, Tier
from sim.randomness.distributions import Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Tunnel(Table):
    """The QUIC tunnel that devices send through."""

    overhead_ms: Distribution
    """Round trip from the device to the Worker."""
    streams: Count
    """Most concurrent requests in the tunnel; further ones wait."""
    response_limit_bytes: Count
    """A larger answer is refused."""


def station(tunnel: Instance) -> Station:
    """Return the connection's streams."""
    return Station(tunnel.name, servers=tunnel.table.streams)


def enter(tunnel: Instance, inner: Flow) -> Flow:
    """Device to gateway, *inner*, gateway to device, on one stream."""
    table: Tunnel = tunnel.table
    half = Delay(Time(table.overhead_ms, scale=0.5), tunnel.stream("overhead"), shared=True)
    too_large = Guard(AttributeOver("size_bytes", table.response_limit_bytes), "too_large")
    return (Hold(station(tunnel), (half, *inner, too_large, half)),)


def held_ms(frame: "pd.DataFrame", tunnel: Instance) -> "NDArray[np.float64]":
    """Return the time for which each request held a stream: its latency without the wait for a stream."""
    met = frame[frame[f"{tunnel.name}_ms"] > 0]
    return np.array([(met["service_latency_ms"] - met[f"{tunnel.name}_queue_ms"]).sum()])


COMPONENT = Component(
    name="tunnel",
    label="tunnel",
    colour="#cc79a7",
    tier=Tier.ENTRY,
    table=Tunnel,
    entry=enter,
    transport="quic",
    services=("edge_http",),
    station=station,
    busy_ms=held_ms,
)
