"""The HTTP client of the load driver: many keep-alive connections, one request at a time on each.

It is as plain as possible: no cookies, no redirects (a redirect could send the load elsewhere), no proxy from the
environment, no retries but the scenario's, no decompression; bodies of answers are counted and discarded.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
from yarl import URL

from sim.runners.load.messages import HEALTH, THROTTLING, Answer, Message, retry_after_s, upload_parts

KEEP_ALIVE_S = 4.0
"""Idle connections are closed before the server does it: uvicorn, Node and workerd close after 5 s, and a request on a
closing connection would look like an error of the deployment."""

READ_BYTES = 2**18


class HttpSender:
    """Sends messages to *base_url*.

    Parameters
    ----------
    base_url : str
    connections_max : int
        Largest number of connections at one time.
    block : memoryview
        Bytes that uploads repeat.
    headers : mapping of str to str
        Sent with every request; they may hold secrets.
    keep_alive : bool
        Whether a connection serves several requests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connections_max: int,
        block: memoryview,
        headers: Mapping[str, str],
        keep_alive: bool = True,
    ) -> None:
        self.base_url = base_url
        self.connections_max = connections_max
        self.headers = headers
        self.keep_alive = keep_alive
        self.block = block
        self.urls: dict[str, URL] = {}

    async def open(self, *, warm_connections: int) -> None:
        """Open the session and *warm_connections* connections.

        Raises
        ------
        OSError, aiohttp.ClientError
            The server cannot be reached.
        """
        self.session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": "headroom", "Accept-Encoding": "identity", **self.headers},
            auto_decompress=False,
            read_bufsize=READ_BYTES,
        )
        await asyncio.gather(*(self.send(HEALTH) for _ in range(warm_connections)))

    def _connector(self) -> aiohttp.TCPConnector:
        if not self.keep_alive:
            return aiohttp.TCPConnector(limit=self.connections_max, force_close=True)
        return aiohttp.TCPConnector(limit=self.connections_max, keepalive_timeout=KEEP_ALIVE_S)

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    async def send(self, message: Message) -> Answer:
        """Send one message and read its whole answer.

        Raises
        ------
        OSError, aiohttp.ClientError
            The connection failed, or the answer is not HTTP.
        """
        headers = dict(message.headers)
        data: bytes | AsyncIterator[memoryview] | None = message.body or None
        if message.upload_bytes:
            headers |= {"Content-Length": str(message.upload_bytes), "Content-Type": "application/octet-stream"}
            data = self._upload(message.upload_bytes)
        elif data:
            headers["Content-Type"] = "application/json"
        async with self.session.request(
            message.method, self._url(message.path), data=data, headers=headers,
            allow_redirects=False,
        ) as response:  # fmt: skip
            body_bytes = 0
            async for part in response.content.iter_any():
                body_bytes += len(part)
            timing = response.headers.get("Server-Timing", "")
            return Answer(response.status, timing, body_bytes, _pause_s(response))

    def _url(self, path: str) -> URL:
        """Return the parsed URL of *path*, cached, since parsing costs as much as sending."""
        url = self.urls.get(path)
        if url is None:
            url = self.urls[path] = URL(self.base_url + path, encoded=True)
        return url

    async def _upload(self, size_bytes: int) -> AsyncIterator[memoryview]:
        for part in upload_parts(self.block, size_bytes=size_bytes):
            yield part


def _pause_s(response: aiohttp.ClientResponse) -> float:
    if response.status not in THROTTLING:
        return 0.0
    return retry_after_s(response.headers.get("Retry-After", ""), now_s=time.time())
