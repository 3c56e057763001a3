"""The component ``durable_objects``: a namespace of objects, and the operations that routes may use."""

import math
from collections.abc import Callable

from reference_impl.durable_objects.namespace import DurableObject, Namespace
from reference_impl.durable_objects.route_object import ROWS_MAX, RoomObject, RouteObject, rows_request
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.sharding import object_name, organization_of
from reference_impl.durable_objects.state import State
from reference_impl.errors import ConfigError
from reference_impl.messages import Pair
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch

BuildObject = Callable[[State], DurableObject]
BuildRoom = Callable[[State], RoomObject]


class RouteObjects(Namespace):
    """A namespace whose objects serve routes and, optionally, host another component: the tenant.

    Parameters
    ----------
    settings
        See :class:`reference_impl.durable_objects.settings.DurableObjectsSettings`.
    context
        The instance's name, clock, volumes and so on.
    """

    def __init__(self, settings: DurableObjectsSettings, context: Context) -> None:
        self._tenant: BuildObject | None = None
        self._room: BuildRoom | None = None
        super().__init__(
            context.name,
            self._build_object,
            clock=context.clock,
            disk=context.volumes.disk(context.name),
            settings=settings,
            keeps_plan=context.keeps_plan,
            on_step=context.on_step,
            counts_rows=context.counts_rows,
        )

    def host(self, build: BuildObject, *, tenant: str) -> None:
        """Host an object built by *build* inside each object of the namespace.

        Raises
        ------
        ConfigError
            If the namespace hosts another tenant already.
        """
        if self._tenant is not None:
            raise ConfigError(f"system.{tenant}.objects={self.name!r} hosts a ledger already; give it its own")
        self._tenant = build

    def host_room(self, build: BuildRoom, *, tenant: str) -> None:
        """Let a room built by *build* handle the WebSockets of each object of the namespace.

        Raises
        ------
        ConfigError
            If the namespace hosts rooms already.
        """
        if self._room is not None:
            raise ConfigError(f"system.{tenant}.objects={self.name!r} hosts rooms already; give these their own")
        self._room = build

    async def join(self, object_id: str, stopwatch: Stopwatch) -> Pair:
        """Let a new WebSocket join the room of an object, and return the client's end of it."""
        return await self._enter(object_id, stopwatch, lambda it, event: it.join(event))

    async def ask_object(self, call: Call, method: str, *, rows: int) -> None:
        """Read or write rows in the object of the request's key."""
        name = object_name(organization_of(call.key), self.settings.shards)
        await self.ask(name, rows_request(method, rows=rows), stopwatch=call.stopwatch)

    def _build_object(self, state: State) -> RouteObject:
        tenant = None if self._tenant is None else self._tenant(state)
        room = None if self._room is None else self._room(state)
        return RouteObject(state, self.settings, category=self.name, tenant=tenant, room=room)


def rows_of_read(table: Table) -> int:
    """Return the number of rows that a read visits, from the step's parameters."""
    return math.ceil(table.number("rows_read", 1, at_most=ROWS_MAX))


def rows_of_write(table: Table) -> int:
    """Return the number of rows that a write writes, from the step's parameters."""
    table.number("stored_bytes", 0)  # Only the bill uses it; it does not change the rows written here.
    return math.ceil(table.number("rows_written", 1, at_most=ROWS_MAX))


async def read(objects: RouteObjects, call: Call) -> None:
    """Read the state of the request's key."""
    await objects.ask_object(call, "GET", rows=call.parameters)


async def write(objects: RouteObjects, call: Call) -> None:
    """Change the state of the request's key; durable when it returns."""
    await objects.ask_object(call, "POST", rows=call.parameters)


PART = Part(
    "durable_objects",
    settings=DurableObjectsSettings.read,
    build=RouteObjects,
    operations={"read": Operation(read, rows_of_read), "write": Operation(write, rows_of_write)},
    start=Namespace.resume,
)
