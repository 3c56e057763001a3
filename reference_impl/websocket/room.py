"""A room: an object that sends whatever one of its sockets says to all of them.

The sockets belong to the object's place, not to this instance, so a room that was put out of memory finds its members
when the next message wakes it (:mod:`reference_impl.durable_objects.sockets`).

Sources
-------
Durable Objects: WebSocket hibernation API (``webSocketMessage``, ``getWebSockets``), examples of a chat room.
"""

from dataclasses import dataclass

from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.sockets import HIBERNATE_IDLE_MS, MESSAGE_BYTES_MAX, SOCKETS_MAX, Socket
from reference_impl.durable_objects.state import State
from reference_impl.messages import Message, Pair
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class RoomSettings:
    """What a scenario says of rooms."""

    objects: str
    members: int
    connect_ms: Tape
    message_ms: Tape
    send_us: float
    message_bytes_max: int
    hibernates: bool
    hibernate_idle_ms: float

    @classmethod
    def read(cls, table: Table) -> "RoomSettings":
        """Read the table of rooms; what only the bill needs is passed over."""
        for billed in ("open_fraction", "request_messages"):
            table.number(billed, 1)
        return cls(
            objects=table.text("objects", "durable_objects"),
            members=table.whole("members", 1, at_least=1, at_most=SOCKETS_MAX),
            connect_ms=table.tape("connect_ms"),
            message_ms=table.tape("message_ms"),
            send_us=table.number("send_us", 0),
            message_bytes_max=table.whole("message_bytes_max", MESSAGE_BYTES_MAX, at_least=1),
            hibernates=table.flag("hibernates", default=True),
            hibernate_idle_ms=table.number("hibernate_idle_ms", HIBERNATE_IDLE_MS),
        )


class Room:
    """The object's code.

    Parameters
    ----------
    state
        Its sockets.
    settings
        How long a message takes, and a send.
    category
        The time category of both.
    """

    def __init__(self, state: State, settings: RoomSettings, *, category: str) -> None:
        self._state = state
        self._settings = settings
        self._category = category

    async def join(self, event: Event) -> Pair:
        """Take a new socket, and return the client's end of it."""
        async with event.stage(self._category, event.stopwatch.draw_ms(self._settings.connect_ms)):
            pair = Pair()
            self._state.accept_web_socket(pair)
        return pair

    async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
        """Send *message* to every member, the sender too."""
        members = self._state.web_sockets()
        work_ms = event.stopwatch.draw_ms(self._settings.message_ms)
        send_ms = len(members) * self._settings.send_us / 1_000 if event.stopwatch.is_paced else 0.0
        async with event.stage(self._category, work_ms + send_ms):
            for member in members:
                member.send(message)

    async def web_socket_close(self, socket: Socket, code: int, *, reason: str, event: Event) -> None:
        """Note that a member has left; the others are not notified."""
