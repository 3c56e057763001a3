"""Whoever sent the request: how long it waits for the answer, and whether it asks again.

Work of a request that the client gave up on goes on: the platform does not know that nobody is waiting.

Sources
-------
the policy is the scenario's (``[system.client]``); retries multiply load as in hazard H15.
"""

from sim.flow import Attempt, Failure, Flow
from sim.scenario.system import Client

FINAL: tuple[Failure, ...] = ("refused", "too_large")
"""Outcomes that say that the request itself is wrong: asking again cannot help."""


def flow(client: Client, inner: Flow) -> Flow:
    """Try *inner* under the client's timeout and retries."""
    return (
        Attempt(
            inner,
            "client.attempt",
            timeout_ms=client.timeout_ms,
            retries=client.retries,
            backoff_ms=client.backoff_ms,
            final=FINAL,
        ),
    )
