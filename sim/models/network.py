"""The way between a client and the edge: half a round trip there, half back.

One number is drawn a request, so both halves see the same weather. Bytes on the wire are not modelled here: the
edge is near, and the time of large bodies is attributed to the store (``r2``).

Sources
-------
round-trip times are the scenario's assumption (``[system.network]``).
"""

from sim.flow import Delay, Flow, Time
from sim.scenario.system import Network


def flow(network: Network, inner: Flow) -> Flow:
    """Client to edge, *inner*, edge to client.

    Parameters
    ----------
    network : Network
        ``client_rtt_ms``, the law of a whole round trip.
    inner : Flow
        What happens between the two halves.
    """
    half = Delay(Time(network.client_rtt_ms, scale=0.5), "network.client_rtt", shared=True)
    return (half, *inner, half)
