"""The network between a client and the edge: half a round trip there, half back.

The round trip is drawn once per request, so both halves are equal. Transmission time is not modelled here: the edge is
near, and the time of large bodies is attributed to where they are stored (``r2``).

Sources
-------
Round-trip times are the scenario's assumption (``[system.network]``).
"""

from sim.flow import Delay, Finally, Flow, Time
from sim.foundation.schema import Table
from sim.models.component import Component, Instance, Tier
from sim.randomness.distributions import Distribution


class Network(Table):
    """The network between a client and the provider's nearest location."""

    client_rtt_ms: Distribution
    """Round trip: half of it before the request is handled, half after."""


def enter(network: Instance, inner: Flow) -> Flow:
    """Client to edge, *inner*, edge to client."""
    table: Network = network.table
    half = Delay(Time(table.client_rtt_ms, scale=0.5), network.stream("client_rtt"), shared=True)
    return (half, Finally(inner, (half,)))


COMPONENT = Component(
    name="network",
    label="network",
    colour="#56b4e9",
    tier=Tier.ENTRY,
    table=Network,
    entry=enter,
    services=("edge_http",),
)
