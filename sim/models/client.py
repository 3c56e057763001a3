"""The client: its timeout and its retries.

The platform completes the work of a request that timed out: it does not know that the client has given up.

Sources
-------
The policy is the scenario's (``[system.client]``); retries multiply load as in hazard H15.
"""

from typing import Annotated

from pydantic import Field

from sim.flow import Attempt, Failure, Flow, RetryBudget
from sim.foundation.schema import NotNegative, Positive, Table
from sim.models.component import Component, Instance, Tier

FINAL: tuple[Failure, ...] = ("refused", "too_large")
"""Outcomes that mean that the request itself is at fault, so that it is not retried."""

BURST = 10.0
"""Retries that a budget allows before any request has added to it, unless the scenario says another number."""


class Client(Table):
    """The client's timeout and retries."""

    timeout_ms: Positive
    """An attempt without an answer after this time has failed."""
    retries: Annotated[int, Field(ge=0, le=10)]
    """Further attempts after a failed one."""
    backoff_ms: NotNegative
    """Pause before the first retry; it doubles with each further one."""
    jitter: bool = False
    """Whether each pause is multiplied by a uniform random number (full jitter), so that clients do not retry at once
    together."""
    budget_ratio: NotNegative | None = None
    """Retry budget of all clients together: each request adds this much, a retry costs 1. By default there is none."""
    budget_retries_max: Annotated[int, Field(ge=1)] | None = None
    """Most that the budget holds, 10 by default; it starts full."""

    @property
    def burst(self) -> float:
        """Most that the budget holds."""
        return BURST if self.budget_retries_max is None else float(self.budget_retries_max)


def with_retries(client: Instance, inner: Flow) -> Flow:
    """Wrap *inner* in the client's timeout and retries."""
    table: Client = client.table
    ratio, burst = table.budget_ratio, table.burst
    return (
        Attempt(
            inner,
            client.stream("attempt"),
            timeout_ms=table.timeout_ms,
            retries=table.retries,
            backoff_ms=table.backoff_ms,
            jitter=table.jitter,
            budget=None if ratio is None else RetryBudget(f"{client.name}.budget", ratio, burst),
            final=FINAL,
        ),
    )


COMPONENT = Component(name="client", label="client", colour="#8a8f98", tier=Tier.CALLER, table=Client)
