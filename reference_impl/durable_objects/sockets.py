"""Hibernatable WebSockets of a Durable Object: the sockets stay while the object leaves memory.

::

    client ◄──► adapter ◄──► pair ◄──► socket (tags, attachment) ··· object (perhaps not in memory)
                                └ message ──► an event of the object, which is built anew if need be

A socket belongs to the object's place, not to its instance: after an eviction the next message builds
the object again, and it finds its sockets with their tags and attachments. What it sends leaves through
the output gate, in order, after what it depends on is durable. When the object's code is deployed anew the
sockets are closed: clients connect again.

Sources
-------
Durable Objects WebSocket API (``acceptWebSocket``, ``getWebSockets``, attachments, auto-response) and
its limits: 10 tags of 256 characters, attachments of 16,384 bytes, received messages of 32 MiB.
"""

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from reference_impl.errors import LimitError, PlatformError
from reference_impl.messages import Message, Pair, Sent

TAGS_MAX = 10
TAG_CHARACTERS_MAX = 256
ATTACHMENT_BYTES_MAX = 16_384
MESSAGE_BYTES_MAX = 32 * 1_024 * 1_024
HIBERNATE_IDLE_MS = 10_000.0
"""Idle time after which an object that only has hibernatable sockets leaves memory."""
SOCKETS_MAX = 32_768
"""Sockets of one object at once: a bound, as the platform has one."""
NORMAL_CLOSURE = 1000
SERVICE_RESTART = 1012
ABNORMAL_CLOSURE = 1006


class Socket:
    """The object's end.

    Parameters
    ----------
    pair
        The other end.
    tags
        What the object finds it by.
    post
        Lets something leave through the object's output gate.
    """

    def __init__(self, pair: Pair, tags: Sequence[str], *, post: Callable[[Callable[[], None]], None]) -> None:
        self.pair = pair
        self.tags = tuple(tags)
        self.is_open = True
        self._post = post
        self._attachment = "null"

    def send(self, message: Message) -> None:
        """Send *message* once what it depends on is durable.

        Raises
        ------
        PlatformError
            If the socket is closed.
        """
        if not self.is_open:
            raise PlatformError("the WebSocket is closed; nothing can be sent on it")
        self._post(lambda: self.pair.give(Sent(message)))

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Close it, after what was sent before."""
        if self.is_open:
            self.is_open = False
            self._post(lambda: self.pair.give(Sent(close_code=code, reason=reason)))

    def break_off(self, code: int, reason: str) -> None:
        """Close it at once, past the gate: the object is gone."""
        if self.is_open:
            self.is_open = False
            self.pair.give(Sent(close_code=code, reason=reason))

    def serialize_attachment(self, value: Any) -> None:
        """Keep *value* with the socket; it outlives the object's memory.

        Raises
        ------
        LimitError
            If it is more than 16,384 bytes as JSON.
        """
        text = json.dumps(value, separators=(",", ":"))
        size_bytes = len(text.encode())
        if size_bytes > ATTACHMENT_BYTES_MAX:
            raise LimitError(f"an attachment of {size_bytes} bytes; the platform keeps at most {ATTACHMENT_BYTES_MAX}")
        self._attachment = text

    def deserialize_attachment(self) -> Any:
        """Return what was kept with the socket, or None."""
        return json.loads(self._attachment)


class Sockets:
    """All sockets of one object, and what waits at its output gate.

    Parameters
    ----------
    bring
        Makes a client's message an event of the object.
    hang_up
        Makes an event of a client's leaving.
    """

    def __init__(
        self,
        *,
        bring: "Callable[[Socket, Message], Coroutine[Any, Any, None]]",
        hang_up: "Callable[[Socket, int, str], Coroutine[Any, Any, None]]",
    ) -> None:
        self._bring = bring
        self._hang_up = hang_up
        self._sockets: list[Socket] = []
        self._posted: list[tuple[int, Callable[[], None]]] = []
        self.auto_response: tuple[str, str] | None = None
        self.hibernates = True
        """Whether the object may leave memory while sockets are open: with the hibernation API only."""
        self.hibernate_idle_ms = HIBERNATE_IDLE_MS
        self.mark: Callable[[], int] = lambda: 0
        """Tells how many commits must be durable before what is sent now may leave."""

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def has_posted(self) -> bool:
        """Whether anything waits at the output gate."""
        return bool(self._posted)

    def accept(self, pair: Pair, tags: Sequence[str]) -> Socket:
        """Take the object's end of *pair*.

        Raises
        ------
        LimitError
            If there are too many sockets, too many tags, or a tag is too long.
        """
        if len(self._sockets) >= SOCKETS_MAX:
            raise LimitError(f"{len(self._sockets)} WebSockets are open; an object has at most {SOCKETS_MAX}")
        if len(tags) > TAGS_MAX or any(len(tag) > TAG_CHARACTERS_MAX for tag in tags):
            raise LimitError(f"{len(tags)} tags; at most {TAGS_MAX} of {TAG_CHARACTERS_MAX} characters")
        socket = Socket(pair, tags, post=lambda leave: self._posted.append((self.mark(), leave)))
        pair.bind(
            lambda message: self._bring(socket, message),
            lambda code, reason: self._hang_up(socket, code, reason),
        )
        self._sockets.append(socket)
        return socket

    def of_tag(self, tag: str | None) -> list[Socket]:
        """Return the open sockets with *tag*, or all."""
        return [socket for socket in self._sockets if socket.is_open and (tag is None or tag in socket.tags)]

    def drop(self, socket: Socket) -> None:
        """Forget a socket whose client is gone."""
        socket.is_open = False
        if socket in self._sockets:
            self._sockets.remove(socket)

    def release(self, confirmed: int) -> None:
        """Let leave what waits for no more than *confirmed* commits, in order."""
        # What was sent in a turn that was undone waits for a commit that may never come.
        awaited = self.mark()
        while self._posted and min(self._posted[0][0], awaited) <= confirmed:
            self._posted.pop(0)[1]()

    def discard(self) -> None:
        """Let nothing leave of what waits: what it depends on did not become durable."""
        self._posted.clear()

    def break_off(self, code: int, reason: str) -> None:
        """Close all of them at once."""
        self.discard()
        for socket in self._sockets:
            socket.break_off(code, reason)
        self._sockets.clear()
