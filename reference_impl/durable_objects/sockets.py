"""Hibernatable WebSockets of a Durable Object: the sockets stay open while the object is evicted from memory.

::

    client ◄──► adapter ◄──► pair ◄──► socket (tags, attachment) ··· object (perhaps not in memory)
                                └ message ──► an event of the object, which is rebuilt if it was evicted

A socket belongs to the activation, not to the instance: after an eviction the next message builds
the object again, and it finds its sockets with their tags and attachments. Messages leave through
the output gate, in order, once the writes that they depend on are durable. A deployment of new code closes
the sockets; clients reconnect.

Sources
-------
Durable Objects WebSocket API (``acceptWebSocket``, ``getWebSockets``, attachments, auto-response) and
its limits: 10 tags of 256 characters, attachments of 16,384 bytes, received messages of 32 MiB. Pricing: 20 received
messages are billed as one request.
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
MESSAGES_PER_REQUEST = 20
"""Received messages that are billed as one request."""
HIBERNATE_IDLE_MS = 10_000.0
"""Idle time after which an object whose open sockets are all hibernatable is evicted."""
SOCKETS_MAX = 32_768
"""Open sockets of one object; the platform has the same limit."""
NORMAL_CLOSURE = 1000
SERVICE_RESTART = 1012
ABNORMAL_CLOSURE = 1006


class Socket:
    """The object's end of one WebSocket.

    Parameters
    ----------
    pair
        The client's end.
    tags
        Labels by which the object looks the socket up.
    post
        Queues an action at the object's output gate.
    """

    def __init__(self, pair: Pair, tags: Sequence[str], *, post: Callable[[Callable[[], None]], None]) -> None:
        self.pair = pair
        self.tags = tuple(tags)
        self.is_open = True
        self._post = post
        self._attachment = "null"

    def send(self, message: Message) -> None:
        """Send *message* once the writes that it depends on are durable.

        Raises
        ------
        PlatformError
            If the socket is closed.
        """
        if not self.is_open:
            raise PlatformError("the WebSocket is closed; nothing can be sent on it")
        self._post(lambda: self.pair.give(Sent(message)))

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the socket, after the messages sent before."""
        if self.is_open:
            self.is_open = False
            self._post(lambda: self.pair.give(Sent(close_code=code, reason=reason)))

    def break_off(self, code: int, reason: str) -> None:
        """Close the socket at once, without waiting for the output gate: the object was reset."""
        if self.is_open:
            self.is_open = False
            self.pair.give(Sent(close_code=code, reason=reason))

    def serialize_attachment(self, value: Any) -> None:
        """Attach *value* to the socket; it survives eviction.

        Raises
        ------
        LimitError
            If its JSON is longer than 16,384 bytes.
        """
        text = json.dumps(value, separators=(",", ":"))
        size_bytes = len(text.encode())
        if size_bytes > ATTACHMENT_BYTES_MAX:
            raise LimitError(f"an attachment of {size_bytes} bytes; the platform keeps at most {ATTACHMENT_BYTES_MAX}")
        self._attachment = text

    def deserialize_attachment(self) -> Any:
        """Return the attached value, or None."""
        return json.loads(self._attachment)


class Sockets:
    """All sockets of one object, and the messages that wait at its output gate.

    Parameters
    ----------
    bring
        Delivers a client's message to the object as an event.
    hang_up
        Delivers the end of a client's connection to the object as an event.
    """

    def __init__(
        self,
        *,
        bring: Callable[[Socket, Message], Coroutine[Any, Any, None]],
        hang_up: Callable[[Socket, int, str], Coroutine[Any, Any, None]],
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
        """Returns the number of commits that must be durable before a message sent now may leave."""

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def has_posted(self) -> bool:
        """Whether a message waits at the output gate."""
        return bool(self._posted)

    def accept(self, pair: Pair, tags: Sequence[str]) -> Socket:
        """Accept *pair* and return the object's end of it.

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
        """Return the open sockets with *tag*; all of them if it is None."""
        return [socket for socket in self._sockets if socket.is_open and (tag is None or tag in socket.tags)]

    def drop(self, socket: Socket) -> None:
        """Remove a socket whose client is gone."""
        socket.is_open = False
        if socket in self._sockets:
            self._sockets.remove(socket)

    def release(self, confirmed: int) -> None:
        """Send, in order, the messages that depend on no more than *confirmed* commits."""
        # A message of a turn that was rolled back waits for a commit that may never come.
        awaited = self.mark()
        while self._posted and min(self._posted[0][0], awaited) <= confirmed:
            self._posted.pop(0)[1]()

    def discard(self) -> None:
        """Drop the waiting messages: the writes that they depend on did not become durable."""
        self._posted.clear()

    def break_off(self, code: int, reason: str) -> None:
        """Close all sockets at once."""
        self.discard()
        for socket in self._sockets:
            socket.break_off(code, reason)
        self._sockets.clear()
