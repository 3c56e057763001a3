"""Durable Objects as a component: a namespace of objects, and what a route may ask of the object of its key."""

import math
from collections.abc import Callable

from reference_impl.durable_objects.namespace import DurableObject, Namespace
from reference_impl.durable_objects.route_object import ROWS_MAX, RouteObject, rows_request
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.sharding import object_name, organization_of
from reference_impl.durable_objects.state import State
from reference_impl.errors import ConfigError
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table

BuildObject = Callable[[State], DurableObject]


class RouteObjects(Namespace):
    """A namespace whose objects serve routes, and one tenant beside them.

    Parameters
    ----------
    settings
        See :class:`reference_impl.durable_objects.settings.DurableObjectsSettings`.
    context
        What the instance is built with.
    """

    def __init__(self, settings: DurableObjectsSettings, context: Context) -> None:
        self._tenant: BuildObject | None = None
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
        """Let an object that *build* makes live in each object of the namespace.

        Raises
        ------
        ConfigError
            If another tenant lives there.
        """
        if self._tenant is not None:
            raise ConfigError(f"system.{tenant}.objects={self.name!r} houses a ledger already; give it its own")
        self._tenant = build

    async def ask_object(self, call: Call, method: str, *, rows: int) -> None:
        """Visit or write rows of the object of the request's key."""
        name = object_name(organization_of(call.key), self.settings.shards)
        await self.ask(name, rows_request(method, rows=rows), stopwatch=call.stopwatch)

    def _build_object(self, state: State) -> RouteObject:
        tenant = None if self._tenant is None else self._tenant(state)
        return RouteObject(state, self.settings, category=self.name, tenant=tenant)


def rows_of_read(table: Table) -> int:
    """Read how many rows a read visits."""
    return math.ceil(table.number("rows_read", 1, at_most=ROWS_MAX))


def rows_of_write(table: Table) -> int:
    """Read how many rows a write writes."""
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
