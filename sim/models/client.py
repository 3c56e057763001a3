"""The client: how long it waits for an answer, and whether it asks again.

Work of a request that the client gave up on goes on: the platform does not know that nobody is waiting.

Sources
-------
the policy is the scenario's (``[system.client]``); retries multiply load as in hazard H15.
"""

from typing import Annotated

from pydantic import Field

from sim.flow import Attempt, Failure, Flow
from sim.models.component import Component, Instance, Tier
from sim.schema import NotNegative, Positive, Table

FINAL: tuple[Failure, ...] = ("refused", "too_large")
"""Outcomes that say that the request itself is wrong: asking again cannot help."""


class Client(Table):
    """The client's patience."""

    timeout_ms: Positive
    """An attempt without an answer for so long has failed."""
    retries: Annotated[int, Field(ge=0, le=10)]
    """Further attempts after a failed one."""
    backoff_ms: NotNegative
    """Pause before the first retry; it doubles with each further one."""


def patient(client: Instance, inner: Flow) -> Flow:
    """Try *inner* under the client's timeout and retries."""
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
