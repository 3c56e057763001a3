"""An error sink: a service such as Sentry, to which a Worker reports what went wrong.

The client library sends a sample of the errors. The service takes so many events a second and so many a month, and
answers the others with 429: these are lost, and the client goes on as if nothing were the matter. So a storm of errors
uses up a month's quota in minutes, and what goes wrong afterwards is seen by nobody. A route says with ``chance`` which
share of its requests reports; with ``spawn`` its answer does not wait for it.

Simplifications: the quota begins full and comes back evenly over the month, while the service's own begins anew on the
day of the invoice; the bill counts what the sample sends up to the quota, including what the limit of a second drops;
a request that fails in the simulation (overload, a timeout) reports nothing by itself.

Sources
-------
sentry.io/pricing of September 2026, as transcribed by a third party (Team plan: 50,000 errors included; the next 50,000
at 0.0003625 USD each, later ones cheaper: the bill here is an upper bound beyond 100,000). Sentry's documentation of
``sample_rate``, of quotas and rate limits (429, the event is dropped). Times of a report are the scenario's assumption.
"""

from collections.abc import Callable

from sim.flow import Branch, Bucket, Chance, Delay, Drained, Flow
from sim.foundation.schema import Count as Number
from sim.foundation.schema import Fraction, Positive, Table
from sim.models.billing import NOTHING, SECONDS_PER_MONTH, Demand, Runaway, Usage, meter, per_million
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.randomness.distributions import Distribution


class ErrorSink(Table):
    """A service that collects errors."""

    send_ms: Distribution
    """Until the service has taken an event."""
    sample_fraction: Fraction
    """Share of the errors that the client sends (``sample_rate``)."""
    events_per_s_max: Positive
    """Events that the service takes; those beyond are dropped (429)."""
    events_per_month_max: Number
    """Events that the plan, or the budget above it, takes in a month; those beyond are dropped (429)."""


def report(sink: Instance, _: NoParameters) -> Flow:
    """Report an error: perhaps sent, perhaps dropped, never failed."""
    table: ErrorSink = sink.table
    limit = Bucket(f"{sink.name}_limit", per_s=table.events_per_s_max, burst=max(1.0, table.events_per_s_max))
    quota_per_s = table.events_per_month_max / SECONDS_PER_MONTH
    quota = Bucket(f"{sink.name}_quota", per_s=quota_per_s, burst=float(table.events_per_month_max))
    taken = (Branch(Drained(quota), (), (Delay(table.send_ms, sink.stream("send")),)),)
    sent = (Branch(Drained(limit), (), taken),)
    return (Branch(Chance(table.sample_fraction, sink.stream("sample")), sent),)


def month_of_events(sink: Instance, demand: Demand) -> Usage:
    """Return a month's usage: the plan, and the events that the sample sends, up to the quota."""
    sent = demand.calls_per_month.get("report", 0.0) * sink.table.sample_fraction
    if not sent:
        return NOTHING
    return Usage({"error_sink.plan": 1.0, "error_sink.events": min(sent, float(sink.table.events_per_month_max))})


def error_storm(sink: Instance, fact: Callable[[str], float]) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage per second of a deployment whose every request fails: as many events as the service takes."""
    return Usage({"error_sink.events": sink.table.events_per_s_max})


COMPONENT = Component(
    name="error_sink",
    label="error sink",
    colour="#7a3b69",
    tier=Tier.STORE,
    table=ErrorSink,
    operations={"report": Operation(report)},
    meters=(
        meter("error_sink.plan", "month", price="plan_month", per=1.0, once=True),
        per_million("error_sink.events", "events", fact="events", free=""),
    ),
    background=month_of_events,
    runaways=(Runaway("error storm", "every request fails and reports it", error_storm),),
)
