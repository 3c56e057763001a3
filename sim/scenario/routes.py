"""Routes: the kinds of requests and the operations that each performs, as data.

A route has a share of the traffic, an entry through which it arrives, an HTTP request for live runs, and steps:
operations of the system's instances, in order. No route's name appears in code.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sim.foundation.schema import Count, Fraction, NotNegative, Positive, Table
from sim.randomness.distributions import Distribution
from sim.scenario.measured import Measured
from sim.scenario.sockets import Socket

PLACEHOLDERS = ("key", "object", "request", "run", "size_bytes", "tokens_in", "tokens_out", "time_ms")
"""Placeholders, in braces, of a path or a body: attributes of the request, its number, the run's name, the time."""

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

SIZE = "size_bytes"
"""As a body or an answer: as many bytes as the request's ``size_bytes``."""


class Request(Table):
    """The HTTP request of a route."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    """HTTP method."""
    path: Annotated[str, Field(pattern=r"^/[^\s#]*$")]
    """Path and query, with placeholders in braces: ``/feed/{key}``."""
    body: str = ""
    """Name of a body under ``[bodies]``, or ``size_bytes`` for as many bytes as the request has; empty for none."""
    answer: Literal["", "size_bytes"] = ""
    """``size_bytes``: the answer must have as many bytes as the request says."""


def _step(value: Any) -> Any:
    """Normalise a step: a string is an operation's name; unknown keys beside ``use`` are the operation's parameters."""
    if isinstance(value, str):
        return {"use": value}
    if not isinstance(value, dict) or "use" not in value or "parameters" in value:
        return value
    own = {key: entry for key, entry in value.items() if key in Step.model_fields}
    return {**own, "parameters": {key: entry for key, entry in value.items() if key not in own}}


class Step(Table):
    """One step of a route: an operation, or several in a group."""

    use: str | None = None
    """Operation of an instance: ``d1.read``. Either this or ``steps``."""
    steps: Annotated[tuple["AnyStep", ...] | None, Field(min_length=1)] = None
    """Steps of a group."""
    parameters: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Parameters of the operation. They may be given in the step itself: ``{ use = "d1.read", rows_read = 20 }``."""
    times: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Number of repetitions."""
    parallel: bool = False
    """Whether the repetitions, and the steps of the group, run concurrently."""
    chance: Fraction = 1.0
    """Share of requests that take the step: 0.2 behind a cache with a hit ratio of 80 %."""
    spawn: bool = False
    """Whether it runs in the background, without anything waiting for it (``waitUntil``)."""
    timeout_ms: Positive | None = None
    """Timeout of the caller; the abandoned work continues."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Further attempts after a failed one."""
    backoff_ms: NotNegative = 0.0
    """Pause before the first retry; it doubles with each further one."""
    jitter: bool = False
    """Whether each pause is multiplied by a uniform random number (full jitter)."""
    hedge_ms: Positive | None = None
    """Time after which a second copy is started; the first success counts."""

    @model_validator(mode="after")
    def _one(self) -> "Step":
        if (self.use is None) == (self.steps is None):
            raise ValueError("must hold either use or steps")
        if self.steps is not None and self.parameters:
            raise ValueError("must not hold parameters beside steps: they belong to an operation")
        return self


AnyStep = Annotated[Step, BeforeValidator(_step)]
Step.model_rebuild()


Share = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""A weight; the bound keeps the sum of all of them finite."""


Match = Annotated[str, Field(pattern=r"^([A-Z]+ +|\* +)?/\S*$")]
"""Method and path: ``:id`` or ``{id}`` stands for a part of a segment, ``*`` for any rest."""


class Messages(Table):
    """Messages that the clients of a route send on the WebSockets which it opens."""

    every_s: Positive
    """Time between two messages of one client, on average."""
    session_s: Positive
    """Mean length of a session. Messages a second: sessions a second x ``session_s`` / ``every_s``."""
    size_bytes: Distribution | None = None
    """Bytes of a message; by default none."""
    steps: Annotated[tuple["AnyStep", ...] | None, Field(min_length=1)] = None
    """Steps of a message; by default ``websocket.message`` of the instance whose ``connect`` the route uses."""
    socket: Socket | None = None
    """The WebSocket on which a live run sends them; by default each is an HTTP request of the route NAME_messages."""


def _matches(value: Any) -> Any:
    """One pattern alone is a list of one."""
    return (value,) if isinstance(value, str) else value


class Route(Table):
    """One kind of request."""

    share: Share
    """Weight in the traffic; the weights need not add up to 1. Of a route that comes in by a schedule: a factor on its
    runs."""
    enter: str = "network"
    """Instance through which its requests enter."""
    keys: str = ""
    """Population that its keys are drawn from, under ``[workload.populations]``; empty for ``[workload.keys]``."""
    size_bytes: Distribution | None = None
    """Bytes that a request uploads or downloads; by default none."""
    objects: Count | None = None
    """Number of stored objects, one of which each request addresses; by default each request has a new object."""
    match: Annotated[tuple[Match, ...], BeforeValidator(_matches)] = ()
    """Rows of a trace that belong to this route: ``"GET /img/:id"``, or several; by default as its request."""
    request: Request | None = None
    """Its HTTP request; by default ``GET`` or, if it changes anything, ``POST`` of ``/NAME?key={key}``."""
    prepare: Request | None = None
    """Request that creates one stored object before a run on a real deployment."""
    socket: Socket | None = None
    """Its WebSocket, on which a live run sends its requests as messages, in place of ``request``."""
    messages: Messages | None = None
    """Messages on the WebSockets that its requests open: played as a route NAME_messages, beside all requests."""
    measured: Measured | None = None
    """What a log of the real deployment says of its latency, for a plan to compare."""
    steps: Annotated[tuple[AnyStep, ...], Field(min_length=1)]
    """Steps, in order."""


def counted_uses(steps: tuple[Step, ...]) -> Counter[str]:
    """Count how often *steps* use each operation if all of them are taken, in the order written."""
    found: Counter[str] = Counter()
    for step in steps:
        inside = {step.use: 1} if step.use is not None else counted_uses(step.steps or ())
        for operation, often in inside.items():
            found[operation] += often * step.times
    return found


def expected_uses(steps: tuple[Step, ...], share: float = 1.0) -> Iterator[tuple[Step, float]]:
    """Yield every operation with the mean number of its uses per request, without retries and hedges."""
    for step in steps:
        often = share * step.chance * step.times
        if step.steps is None:
            yield step, often
        else:
            yield from expected_uses(step.steps, often)
