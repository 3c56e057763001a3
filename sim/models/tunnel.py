"""The QUIC tunnel from devices: a request holds one of its streams until the last byte of the answer.

The streams are the tunnel's servers: by Little's law they carry at most ``streams / R`` requests per second when an
answer takes R (hazard H41). An answer over the response limit is refused after its work is done (hazard H42).

With ``idle_timeout_s`` the connection dies when it is quiet for longer. A heartbeat keeps it alive only if it comes
before that: one that has the length of the timeout comes too late (hazard H36). The request that finds it dead makes a
new connection and waits for it; without ``reconnects`` it fails, and so do all after it (hazard H39). Likewise a NAT
forgets a flow that was quiet for longer than its timer, and the next request waits until its new address is confirmed
(hazard H45). Quiet counts from the end of the last answer; heartbeats of this model are never lost.

Sources
-------
The limit of 100 concurrent streams is the QUIC library's default (quinn); the response limit is the brief's 1 MiB; the
overhead is the scenario's assumption, to be compared with the brief's 50 ms. That a heartbeat at the idle timeout comes
too late was measured with aioquic, in scaled time: killed at 1.002 of the timeout with nothing sent.
"""

from typing import TYPE_CHECKING

import numpy as np

from sim.flow import (
    AttributeOver,
    Branch,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Flow,
    Guard,
    Hold,
    Idle,
    Station,
    Step,
    Time,
)
from sim.foundation.schema import Count as Number
from sim.foundation.schema import NotNegative, Table
from sim.models.component import Component, Instance, Tier
from sim.randomness.distributions import Constant, Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Tunnel(Table):
    """The QUIC tunnel that devices send through."""

    overhead_ms: Distribution
    """Round trip from the device to the Worker."""
    streams: Number
    """Most concurrent requests in the tunnel; further ones wait."""
    response_limit_bytes: Number
    """A larger answer is refused."""
    idle_timeout_s: NotNegative = 0.0
    """A connection that is quiet for longer is dead; 0: none ever is."""
    heartbeat_s: NotNegative = 0.0
    """Time from one heartbeat to the next; 0: there are none."""
    reconnects: bool = True
    """Whether a dead connection is replaced; if not, every later request fails."""
    reconnect_ms: NotNegative = 0.0
    """Handshake of a new connection."""
    nat_timeout_s: NotNegative = 0.0
    """A NAT forgets a flow that is quiet for longer; the next request waits for one more round trip. 0: never."""


def station(tunnel: Instance) -> Station:
    """Return the connection's streams."""
    return Station(tunnel.name, servers=tunnel.table.streams)


def enter(tunnel: Instance, inner: Flow) -> Flow:
    """Device to gateway, *inner*, gateway to device, on one stream."""
    table: Tunnel = tunnel.table
    half = Delay(Time(table.overhead_ms, scale=0.5), tunnel.stream("overhead"), shared=True)
    too_large = Guard(AttributeOver("size_bytes", table.response_limit_bytes), "too_large")
    return (Hold(station(tunnel), (*_nat(tunnel), *_alive(tunnel), half, *inner, too_large, half)),)


def _quiet(tunnel: Instance, timer_s: float) -> Idle | None:
    """Return the condition that the connection was quiet for longer than a timer; None if heartbeats prevent it."""
    table: Tunnel = tunnel.table
    if not timer_s or 0 < table.heartbeat_s < timer_s:
        return None
    return Idle(station(tunnel), timer_s * 1_000)


def _alive(tunnel: Instance) -> Flow:
    """Make a new connection if the last one was quiet for too long, or fail from then on."""
    table: Tunnel = tunnel.table
    quiet = _quiet(tunnel, table.idle_timeout_s)
    if quiet is None:
        return ()
    if table.reconnects:
        return (Branch(quiet, (Delay(Constant(value=table.reconnect_ms), tunnel.stream("reconnect")),)),)
    dead = Counter(f"{tunnel.name}_dead")
    return (_unless_first(tunnel, quiet, (Count(dead),), timer="idle"), Guard(CountAtLeast(dead, 1), "error"))


def _nat(tunnel: Instance) -> Flow:
    """Confirm the address of a connection whose NAT has forgotten it."""
    quiet = _quiet(tunnel, tunnel.table.nat_timeout_s)
    if quiet is None:
        return ()
    confirm = Delay(tunnel.table.overhead_ms, tunnel.stream("address"))
    return (_unless_first(tunnel, quiet, (confirm,), timer="nat"),)


def _unless_first(tunnel: Instance, quiet: Idle, steps: Flow, *, timer: str) -> Step:
    """Take *steps* if the connection was quiet; the first request has just made it."""
    opened = Counter(f"{tunnel.name}_{timer}_opened")
    return Branch(CountAtLeast(opened, 1), (Branch(quiet, steps),), (Count(opened),))


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
