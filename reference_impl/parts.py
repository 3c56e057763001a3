"""The interface of a component: a :class:`Part` has a reader of its table, a builder and operations.

The built-in parts are in ``reference_impl/COMPONENT/part.py``; a user's own is registered by
:func:`reference_impl.registry.register`. A deployment may have several instances of a component, each with its own
name, from which the names of its table, random-number streams, storage and time categories (``NAME`` and
``NAME_queue``) are derived.
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
"""Protocol of the requests to an entry."""


NO_REQUEST = Request("GET", "/")
"""The request of a call that no client made."""


@dataclass(frozen=True)
class Call:
    """One call of an operation of an instance.

    Parameters
    ----------
    route
        Name of the route.
    key
        Key of the request: selects the Durable Object, the rows, the organisation.
    size_bytes
        Number of bytes that the request stores or fetches.
    object_index
        Index of the stored object.
    request_index
        Index of the request in its run.
    request_id
        Identifies the request; a retry by the client has the same id.
    stopwatch
        The stopwatch of the request, or of the branch that makes this call.
    request
        The client's request, for its method and headers.
    body
        Body of the client's request.
    prepares
        Whether the request only creates the data that later ones need.
    numbers
        Of the uses and decisions of the route's steps; None outside of a route.
    step_index, repetition_index
        Position of the step in the route, and of this repetition of it.
    parameters
        Parameters of the step, as read by :attr:`Operation.parameters`.
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
    numbers: Any = None
    step_index: int = 0
    repetition_index: int = 0
    parameters: Any = None


def no_parameters(table: Table) -> None:
    """Read the parameters of an operation that takes none."""


@dataclass(frozen=True)
class Operation:
    """An operation of a component, which the steps of routes use.

    Parameters
    ----------
    run
        Executes it, given the instance and the call; its response is that of the route unless a later step returns
        one.
    parameters
        Reads the table ``parameters`` of a step.
    prepare
        Called for each step that uses it, as ``prepare(instance, parameters, where=...)``, before anything is asked and
        before :attr:`Part.start`.
    """

    run: Callable[[Any, Call], Awaitable[Response | None]]
    parameters: Callable[[Table], Any] = no_parameters
    prepare: Callable[..., None] | None = None


class Entry(Protocol):
    """An instance through which requests enter the deployment."""

    response_limit_bytes: int | None
    """Size limit of a response; None: no limit."""

    async def carry(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, head_start: HeadStart
    ) -> Response:
        """Delay a request, pass it to *serve*, delay the response; the response is started *head_start* early."""
        ...


class Context(Protocol):
    """The context passed to the builder of an instance."""

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
            If *component* has no such instance, or the dependency is cyclic.
        """
        ...


@dataclass(frozen=True)
class Part:
    """The description of a component.

    Parameters
    ----------
    component
        Its name; an instance of the same name needs no ``component`` in its table.
    settings
        Reads an instance's table in ``system``.
    build
        Builds an instance from the result of *settings* and the context.
    operations
        The operations that routes may use, by name.
    transport
        The protocol, if requests enter the deployment here; instances are then an :class:`Entry`.
    start
        Called with the instance once all instances are built.
    """

    component: str
    settings: Callable[[Table], Any]
    build: Callable[[Any, Context], Any]
    operations: Mapping[str, Operation] = field(default_factory=dict)
    transport: Transport | None = None
    start: Callable[[Any], None] | None = None
