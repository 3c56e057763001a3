"""WebSocket rooms as a component: they are objects of a namespace, and a route may join one, or speak in it.

The members of a room are sockets of this process. A route's message is brought to the object by one of them, and has
been heard by all when its step is done. A client that asks for an upgrade joins with a socket of its own, in place of a
member of this process; of what it says there only the work of the object is paced, not the network or the round trip.
"""

from weakref import WeakSet

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
        """Messages that reached a member of this process."""
        self._ours: WeakSet[Pair] = WeakSet()

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
            members.append(sockets.accept(self._attended(Pair()), ()))
        return members

    async def join(self, object_id: str, call: Call) -> Pair:
        """Open one more socket; who has been there for longest leaves, so that the room stays as large.

        Only members of this process leave: clients do so when they like.
        """
        ours = [member for member in self.members(object_id) if member.pair in self._ours]
        pair = await self.objects.join(object_id, call.stopwatch)
        if ours:
            self.objects.sockets(object_id).drop(ours[0])
        return pair

    async def join_here(self, object_id: str, call: Call) -> None:
        """Join with a socket of this process."""
        self._attended(await self.join(object_id, call))

    def _attended(self, pair: Pair) -> Pair:
        """Let this process hear what is sent to *pair*."""
        pair.attach(self._hear)
        self._ours.add(pair)
        return pair

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
    """Join the room of the request's key; a request for an upgrade goes on as the new socket."""
    asks_upgrade = call.request.headers.get("upgrade", "").lower() == "websocket"
    with rooms.objects.trip(call.stopwatch):
        if asks_upgrade:
            return Response(101, web_socket=await rooms.join(rooms.object_id(call), call))
        await rooms.join_here(rooms.object_id(call), call)
    return json_response({"success": True})


async def message(rooms: Rooms, call: Call) -> Response:
    """Say what the client sent, or as many bytes as the request has, in the room of its key."""
    said = call.body or bytes(call.size_bytes)
    if len(said) > rooms.settings.message_bytes_max:
        rule = f"an object receives at most {rooms.settings.message_bytes_max}"
        raise RequestError(413, "message_too_large", f"a message of {len(said)} bytes; {rule}")
    with rooms.objects.trip(call.stopwatch):
        heard = await rooms.speak(rooms.object_id(call), said, call=call)
    return json_response({"success": True, "heard": heard})


PART = Part(
    "websocket",
    settings=RoomSettings.read,
    build=Rooms,
    operations={"connect": Operation(connect), "message": Operation(message)},
)
