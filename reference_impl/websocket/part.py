"""WebSocket rooms as a component: they are objects of a namespace, and a route may join one, or speak in it.

The members of a room are sockets of this process. A route's message is brought to the object by one of them, and has
been heard by all when its step is done.
"""

from reference_impl.durable_objects.part import RouteObjects
from reference_impl.durable_objects.sharding import object_name, organization_of
from reference_impl.durable_objects.sockets import Socket
from reference_impl.durable_objects.state import State
from reference_impl.errors import RequestError
from reference_impl.messages import Message, Pair, Response, Sent, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.websocket.room import Room, RoomSettings


class Rooms:
    """An instance: the rooms of all keys.

    Parameters
    ----------
    settings
        See :class:`reference_impl.websocket.room.RoomSettings`.
    context
        What the instance is built with.

    Raises
    ------
    ConfigError
        If the namespace is not there, or houses other rooms.
    """

    def __init__(self, settings: RoomSettings, context: Context) -> None:
        self.name = context.name
        self.settings = settings
        self.objects: RouteObjects = context.other(settings.objects, "durable_objects", key="objects")
        self.objects.host_room(self.build_room, tenant=context.name)
        self.heard = 0
        """Messages that reached a member."""

    def build_room(self, state: State) -> Room:
        """Build the room of one object."""
        return Room(state, self.settings, category=self.name)

    def members(self, object_id: str) -> list[Socket]:
        """Return the open sockets of a room, after as many have joined as it should have, in no time."""
        sockets = self.objects.sockets(object_id)
        sockets.hibernates = self.settings.hibernates
        sockets.hibernate_idle_ms = self.settings.hibernate_idle_ms
        members = sockets.of_tag(None)
        while len(members) < self.settings.members:
            pair = Pair()
            pair.attach(self._hear)
            members.append(sockets.accept(pair, ()))
        return members

    async def join(self, object_id: str, call: Call) -> None:
        """Open one more socket; who has been there for longest leaves, so that the room stays as large."""
        longest = self.members(object_id)[0]
        pair = await self.objects.join(object_id, call.stopwatch)
        pair.attach(self._hear)
        self.objects.sockets(object_id).drop(longest)

    async def speak(self, object_id: str, message: Message, *, call: Call) -> int:
        """Bring *message* to the object by one of the members; return how many hear it."""
        members = self.members(object_id)
        speaker = members[call.request_index % len(members)]
        await self.objects.receive(object_id, message, socket=speaker, stopwatch=call.stopwatch)
        return len(members)

    def object_id(self, call: Call) -> str:
        """Return the id of the object of the request's key."""
        return self.objects.id_from_name(object_name(organization_of(call.key), self.objects.settings.shards))

    def _hear(self, sent: Sent) -> None:
        self.heard += sent.close_code is None


async def connect(rooms: Rooms, call: Call) -> Response:
    """Join the room of the request's key."""
    async with rooms.objects.trip(call.stopwatch):
        await rooms.join(rooms.object_id(call), call)
    return json_response({"success": True})


async def message(rooms: Rooms, call: Call) -> Response:
    """Say what the client sent, or as many bytes as the request has, in the room of its key."""
    said = call.body or bytes(call.size_bytes)
    if len(said) > rooms.settings.message_bytes_max:
        rule = f"an object receives at most {rooms.settings.message_bytes_max}"
        raise RequestError(413, "message_too_large", f"a message of {len(said)} bytes; {rule}")
    async with rooms.objects.trip(call.stopwatch):
        heard = await rooms.speak(rooms.object_id(call), said, call=call)
    return json_response({"success": True, "heard": heard})


PART = Part(
    "websocket",
    settings=RoomSettings.read,
    build=Rooms,
    operations={"connect": Operation(connect), "message": Operation(message)},
)
