"""Parts: what a component of the deployment says of itself, so that nothing else needs to know it by name.

A component is a :class:`Part`: how its table is read, how an instance of it is built, and what a route may ask of
the instance. The built-in ones stand in ``reference_impl/COMPONENT/part.py``; one of a user's own is registered by
:func:`reference_impl.registry.register`. A deployment has any number of instances of a component, each under a name
of its own, and everything that belongs to an instance is called by that name: its table, its random numbers, its
bytes, its time categories ``NAME`` and ``NAME_queue``.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from reference_impl.messages import Request, Response
from reference_impl.sqlite.engines import Engine
from reference_impl.tables import Table
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from reference_impl.volumes.volumes import Volumes

Transport = Literal["http", "quic"]
"""What carries requests to an entry."""


NO_REQUEST = Request("GET", "/")
"""Of a call that no client's request stands behind."""


@dataclass(frozen=True)
class Call:
    """One request for one operation of an instance.

    Parameters
    ----------
    route
        Name of the route whose step it is.
    key
        Whom the request is about: it chooses the object, the rows, the organisation.
    size_bytes
        How many bytes the request stores or fetches.
    object_index
        Number of the stored object.
    request_index
        Number of the request in its run.
    request_id
        Name of the request; the same name again is the same request, sent once more.
    stopwatch
        Of the request, or of the branch of it that this call is made by.
    request
        What the client sent, for its method and headers.
    body
        Its body.
    prepares
        Whether the request only puts in place what later ones need.
    step_index, repetition_index
        Which step of the route this is, and which of several repetitions of it.
    parameters
        What the step says about the operation, as :attr:`Operation.parameters` read it.
    """

    route: str
    key: int
    size_bytes: int
    object_index: int
    request_index: int
    request_id: str
    stopwatch: Stopwatch
    request: Request = NO_REQUEST
    body: bytes = b""
    prepares: bool = False
    step_index: int = 0
    repetition_index: int = 0
    parameters: Any = None


def no_parameters(table: Table) -> None:
    """Read the parameters of an operation that takes none."""


@dataclass(frozen=True)
class Operation:
    """Something that a route may ask of an instance.

    Parameters
    ----------
    run
        Does it, given the instance and the call; what it returns is the route's answer unless a later step has
        one.
    parameters
        Reads the table ``parameters`` of a step.
    """

    run: Callable[[Any, Call], Awaitable[Response | None]]
    parameters: Callable[[Table], Any] = no_parameters


class Entry(Protocol):
    """An instance that requests come in by."""

    response_limit_bytes: int | None
    """The most that an answer may weigh; None: no bound."""

    async def carry(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, head_start: HeadStart
    ) -> Response:
        """Carry a request to *serve* and its answer back; both take time, the answer leaves by *head_start* early."""
        ...


class Context(Protocol):
    """What an instance is built with."""

    name: str
    clock: Clock
    keeps_plan: bool
    """False at full speed, see :class:`reference_impl.timing.stopwatch.Stopwatch`."""
    migrations: Mapping[str, str]
    """SQL of the deployment's own migrations, by file name."""
    volumes: Volumes
    counts_rows: bool
    """Whether the rows that objects read and write are counted, which costs more than the statements themselves."""
    on_step: Callable[[str], None]
    """Storage hook, see :mod:`reference_impl.durable_objects.storage`."""

    def engine(self, name: str = "database") -> Engine:
        """Return a SQLite database of the instance's own."""
        ...

    def other(self, name: str, component: str, *, key: str) -> Any:
        """Return another instance, which the table of this one names under *key*.

        Raises
        ------
        ConfigError
            If there is no such instance of *component*, or it depends on this one.
        """
        ...


@dataclass(frozen=True)
class Part:
    """A component.

    Parameters
    ----------
    component
        Its name; an instance of the same name needs no ``component`` in its table.
    settings
        Reads its table in ``system``.
    build
        Makes an instance from what *settings* read and the context.
    operations
        What routes may ask of an instance, by name.
    transport
        What carries requests to it, if requests come in by it; the instance is an :class:`Entry` then.
    start
        Called with the instance once all instances are built.
    """

    component: str
    settings: Callable[[Table], Any]
    build: Callable[[Any, Context], Any]
    operations: Mapping[str, Operation] = field(default_factory=dict)
    transport: Transport | None = None
    start: Callable[[Any], None] | None = None
