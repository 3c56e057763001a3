"""Cron triggers, an entry: the platform calls the Worker's ``scheduled`` handler, and nobody waits for the answer.

A route entered by a schedule runs at the schedule's rate, however much other traffic there is; its ``share`` multiplies
that rate (1: unchanged, 0: never).

Simplifications: runs come at random instants at the schedule's mean rate, not on the minute, so the effect of several
schedules that are due at the same instant is not seen; nor is the platform's delay in starting a run, about which
nothing is published.

A run is billed as any request is, by the ``workers.compute`` of its steps. In a live run the driver sends the route's
request, as a developer does who calls the handler by hand.

Sources
-------
Cloudflare Cron Triggers and Workers pricing pages (a run is a request; UTC; 250 triggers an account).
"""

from typing import Annotated, Any

from pydantic import AfterValidator

from sim.flow import Delay, Flow
from sim.foundation.schema import Table
from sim.models.component import Component, Instance, Tier
from sim.models.cron_schedule import read_schedule
from sim.randomness.distributions import Distribution


def _schedule(value: Any) -> str:
    schedule = read_schedule(value)
    if not schedule.runs_per_s:
        raise ValueError("must have a run: no day has that date, so it never comes")
    return schedule.text


class Cron(Table):
    """A schedule that calls the Worker."""

    schedule: Annotated[str, AfterValidator(_schedule)]
    """Minute, hour, day, month and weekday in cron's syntax, UTC; Sunday is 1."""
    dispatch_ms: Distribution
    """From the moment that a run is due, once the platform takes it up, to the handler."""


def enter(cron: Instance, inner: Flow) -> Flow:
    """Delay the call of the handler; no response travels back."""
    return (Delay(cron.table.dispatch_ms, cron.stream("dispatch")), *inner)


def runs_per_s(cron: Instance) -> float:
    """Return the schedule's mean number of runs per second."""
    return read_schedule(cron.table.schedule).runs_per_s


COMPONENT = Component(
    name="cron",
    label="cron",
    colour="#5f9ea0",
    tier=Tier.ENTRY,
    table=Cron,
    entry=enter,
    runs_per_s=runs_per_s,
)
