"""Hibernatable WebSockets: sockets outlive the object's memory, and what is sent tells only what is durable.

Goal: after an eviction the next message finds object, sockets, tags and attachments; messages leave in order and
through the output gate. Method: a chat room on a disk that takes 30 ms to make anything durable, under a virtual clock.
"""

from typing import Any

import pytest

from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.sockets import Socket
from reference_impl.durable_objects.state import State
from reference_impl.errors import LimitError, PlatformError
from reference_impl.messages import Message, Pair, Request, Response, Sent
from tests.support.objects import Scene, scene


class Room:
    """Numbers every message on its disk and sends it to all of the sender's tag."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.in_memory = 0
        state.set_web_socket_auto_response("ping", "pong")

    async def fetch(self, request: Request, event: Event) -> Response:
        pair = Pair()
        socket = self.state.accept_web_socket(pair, [request.query.get("tag", "all")])
        socket.serialize_attachment({"name": request.query.get("who")})
        return Response(101, web_socket=pair)

    async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
        self.in_memory += 1
        if message == "crash":
            self.state.storage.put("count", 99)
            socket.send("never told")
            raise ZeroDivisionError
        if message == "bye":
            socket.send("last words")
            socket.close(4000, "as you wish")
            return
        count = self.state.storage.get("count", 0) + 1
        self.state.storage.put("count", count)
        name = socket.deserialize_attachment()["name"]
        for other in self.state.web_sockets(socket.tags[0]):
            other.send(f"{count} {name}: {message!s} ({self.in_memory} in memory)")

    async def web_socket_close(self, socket: Socket, code: int, *, reason: str, event: Event) -> None:
        for other in self.state.web_sockets():
            other.send(f"left with {code} {reason}".strip())

    async def alarm(self, event: Event) -> None:
        raise NotImplementedError  # Nobody sets an alarm here.


class Client:
    """A client of the room: what it was sent, and when."""

    def __init__(self, s: Scene, **query: str) -> None:
        self.scene = s
        self.object_id = s.namespace.id_from_name("a")
        answer = s.send("/", **query)[0]
        assert answer.status == 101
        self.received: list[tuple[float, Sent]] = []
        self.pair: Pair = answer.web_socket
        self.pair.attach(lambda sent: self.received.append((s.clock.now_ms(), sent)))
        activation = s.namespace._activation(self.object_id)
        self.socket = next(socket for socket in activation.sockets.of_tag(None) if socket.pair is self.pair)

    def send(self, message: Message) -> None:
        """Send one message and let it run to its end."""
        self.scene.clock.run(self.pair.bring(message))

    def leave(self, code: int = 1001) -> None:
        """Hang up."""
        self.scene.clock.run(self.pair.hang_up(code))

    @property
    def texts(self) -> list[Message]:
        """What it was sent."""
        return [sent.message for _, sent in self.received]


def test_a_message_reaches_everybody_of_the_tag_and_nobody_else() -> None:
    with scene(Room) as s:
        anna, bert, carl = Client(s, who="anna"), Client(s, who="bert"), Client(s, who="carl", tag="other")
        anna.send("hello")
        assert anna.texts == bert.texts == ["1 anna: hello (1 in memory)"]
        assert carl.texts == []


def test_an_object_hibernates_after_10_s_and_its_sockets_stay() -> None:
    with scene(Room, evict_idle_ms=70_000) as s:
        anna = Client(s, who="anna")
        anna.send("one")
        s.clock.run_until(s.clock.now_ms() + 9_000)
        anna.send("two")
        s.clock.run_until(s.clock.now_ms() + 10_001)
        anna.send("three")
        assert anna.texts == [
            "1 anna: one (1 in memory)",
            "2 anna: two (2 in memory)",
            "3 anna: three (1 in memory)",
        ]


def test_without_sockets_an_object_stays_for_the_whole_eviction_time() -> None:
    with scene(Room, evict_idle_ms=70_000) as s:
        anna = Client(s, who="anna")
        anna.send("one")
        bert = Client(s, who="bert")
        anna.leave()
        bert.leave()
        s.clock.run_until(s.clock.now_ms() + 60_000)
        carl = Client(s, who="carl")
        carl.send("two")
        assert carl.texts == ["2 carl: two (2 in memory)"]


def test_a_ping_is_answered_without_waking_the_object() -> None:
    with scene(Room) as s:
        anna = Client(s, who="anna")
        s.namespace.evict(anna.object_id)
        anna.send("ping")
        assert anna.texts == ["pong"]
        assert s.namespace._activation(anna.object_id).instance is None


def test_what_is_sent_leaves_once_it_is_durable_and_in_order() -> None:
    with scene(Room, sync_ms=30) as s:
        anna = Client(s, who="anna")
        began_ms = s.clock.now_ms()
        s.clock.run(*(anna.pair.bring(text) for text in ("one", "two")))
        assert [sent.message for _, sent in anna.received] == [
            "1 anna: one (1 in memory)",
            "2 anna: two (2 in memory)",
        ]
        assert [at_ms - began_ms for at_ms, _ in anna.received] == [30, 30]


def test_what_does_not_become_durable_is_never_told() -> None:
    with scene(Room, sync_ms=30) as s:
        anna = Client(s, who="anna")
        s.disk.fails = True
        with pytest.raises(PlatformError):
            anna.send("one")
        s.disk.fails = False
        with pytest.raises(ZeroDivisionError):
            anna.send("crash")
        assert anna.texts == []
        anna.send("two")
        # The first was committed, only not confirmed: memory is new, the count goes on.
        assert anna.texts == ["2 anna: two (1 in memory)"]


def test_what_was_sent_in_a_transaction_that_was_undone_does_not_hold_up_what_follows() -> None:
    class Undoes(Room):
        async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
            try:
                with self.state.storage.transaction():
                    self.state.storage.put("count", 99)
                    socket.send("perhaps")
                    raise PlatformError("never mind")
            except PlatformError:
                socket.send(f"count is {self.state.storage.get('count', 0)}")

    with scene(Undoes, sync_ms=30) as s:
        anna = Client(s, who="anna")
        anna.send("go")
        assert anna.texts == ["perhaps", "count is 0"]


def test_a_client_that_leaves_is_told_of_and_gets_nothing_more() -> None:
    with scene(Room) as s:
        anna, bert = Client(s, who="anna"), Client(s, who="bert")
        bert.leave()
        assert (anna.texts, bert.texts) == (["left with 1001"], [])
        with pytest.raises(PlatformError, match="is closed"):
            bert.socket.send("too late")


def test_the_object_closes_a_socket_after_what_it_said_before() -> None:
    with scene(Room) as s:
        anna = Client(s, who="anna")
        anna.send("bye")
        assert [sent for _, sent in anna.received] == [
            Sent("last words"),
            Sent(close_code=4000, reason="as you wish"),
        ]
        assert s.namespace._activation(anna.object_id).sockets.of_tag(None) == []


def test_a_deployment_closes_every_socket() -> None:
    with scene(Room) as s:
        anna = Client(s, who="anna")
        s.namespace.restart()
        assert [sent.close_code for _, sent in anna.received] == [1012]
        again = Client(s, who="anna")
        again.send("back")
        assert again.texts == ["1 anna: back (1 in memory)"]


def test_what_is_sent_before_the_adapter_is_there_waits_for_it() -> None:
    pair = Pair()
    pair.give(Sent("early"))
    taken: list[Any] = []
    pair.attach(taken.append)
    pair.give(Sent("later"))
    assert [sent.message for sent in taken] == ["early", "later"]


@pytest.mark.parametrize(("tags", "message"), [(["t"] * 11, "11 tags; at most 10"), (["t" * 257], "of 256 characters")])
def test_tags_have_limits(tags: list[str], message: str) -> None:
    with scene(Room) as s:
        Client(s, who="anna")
        state: State = s.namespace._activation(s.namespace.id_from_name("a")).state
        with pytest.raises(LimitError, match=message):
            state.accept_web_socket(Pair(), tags)
        state.accept_web_socket(Pair(), ["t" * 256] * 10)


@pytest.mark.parametrize("size_bytes", [16_384, 16_385])
def test_attachments_have_a_limit(size_bytes: int) -> None:
    with scene(Room) as s:
        anna = Client(s, who="anna")
        value = "v" * (size_bytes - 2)
        if size_bytes > 16_384:
            with pytest.raises(LimitError, match="16385 bytes"):
                anna.socket.serialize_attachment(value)
        else:
            anna.socket.serialize_attachment(value)
            assert anna.socket.deserialize_attachment() == value


def test_a_message_has_a_limit() -> None:
    with scene(Room) as s:
        anna = Client(s, who="anna")
        with pytest.raises(LimitError, match="33554433 bytes"):
            anna.send(bytes(32 * 1_024 * 1_024 + 1))


def test_the_number_of_sockets_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_impl.durable_objects.sockets.SOCKETS_MAX", 2)
    with scene(Room) as s:
        Client(s, who="anna")
        Client(s, who="bert")
        with pytest.raises(LimitError, match="2 WebSockets are open"):
            Client(s, who="carl")
