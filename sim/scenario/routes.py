"""Routes: what each kind of request asks of the deployment, as data.

A route has a share of the traffic, an entry that it comes in by, a request that stands for it on the wire, and steps:
operations of the system's instances, in order. No route's name stands in code.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sim.schema import Count, Distribution, Fraction, NotNegative, Positive, Table

PLACEHOLDERS = ("key", "object", "request", "run", "size_bytes", "tokens_in", "tokens_out", "time_ms")
"""What may stand in braces in a path or a body: attributes of the request, its number, the run's name, the time."""

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

SIZE = "size_bytes"
"""Stands for as many bytes as the request has, as a body or as the length of an answer."""


class Request(Table):
    """What a route looks like on the wire."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    """HTTP method."""
    path: Annotated[str, Field(pattern=r"^/[^\s#]*$")]
    """Path and query, with placeholders in braces: ``/feed/{key}``."""
    body: str = ""
    """Name of a body under ``[bodies]``, or ``size_bytes`` for as many bytes as the request has; empty for none."""
    answer: Literal["", "size_bytes"] = ""
    """``size_bytes``: the answer must have as many bytes as the request says."""


def _step(value: Any) -> Any:
    """An operation's name alone is a step; keys beside ``use`` that are no step's own are the operation's."""
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
    """Steps that belong together."""
    parameters: Annotated[dict[str, Any], Field(default_factory=dict)]
    """What the operation may be told. Its keys may stand in the step: ``{ use = "d1.read", rows_read = 20 }``."""
    times: Annotated[int, Field(ge=1, le=1_000)] = 1
    """How often it is done."""
    parallel: bool = False
    """Whether the repetitions, and the steps of the group, run at once."""
    chance: Fraction = 1.0
    """Share of requests that do it at all: 0.2 behind a cache that hits 80 %."""
    spawn: bool = False
    """Whether nobody waits for it (``waitUntil``)."""
    timeout_ms: Positive | None = None
    """The caller gives up after so long; what it asked for goes on."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Further attempts after a failed one."""
    backoff_ms: NotNegative = 0.0
    """Pause before the first retry; it doubles with each further one."""
    jitter: bool = False
    """Whether each pause is a random part of it (full jitter)."""
    hedge_ms: Positive | None = None
    """A second copy is started after so long; the first success counts."""

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


def _matches(value: Any) -> Any:
    """One pattern alone is a list of one."""
    return (value,) if isinstance(value, str) else value


class Route(Table):
    """One kind of request."""

    share: Share
    """Weight in the traffic; the weights need not add up to 1."""
    enter: str = "network"
    """Instance that its requests come in by."""
    keys: str = ""
    """Population that its keys are drawn from, under ``[workload.populations]``; empty for ``[workload.keys]``."""
    size_bytes: Distribution | None = None
    """Bytes that a request carries or asks for; none without it."""
    objects: Count | None = None
    """The bytes belong to one of so many stored objects, whose sizes are quantiles; without it, to a new one."""
    match: Annotated[tuple[Match, ...], BeforeValidator(_matches)] = ()
    """Rows of a trace that are this route: ``"GET /img/:id"``, or several; by default as its request."""
    request: Request | None = None
    """How it is sent; by default ``GET`` or, if it changes anything, ``POST`` of ``/NAME?key={key}``."""
    prepare: Request | None = None
    """Request that puts one stored object in place before a run on a real deployment."""
    steps: Annotated[tuple[AnyStep, ...], Field(min_length=1)]
    """What is done, in order."""


def counted_uses(steps: tuple[Step, ...]) -> Counter[str]:
    """Count how often *steps* use each operation, if all of them happen; in order of writing."""
    found: Counter[str] = Counter()
    for step in steps:
        inside = {step.use: 1} if step.use is not None else counted_uses(step.steps or ())
        for operation, often in inside.items():
            found[operation] += often * step.times
    return found


def expected_uses(steps: tuple[Step, ...], share: float = 1.0) -> Iterator[tuple[Step, float]]:
    """Yield every operation with the mean number of times that a request does it, retries and hedges left out."""
    for step in steps:
        often = share * step.chance * step.times
        if step.steps is None:
            yield step, often
        else:
            yield from expected_uses(step.steps, often)
