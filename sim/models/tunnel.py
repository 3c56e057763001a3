"""The QUIC tunnel from devices: a request holds one of its streams until the last byte of the answer.

The streams are the tunnel's servers: by Little's law they carry at most ``streams / R`` requests per second when an
answer takes R (hazard H41). An answer over the response limit is refused after its work is done (hazard H42).

With ``idle_timeout_s`` the connection dies when it is quiet for longer. A heartbeat keeps it alive only if it comes
before that: one that has the length of the timeout comes too late (hazard H36). The request that finds it dead makes a
new connection and waits for it; without ``reconnects`` it fails, and so do all after it (hazard H39). Likewise a NAT
forgets a flow that was quiet for longer than its timer, and the next request waits until its new address is confirmed
(hazard H45). Quiet counts from the end of the last answer; heartbeats of this model are never lost. A heartbeat is a
datagram, which both ends must have agreed on: without that it is not sent, or the peer takes the first one for a
violation of the protocol and closes the connection, however busy it is (hazard H37).

With ``loss_chance`` packets are lost on either way, with ``reorder_chance`` others overtake them, and with
``window_packets`` an answer of many packets takes several round trips (:mod:`sim.models.packets`); without them the
tunnel is a delay, whatever the size of an answer.

Sources
-------
The limit of 100 concurrent streams is the QUIC library's default (quinn); the response limit is the brief's 1 MiB; the
overhead is the scenario's assumption, to be compared with the brief's 50 ms. That a heartbeat at the idle timeout comes
too late was measured with aioquic, in scaled time: killed at 1.002 of the timeout with nothing sent.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.flow import (
    AttributeOver,
    Branch,
    Bucket,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Drained,
    Finally,
    Flow,
    Guard,
    Hold,
    Idle,
    Station,
    Step,
    Time,
)
from sim.foundation.schema import Count as Number
from sim.foundation.schema import Fraction, NotNegative, Positive, Table
from sim.models import packets
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
    datagrams: Literal["negotiated", "unsent", "refused"] | None = None
    """What becomes of a heartbeat, a datagram; ``negotiated`` by default. ``unsent``: nobody agreed on datagrams, and
    the sender's loop ends. ``refused``: the peer closes the connection at the first one."""
    reconnects: bool = True
    """Whether a dead connection is replaced; if not, every later request fails."""
    reconnect_ms: Distribution = Constant(value=0.0)
    """Handshake of a new connection."""
    nat_timeout_s: NotNegative = 0.0
    """A NAT forgets a flow that is quiet for longer; the next request waits for one more round trip. 0: never."""
    loss_chance: Annotated[Fraction, Field(lt=0.5)] | None = None
    """Share of packets lost, each by itself, none by default. Of half of them a doubling timeout would have no mean."""
    probe_timeout_ms: Positive | None = None
    """After so long a packet is sent again; twice as long each further time."""
    reorder_chance: Annotated[Fraction, Field(lt=1)] | None = None
    """Share of packets that take a slower way and are overtaken, each by itself, none by default."""
    reorder_ms: Positive | None = None
    """So much later they come."""
    packet_bytes: Number | None = None
    """Bytes of an answer in a packet; without it an answer takes one round trip, whatever its size."""
    window_packets: Number | None = None
    """Congestion window of a new answer, in packets: 10 by RFC 9002."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.loss_chance and not self.probe_timeout_ms:
            raise ValueError(
                f"needs probe_timeout_ms beside loss_chance={self.loss_chance:g}: after it a packet is sent again"
            )
        if (self.reorder_chance is None) != (self.reorder_ms is None):
            raise ValueError("needs reorder_chance and reorder_ms together")
        if (self.packet_bytes is None) != (self.window_packets is None):
            raise ValueError("needs packet_bytes and window_packets together")
        return self


def station(tunnel: Instance) -> Station:
    """Return the connection's streams."""
    return Station(tunnel.name, servers=tunnel.table.streams)


