"""An origin: a server outside of the provider, your own or a third party's, that a Worker fetches from.

A fetch travels there, waits for one of the servers, is answered after the service time, and travels back with its
bytes. A share of the answers are errors. After the platform's time limit the Worker gives the fetch up, while the
origin goes on working on it. Neither the fetch nor its bytes are on the provider's bill.

Sources
-------
Cloudflare's connection limits (an answer must come within 120 s, else 524); Workers pricing (a subrequest is no
request) and no charge for egress. Everything else is the scenario's: only its owner knows an origin's times.
"""

from sim.flow import Attempt, Chance, Delay, Finally, Flow, Guard, Link, Serve, Station, Time, Transfer
from sim.foundation.schema import Count, Fraction, Positive, Table
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.randomness.distributions import Distribution


class Origin(Table):
    """A server outside of the provider."""

    rtt_ms: Distribution
    """Round trip between the Worker and the origin."""
    answer_ms: Distribution
    """Work of one answer; it holds one of the servers."""
    servers: Count
    """Answers worked on at a time; more requests wait."""
    queue_limit: Count
    """Most requests that may wait; one more is refused as overloaded."""
    timeout_s: Positive
    """A fetch without an answer for so long is given up."""
    error_fraction: Fraction
    """Share of answers that are errors."""
    bandwidth_bytes_per_s: Positive
    """Speed of one transfer."""


def station(origin: Instance) -> Station:
    """Return the origin's servers behind one queue."""
    return Station(origin.name, servers=origin.table.servers, queue_limit=origin.table.queue_limit)


def fetch(origin: Instance, _: NoParameters) -> Flow:
    """Fetch the request's bytes from the origin."""
    table: Origin = origin.table
    half = Delay(Time(table.rtt_ms, scale=0.5), origin.stream("rtt"), shared=True)
    answer = Serve(station(origin), table.answer_ms, origin.stream("answer"))
    body = Transfer(Link(origin.name, bytes_per_s=table.bandwidth_bytes_per_s), origin.name)
    failed = Guard(Chance(table.error_fraction, origin.stream("error")), "error")
    exchange = (half, Finally((answer, body), (half,)), failed)
    return (Attempt(exchange, origin.stream("fetch"), timeout_ms=table.timeout_s * 1_000),)


COMPONENT = Component(
    name="origin",
    label="origin",
    colour="#666666",
    tier=Tier.STORE,
    table=Origin,
    operations={"fetch": Operation(fetch, reads=True, downloads=True)},
    station=station,
)
