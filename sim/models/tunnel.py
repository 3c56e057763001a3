"""A QUIC connection from devices: a request holds one of its streams until the last byte of the answer.

The streams are the tunnel's servers: by Little's law they carry at most ``streams / R`` requests a second when an
answer takes R (hazard H41). An answer over the response limit is refused after the work was done (hazard H42).

Sources
-------
The limit of 100 concurrent streams is the QUIC library's default (quinn); the response limit is the brief's 1 MiB; the
overhead is the scenario's assumption, to be held against the brief's 50 ms.
"""

from sim.flow import AttributeOver, Delay, Flow, Guard, Hold, Station, Time
from sim.scenario.system import Tunnel


def station(tunnel: Tunnel) -> Station:
    """The connection's streams."""
    return Station("tunnel", servers=tunnel.streams)


def flow(tunnel: Tunnel, inner: Flow) -> Flow:
    """Device to gateway, *inner*, gateway to device, on one stream."""
    half = Delay(Time(tunnel.overhead_ms, scale=0.5), "tunnel.overhead", shared=True)
    too_large = Guard(AttributeOver("size_bytes", tunnel.response_limit_bytes), "too_large")
    return (Hold(station(tunnel), (half, *inner, too_large, half)),)
