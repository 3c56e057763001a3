"""The client: its timeout and its retries.

The platform completes the work of a request that timed out: it does not know that the client has given up.

Sources
-------
The policy is the scenario's (``[system.client]``); retries multiply load as in hazard H15.
"""

from typing import Annotated

from pydantic import Field

from sim.flow import Attempt, Failure, Flow
from sim.foundation.schema import NotNegative, Positive, Table
from sim.models.component import Component, Instance, Tier

FINAL: tuple[Failure, ...] = ("refused", "too_large")
"""Outcomes that mean that the request itself is at fault, so that it is not retried."""


class Client(Table):
    """The client's timeout and retries."""

    timeout_ms: Positive
    """An attempt without an answer after this time has failed."""
    retries: Annotated[int, Field(ge=0, le=10)]
    """Further attempts after a failed one."""
    backoff_ms: NotNegative
    """Pause before the first retry; it doubles with each further one."""


def with_retries(client: Instance, inner: Flow) -> Flow:
    """Wrap *inner* in the client's timeout and retries."""
    table: Client = client.table
    return (
        Attempt(
            inner,
            client.stream("attempt"),
            timeout_ms=table.timeout_ms,
            retries=table.retries,
            backoff_ms=table.backoff_ms,
            final=FINAL,
        ),
    )


COMPONENT = Component(name="client", label="client", colour="#8a8f98", tier=Tier.CALLER, table=Client)