def enter(tunnel: Instance, inner: Flow) -> Flow:
    """Device to gateway, *inner*, gateway to device, on one stream."""
    table: Tunnel = tunnel.table
    half = Delay(Time(table.overhead_ms, scale=0.5), tunnel.stream("overhead"), shared=True)
    too_large = Guard(AttributeOver("size_bytes", table.response_limit_bytes), "too_large")
    there, back = (_packet_waits(tunnel, way) for way in ("there", "back"))
    exchange = Finally((*inner, too_large, *_round_trips(tunnel)), (*back, half))
    return (Hold(station(tunnel), (*_nat(tunnel), *_alive(tunnel), half, *there, exchange)),)


def _packet_waits(tunnel: Instance, way: str) -> Flow:
    """Return the wait of a packet that is lost or late on one way."""
    table: Tunnel = tunnel.table
    steps: Flow = ()
    if table.loss_chance and table.probe_timeout_ms is not None:
        steps = packets.lost(table.loss_chance, probe_ms=table.probe_timeout_ms, stream=tunnel.stream(f"lost_{way}"))
    if table.reorder_chance and table.reorder_ms is not None:
        slower = packets.late(table.reorder_chance, late_ms=table.reorder_ms, stream=tunnel.stream(f"late_{way}"))
        steps = (*steps, *slower)
    return steps


def _round_trips(tunnel: Instance) -> Flow:
    """Return the further round trips of an answer of many packets."""
    table: Tunnel = tunnel.table
    if table.packet_bytes is None or table.window_packets is None:
        return ()
    return packets.further_round_trips(
        table.overhead_ms,
        packet_bytes=table.packet_bytes,
        window_packets=table.window_packets,
        most=packets.window_in_the_long_run(table.loss_chance or 0.0, table.reorder_chance or 0.0),
        stream=tunnel.stream("overhead"),
    )


def _quiet(tunnel: Instance, timer_s: float) -> Idle | None:
    """Return the condition that the connection was quiet for longer than a timer; None if heartbeats prevent it."""
    table: Tunnel = tunnel.table
    if not timer_s or (table.datagrams in (None, "negotiated") and 0 < table.heartbeat_s < timer_s):
        return None
    return Idle(station(tunnel), timer_s * 1_000)


def _alive(tunnel: Instance) -> Flow:
    """Make a new connection if the last one is dead, or fail from then on."""
    table: Tunnel = tunnel.table
    quiet = _quiet(tunnel, table.idle_timeout_s)
    is_refused = table.datagrams == "refused" and table.heartbeat_s > 0
    if quiet is None and not is_refused:
        return ()
    dead = Counter(f"{tunnel.name}_dead")
    renew: Flow = (Delay(table.reconnect_ms, tunnel.stream("reconnect")),)
    if not table.reconnects:
        renew = (_unless_first(tunnel, (Count(dead),), timer="idle"),)
    steps: Flow = () if quiet is None else (Branch(quiet, renew),)
    if is_refused:
        # A token is there when a heartbeat has come since the last new connection, and is taken by the next one.
        lives = Bucket(f"{tunnel.name}_heartbeat", per_s=1 / table.heartbeat_s, burst=1.0)
        steps = (Branch(Drained(lives), steps, renew),)
    return steps if table.reconnects else (*steps, Guard(CountAtLeast(dead, 1), "error"))


def _nat(tunnel: Instance) -> Flow:
    """Confirm the address of a connection whose NAT has forgotten it."""
    quiet = _quiet(tunnel, tunnel.table.nat_timeout_s)
    if quiet is None:
        return ()
    confirm = Delay(tunnel.table.overhead_ms, tunnel.stream("address"))
    return (Branch(quiet, (_unless_first(tunnel, (confirm,), timer="nat"),)),)


def _unless_first(tunnel: Instance, steps: Flow, *, timer: str) -> Step:
    """Take *steps*, but not for the first request: it has just made the connection."""
    opened = Counter(f"{tunnel.name}_{timer}_opened")
    return Branch(CountAtLeast(opened, 1), steps, (Count(opened),))


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
