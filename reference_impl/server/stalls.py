"""Time limits of a connection, and the lingering close.

A client that stops in the middle of a request holds a socket, a buffer and up to 100 MB of a body, and it costs the
client nothing. That is the Slowloris attack, and also a laptop that is closed during an upload. Every wait for a client
is therefore bounded:

==================================================  ======================================================
no first byte, or no next request                   closed after ``keep_alive_s``
an incomplete request head                          408, ``head_s`` after its first byte
a body, response or message that makes no progress  408 or closed, after ``rest_s`` to ``2 * rest_s``
one slower than ``bytes_per_s`` on average          the same
a refused client that goes on sending               its bytes are discarded for at most ``linger_s``
==================================================  ======================================================

Sources
-------
RFC 9110, 15.5.9 (408); RFC 9112, 9.6 (closing while the client still sends can destroy the response: half-close, keep
reading for a while, then close). Precedents: nginx ``client_header_timeout`` 60 s,
``client_body_timeout`` 60 s, ``lingering_time`` 30 s, ``lingering_timeout`` 5 s; Apache mod_reqtimeout
``header=20-40``, ``body=20,MinRate=500``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The time limits of a connection.

    Parameters
    ----------
    keep_alive_s
        Idle time between requests. Longer than the 60 s of common proxies, so that the proxy closes first and does not
        send a request into a connection that is being closed.
    head_s
        From the first byte of a request to the end of its head. TCP retransmits a lost segment after about 1, 3, 7 and
        15 s: a head whose segment is lost four times in a row still arrives.
    rest_s
        Longest time without progress of a body, response or message; as *head_s*.
    bytes_per_s
        Lowest average rate of a transfer since its start; 500 is less than a tenth of a 56k modem's.
    linger_s, linger_rest_s
        How long the bytes of a refused client are discarded, in total and without any arriving. An upload of 93 MB at
        25 Mbit/s takes 30 s.
    """

    keep_alive_s: float = 75.0
    head_s: float = 20.0
    rest_s: float = 20.0
    bytes_per_s: float = 500.0
    linger_s: float = 30.0
    linger_rest_s: float = 5.0


class Progress:
    """Decide from periodic readings of a byte counter whether a transfer has stalled.

    Parameters
    ----------
    bytes_per_s
        Lowest average rate.
    now_s, moved_bytes
        Time and counter at the start.
    """

    def __init__(self, *, bytes_per_s: float, now_s: float, moved_bytes: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._began_s = now_s
        self._first_bytes = self._last_bytes = moved_bytes

    def has_stalled(self, now_s: float, moved_bytes: int) -> bool:
        """Whether there was no progress since the last reading, or too little since the start."""
        has_rested = moved_bytes <= self._last_bytes
        self._last_bytes = moved_bytes
        return has_rested or moved_bytes - self._first_bytes < self._bytes_per_s * (now_s - self._began_s)


class Watch:
    """Read a transfer's byte counter periodically and call *on_stall*, once, when the transfer has stalled.

    Parameters
    ----------
    rest_s
        Time between two readings.
    bytes_per_s
        See :class:`Progress`.
    moved_bytes
        Returns the counter, which never decreases.
    on_stall
        Called once; the watch can be started again afterwards.
    """

    def __init__(
        self, *, rest_s: float, bytes_per_s: float, moved_bytes: Callable[[], int], on_stall: Callable[[], None]
    ) -> None:
        self._rest_s = rest_s
        self._bytes_per_s = bytes_per_s
        self._moved_bytes = moved_bytes
        self._on_stall = on_stall
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start, unless it is running."""
        if self._timer is None:
            now_s = asyncio.get_running_loop().time()
            self._look_later(Progress(bytes_per_s=self._bytes_per_s, now_s=now_s, moved_bytes=self._moved_bytes()))

    def stop(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self, progress: Progress) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._rest_s, self._look, progress)

    def _look(self, progress: Progress) -> None:
        if progress.has_stalled(asyncio.get_running_loop().time(), self._moved_bytes()):
            self._timer = None
            self._on_stall()
        else:
            self._look_later(progress)


class Farewell(asyncio.Protocol):
    """The lingering close of a connection whose client may still be sending.

    The response is written already. The sending half is closed; what still arrives is discarded until the client closes
    too, is silent, or takes too long. Closing both halves at once would make the kernel reset the connection, and the
    client would lose the response with it.

    Parameters
    ----------
    transport
        The connection.
    former
        The protocol that owned it; it is notified when the connection is lost.
    limits
        Time limits.
    """

    def __init__(self, transport: asyncio.Transport, former: asyncio.Protocol, *, limits: Limits) -> None:
        self._transport = transport
        self._former = former
        self._received_bytes = 0
        self._watch = Watch(
            rest_s=limits.linger_rest_s, bytes_per_s=0, moved_bytes=self._moved_bytes, on_stall=self.cut
        )
        self._end = asyncio.get_running_loop().call_later(limits.linger_s, self.cut)
        transport.set_protocol(self)
        transport.write_eof()
        # uvicorn may have paused it under a body that it could not hand on.
        transport.resume_reading()
        self._watch.start()

    def data_received(self, data: bytes) -> None:
        """Discard what arrives."""
        self._received_bytes += len(data)

    def eof_received(self) -> None:
        """Let asyncio close this half too."""

    def connection_lost(self, error: Exception | None) -> None:
        """Notify the former protocol."""
        self._watch.stop()
        self._end.cancel()
        self._former.connection_lost(error)

    def cut(self) -> None:
        """Close now."""
        # abort() resets the connection, and the client may still be reading the response.
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def _moved_bytes(self) -> int:
        return self._received_bytes - self._transport.get_write_buffer_size()
