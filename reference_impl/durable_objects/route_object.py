"""The Durable Object that routes read and write: rows in its storage, and perhaps a tenant that shares queue and disk.

::

    GET  /rows?count=3   read the first rows, if they exist
    POST /rows?count=3   write the first rows; the value of a row counts its writes
    anything else        goes to the *tenant*, for example a ledger

One object has one queue and one disk: a route's write and a ledger's append to the same key wait for each other, as two
methods of one class do.
"""

from typing import Protocol

from reference_impl import validation
from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.limits import KEYS_PER_CALL_MAX
from reference_impl.durable_objects.namespace import DurableObject
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.sockets import Socket
from reference_impl.durable_objects.state import State
from reference_impl.errors import RequestError
from reference_impl.messages import Message, Pair, Request, Response, json_response

ROWS_PATH = "/rows"
ROWS_MAX = 100_000
"""Largest number of rows in one call; more would hold the object for seconds."""


def rows_request(method: str, *, rows: int) -> Request:
    """Return the request for the first *rows* rows: GET reads them, POST writes them."""
    return Request(method, ROWS_PATH, {"count": str(rows)})


class RoomObject(Protocol):
    """The interface of the part of an object that handles its WebSockets: a room."""

    async def join(self, event: Event) -> Pair:
        """Accept a new socket and return the client's end of it; the object is held."""
        ...

    async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
        """Handle a client's message; the object is held."""
        ...

    async def web_socket_close(self, socket: Socket, code: int, *, reason: str, event: Event) -> None:
        """Handle the end of a client's connection; the object is held."""
        ...


class RouteObject:
    """The Durable Object behind routes.

    Parameters
    ----------
    state
        Storage and identity.
    settings
        Service times of reads and writes.
    category
        The time category of both.
    tenant
        Answers every other request and the alarm; None: such a request is answered 404.
    room
        Handles WebSockets; None: the object accepts none.
    """

    def __init__(
        self,
        state: State,
        settings: DurableObjectsSettings,
        *,
        category: str,
        tenant: DurableObject | None,
        room: RoomObject | None = None,
    ) -> None:
        self._storage = state.storage
        self._settings = settings
        self._category = category
        self._tenant = tenant
        self._room = room

    async def fetch(self, request: Request, event: Event) -> Response:
        """Read or write rows, or pass the request to the tenant."""
        if request.path == ROWS_PATH:
            rows = validation.whole_number_text("count", request.query.get("count", ""), at_most=ROWS_MAX)
            return await (self._write if request.method == "POST" else self._read)(rows, event)
        if self._tenant is None:
            raise RequestError(404, "not_found", f"the object has no route {request.path[:80]!r}")
        return await self._tenant.fetch(request, event)

    async def join(self, event: Event) -> Pair:
        """Pass a new WebSocket to the room."""
        assert self._room is not None, "only a namespace with rooms is asked"
        return await self._room.join(event)

    async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
        """Pass a client's message to the room."""
        if self._room is not None:
            await self._room.web_socket_message(socket, message, event=event)

    async def web_socket_close(self, socket: Socket, code: int, *, reason: str, event: Event) -> None:
        """Pass the end of a client's connection to the room."""
        if self._room is not None:
            await self._room.web_socket_close(socket, code, reason=reason, event=event)

    async def alarm(self, event: Event) -> None:
        """Pass the alarm to the tenant."""
        if self._tenant is not None:
            await self._tenant.alarm(event)

    async def _read(self, rows: int, event: Event) -> Response:
        async with event.stage(self._category, event.work_ms(self._settings.read_ms)):
            found = self._versions(rows)
        return json_response({"success": True, "rows": len(found)})

    async def _write(self, rows: int, event: Event) -> Response:
        async with event.stage(self._category, event.work_ms(self._settings.write_ms)):
            versions = self._versions(rows)
            with self._storage.transaction():
                for keys in _calls(rows):
                    self._storage.put({key: versions.get(key, 0) + 1 for key in keys})
        return json_response({"success": True, "rows": rows})

    def _versions(self, rows: int) -> dict[str, int]:
        return {key: version for keys in _calls(rows) for key, version in self._storage.get(keys).items()}


def _calls(rows: int) -> list[list[str]]:
    """Return the keys of the first *rows* rows, in batches that one storage call accepts."""
    keys = [f"row-{position:06d}" for position in range(rows)]
    return [keys[start : start + KEYS_PER_CALL_MAX] for start in range(0, rows, KEYS_PER_CALL_MAX)]
