"""The WebSocket client of the load driver: sessions by path, opened when a message needs one, bounded, kept, reopened.

A message is sent at its intended time like any request. The handshake that it may need first, and the wait for a place
among the bounded sessions, are part of its latency: a person who wants to speak waits for them too.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientWSTimeout, WSServerHandshakeError
from yarl import URL

from sim.runners.load.messages import (
    SWITCHED,
    THROTTLING,
    Answer,
    Message,
    SessionEndedError,
    retry_after_s,
    upload_parts,
)
from sim.runners.load.socket_session import Heard, SocketCounts, SocketSession

if TYPE_CHECKING:
    from sim.scenario.sockets import Socket

CLOSE_S = 1.0
"""Time for the other end to answer a close frame."""

MESSAGE_BYTES_MAX = 2**26
"""Longest message that is read: twice what a Durable Object receives."""


class Place:
    """The sessions of one path of a route."""

    def __init__(self) -> None:
        self.sessions: list[SocketSession] = []
        self.busy = 0
        self.opening = asyncio.Lock()
        self.ended_s: float | None = None
        self._turn = 0

    def next_session(self) -> SocketSession:
        """Return the session whose turn it is to send."""
        self._turn += 1
        return self.sessions[self._turn % len(self.sessions)]

    def retired(self, messages_max: int) -> list[SocketSession]:
        """Take out and return sessions that have sent so many messages and wait for no answer; 0 is no bound."""
        done = [one for one in self.sessions if one.is_open and one.is_idle and 0 < messages_max <= one.sent]
        self.sessions = [one for one in self.sessions if one not in done]
        return done

    def forget_ended(self) -> None:
        """Take out the sessions that ended early."""
        ended = [one.ended_s for one in self.sessions if one.ended_s is not None]
        if ended:
            self.ended_s = max(ended)
        self.sessions = [one for one in self.sessions if one.is_open]


class Pool:
    """The sessions of one route: at most as many as its *terms* say, the longest unused closed for a further path."""

    def __init__(self, terms: "Socket") -> None:
        self.terms = terms
        self.places: dict[str, Place] = {}
        self._freed = asyncio.Event()

    async def take(self, path: str) -> Place:
        """Return the place of *path*, in use until :meth:`give_back`; wait while all others are."""
        while path not in self.places and len(self.places) >= self.terms.sessions // self.terms.members:
            idle = next((name for name, one in self.places.items() if not one.busy), None)
            if idle is None:
                self._freed.clear()
                await self._freed.wait()
            else:
                await self._close(idle)
        # Removed and inserted again, so that the dictionary is in order of last use.
        place = self.places.pop(path, None) or Place()
        self.places[path] = place
        place.busy += 1
        return place

    def give_back(self, place: Place) -> None:
        """End the use of *place*."""
        place.busy -= 1
        self._freed.set()

    def sessions(self) -> Iterator[SocketSession]:
        """Yield all sessions."""
        for place in list(self.places.values()):
            yield from place.sessions

    async def close(self) -> None:
        """Close all sessions."""
        await close_all(self.sessions())

    async def _close(self, path: str) -> None:
        place = self.places[path]
        place.busy += 1  # Nobody else closes it meanwhile, and who comes for it opens it anew afterwards.
        async with place.opening:
            await close_all(place.sessions)
        place.busy -= 1
        if not place.busy:
            self.places.pop(path, None)
        self._freed.set()


async def close_all(sessions: Iterable[SocketSession]) -> None:
    """Close sessions at once, all of them whatever becomes of one."""
    await asyncio.gather(*(one.close() for one in sessions), return_exceptions=True)


class SocketSender:
    """Sends messages on sessions to *base_url*.

    Parameters
    ----------
    base_url : str
        As for HTTP.
    terms : mapping of str to Socket
        By route.
    block : memoryview
        Bytes that messages of a given size repeat.
    headers : mapping of str to str
        Sent with every handshake; they may hold secrets.
    """

    def __init__(
        self, base_url: str, *, terms: "Mapping[str, Socket]", block: memoryview, headers: Mapping[str, str]
    ) -> None:
        self.base_url = base_url
        self.pools = {route: Pool(of_route) for route, of_route in terms.items()}
        self.block = block
        self.headers = headers
        self.counts = SocketCounts()
        self._numbers = count()
        self._hearts: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Get ready; sessions are opened when messages need them."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": "headroom", **self.headers},
            middlewares=(_refuse_redirect,),
        )
        self._hearts = [asyncio.create_task(_beat(pool)) for pool in self.pools.values() if pool.terms.ping_s]

    async def close(self) -> None:
        """Close all sessions."""
        for heart in self._hearts:
            heart.cancel()
        await asyncio.gather(*self._hearts, *(pool.close() for pool in self.pools.values()), return_exceptions=True)
        await self._client.close()

    def facts(self) -> dict[str, Any]:
        """Return what happened on the sessions, for ``Result.generator``."""
        counts = self.counts
        return {
            "socket_sessions": counts.opened_sessions,
            "socket_refused": {str(status): n for status, n in sorted(counts.refused.items())},
            "socket_ended_early": {str(code): n for code, n in sorted(counts.ended_early.items())},
            "socket_pings": counts.pings,
            "socket_pongs": counts.pongs,
            "socket_unasked": counts.unasked_messages,
        }

    async def send(self, message: Message) -> Answer:
        """Send one message on a session of its path and wait for what counts as its answer.

        Returns
        -------
        Answer
            With the status of a handshake that was refused.

        Raises
        ------
        SessionEndedError
            The session ended first, or is not to be opened again.
        OSError, aiohttp.ClientError
            No session could be opened.
        """
        pool = self.pools[message.route]
        speaks = bool(pool.terms.message)
        place = await pool.take(message.path if speaks else f"{message.path} {next(self._numbers)}")
        try:
            refusal = await self._opened(place, pool.terms, message)
            if refusal is not None:
                return refusal
            return await self._say(place, pool.terms, message) if speaks else Answer(SWITCHED, "", 0)
        finally:
            pool.give_back(place)

    async def _say(self, place: Place, terms: "Socket", message: Message) -> Answer:
        as_text = not message.upload_bytes
        payload = message.body if as_text else self._bytes(message.upload_bytes)
        speaker = place.next_session()
        if terms.answer == "none":
            await speaker.say(payload, as_text=as_text)
            return Answer(SWITCHED, "", 0)
        listeners = list(place.sessions) if terms.answer == "broadcast" else [speaker]
        heard = Heard(listeners)
        for listener in listeners:
            listener.expect(payload, heard)
        try:
            await speaker.say(payload, as_text=as_text)
            return Answer(SWITCHED, "", await heard.heard)
        finally:
            heard.heard.cancel()

    def _bytes(self, size_bytes: int) -> bytes:
        """Return bytes that no other message of any process has, as far as so few can differ."""
        parts = (bytes(part) for part in upload_parts(self.block, size_bytes=size_bytes))
        head = b"%08x%08x" % (os.getpid() & 0xFFFFFFFF, next(self._numbers) & 0xFFFFFFFF)
        return (head + b"".join(parts))[:size_bytes]

    # ------------------------------------------------------------ sessions

    async def _opened(self, place: Place, terms: "Socket", message: Message) -> Answer | None:
        """Open what sessions the place lacks; return the refusal of a handshake."""
        async with place.opening:
            place.forget_ended()
            await close_all(place.retired(terms.messages))
            missing = terms.members - len(place.sessions)
            if not missing:
                return None
            if place.ended_s is not None:
                if not terms.reconnects:
                    raise SessionEndedError("the session ended, and the route does not reconnect")
                again_s = place.ended_s + terms.reconnect_ms / 1000
                await asyncio.sleep(max(0.0, again_s - asyncio.get_running_loop().time()))
            opened = (self._connect(place, terms, message) for _ in range(missing))
            for wrong in await asyncio.gather(*opened, return_exceptions=True):
                if isinstance(wrong, WSServerHandshakeError):
                    return _refusal(wrong)
                if wrong is not None:
                    raise wrong
        return None

    async def _connect(self, place: Place, terms: "Socket", message: Message) -> None:
        """Open one session and add it to its place."""
        try:
            connection = await self._client.ws_connect(
                URL(self.base_url + message.path, encoded=True),
                headers=dict(message.headers),
                timeout=ClientWSTimeout(ws_close=CLOSE_S),
                autoping=False,
                max_msg_size=MESSAGE_BYTES_MAX,
            )
        except WSServerHandshakeError as refused:
            if refused.status == SWITCHED:
                raise ConnectionError(f"handshake breaks RFC 6455: {refused.message}") from None
            self.counts.refused[refused.status] += 1
            raise
        self.counts.opened_sessions += 1
        session = SocketSession(connection, in_order=terms.answer == "next", counts=self.counts)
        place.sessions.append(session)
        if terms.greeting:
            await session.greeted


async def _beat(pool: Pool) -> None:
    while True:
        await asyncio.sleep(pool.terms.ping_s)
        await asyncio.gather(*(one.beat() for one in pool.sessions() if one.is_open))


async def _refuse_redirect(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Refuse a handshake that is redirected: following could send the load elsewhere."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise WSServerHandshakeError(
            response.request_info, response.history, status=response.status, headers=response.headers
        )
    return response


def _refusal(error: WSServerHandshakeError) -> Answer:
    wait = error.headers.get("Retry-After", "") if error.headers and error.status in THROTTLING else ""
    return Answer(error.status, "", 0, retry_after_s(wait, now_s=time.time()) if wait else 0.0)
