"""One WebSocket session of the load driver: it sends messages, and knows which of them have been answered.

The server's messages are read as they come, whoever waits. What counts as the answer to a message is the scenario's:
the next message, in order, or the message's own text come back on one session or on several.
"""

import asyncio
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from aiohttp import ClientWebSocketResponse, WSMsgType

from sim.runners.load.messages import SessionEndedError

ABNORMAL = 1006
"""Close code of a connection that ended without a close frame (RFC 6455, section 7.4.1)."""

DATA = (WSMsgType.TEXT, WSMsgType.BINARY)


@dataclass
class SocketCounts:
    """What happened on all sessions.

    Attributes
    ----------
    opened_sessions, pings, pongs : int
    refused : Counter of int
        Handshakes that were not accepted, by status.
    ended_early : Counter of int
        Sessions that the other end, or the network, ended, by close code.
    unasked_messages : int
        Messages of the server that answered none.
    """

    opened_sessions: int = 0
    pings: int = 0
    pongs: int = 0
    refused: "Counter[int]" = field(default_factory=Counter)
    ended_early: "Counter[int]" = field(default_factory=Counter)
    unasked_messages: int = 0


class Heard:
    """A message on its way: *heard* is done when every one of *sessions* has its answer, with the answer's length."""

    def __init__(self, sessions: "list[SocketSession]") -> None:
        self.heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._left = set(sessions)

    def by(self, session: "SocketSession", size_bytes: int) -> None:
        """Note that *session* has its answer."""
        self._left.discard(session)
        if not self._left and not self.heard.done():
            self.heard.set_result(size_bytes)

    def lost(self, reason: str) -> None:
        """Note that a session will have no answer any more."""
        if not self.heard.done():
            self.heard.set_exception(SessionEndedError(reason))


class SocketSession:
    """An open session over *connection*.

    Parameters
    ----------
    connection
        Answers no ping by itself, so that pongs are seen.
    in_order : bool
        Whether the next message is the answer to the oldest one without; otherwise the same text is.
    counts : SocketCounts
        Of all sessions.

    Attributes
    ----------
    sent : int
        Messages.
    ended_s : float or None
        When it ended early, on the loop's clock.
    """

    def __init__(self, connection: ClientWebSocketResponse, *, in_order: bool, counts: SocketCounts) -> None:
        self._connection = connection
        self._in_order = in_order
        self._counts = counts
        self._ordered: deque[Heard] = deque()
        self._by_text: defaultdict[bytes, deque[Heard]] = defaultdict(deque)
        self._unanswered_ping = False
        self._is_closing = False
        self._active = 0
        self.sent = 0
        self.ended_s: float | None = None
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self.ended_s is None and not self._is_closing

    @property
    def is_idle(self) -> bool:
        """Whether no message waits for an answer on it."""
        return not self._active

    def expect(self, payload: bytes, heard: Heard) -> None:
        """Expect the answer to *payload*, which is sent next, here or on another session."""
        self._active += 1
        heard.heard.add_done_callback(self._settled)
        (self._ordered if self._in_order else self._by_text[payload]).append(heard)

    async def say(self, payload: bytes, *, as_text: bool) -> None:
        """Send one message.

        Raises
        ------
        SessionEndedError
            The session has ended.
        """
        self.sent += 1
        try:
            if as_text:
                await self._connection.send_str(payload.decode())
            else:
                await self._connection.send_bytes(payload)
        except ConnectionError as error:
            raise SessionEndedError(str(error)) from None

    async def beat(self) -> None:
        """Send a ping; a session whose last one was not answered has ended."""
        if self._unanswered_ping:
            self._end(ABNORMAL)
            await self._connection.close()
            return
        self._unanswered_ping = True
        self._counts.pings += 1
        try:
            await self._connection.ping()
        except ConnectionError:
            return  # The reader sees the end, too.

    async def close(self) -> None:
        """Close it as agreed: with a close frame, and a little time for the other end's."""
        self._is_closing = True
        await self._connection.close()
        await self._reader

    async def _read(self) -> None:
        while True:
            message = await self._connection.receive()
            if message.type in DATA:
                self._hear(message.data)
            elif message.type is WSMsgType.PING:
                await self._answer_ping(message.data)
            elif message.type is WSMsgType.PONG:
                self._unanswered_ping = False
                self._counts.pongs += 1
            else:
                break
        self._end(self._connection.close_code or ABNORMAL)

    async def _answer_ping(self, data: bytes) -> None:
        try:
            await self._connection.pong(data)
        except ConnectionError:
            return  # The next receive() reports the end.

    def _hear(self, data: str | bytes) -> None:
        raw = data.encode() if isinstance(data, str) else bytes(data)
        if not self.greeted.done():
            self.greeted.set_result(None)
        # Looked up without adding an entry: most of what a busy room says is not ours.
        waiting = self._ordered if self._in_order else self._by_text.get(raw, deque())
        if not waiting:
            self._counts.unasked_messages += 1
            return
        waiting.popleft().by(self, len(raw))
        if not self._in_order and not waiting:
            del self._by_text[raw]

    def _settled(self, _: "asyncio.Future[int]") -> None:
        self._active -= 1

    def _end(self, code: int) -> None:
        if self.ended_s is not None:
            return
        self.ended_s = asyncio.get_running_loop().time()
        reason = f"the session ended with code {code}"
        if not self._is_closing:
            self._counts.ended_early[code] += 1
        if not self.greeted.done():
            self.greeted.set_exception(SessionEndedError(reason))
            self.greeted.exception()  # Nobody may be waiting for it.
        for heard in (*self._ordered, *(one for waiting in self._by_text.values() for one in waiting)):
            heard.lost(reason)
        self._ordered.clear()
        self._by_text.clear()
