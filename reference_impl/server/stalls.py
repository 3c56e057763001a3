"""How long a connection may take for what it has begun, and how it is closed.

A client that stops in the middle holds a socket, a buffer and perhaps 100 MB of a body, and costs its owner nothing:
that is the attack called Slowloris, and the laptop that is closed during an upload. So every wait for a client ends:

==========================================  ==================================================
no first byte, or none after an answer      closed after ``keep_alive_s``
a head that does not end                    408 ``head_s`` after its first byte
a body, an answer or a message that rests   408, or the end, after ``rest_s`` to twice ``rest_s``
one that trickles                           the same, once it is slower than ``bytes_per_s``
a refused client that sends on              read and discarded for ``linger_s`` at most
==========================================  ==================================================

Sources
-------
RFC 9110, 15.5.9 (408); RFC 9112, 9.6 (a server that closes under a client that still sends destroys its own answer:
close the sending half, read on for a while, then close). Precedents: nginx ``client_header_timeout`` 60 s,
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
        Without a request. Longer than the 60 s that proxies keep theirs, so that a proxy closes first and never sends a
        request to a connection that is just closing.
    head_s
        From the first byte of a request to the end of its head. TCP repeats a lost segment after about 1, 3, 7 and
        15 s: a head that lost its segment four times in a row still arrives.
    rest_s
        What a body, an answer or a message may rest; chosen as *head_s*.
    bytes_per_s
        The slowest transfer, on average since its beginning; 500 is a tenth of a 56k modem's.
    linger_s, linger_rest_s
        How long a refused client is read on, altogether and while nothing comes. A whole upload of 100 MB at 25 Mbit/s
        fits into 30 s.
    """

    keep_alive_s: float = 75.0
    head_s: float = 20.0
    rest_s: float = 20.0
    bytes_per_s: float = 500.0
    linger_s: float = 30.0
    linger_rest_s: float = 5.0


class Progress:
    """Judges a transfer that is looked at from time to time.

    Parameters
    ----------
    bytes_per_s
        The slowest that it may be, on average.
    now_s, moved_bytes
        When it begins, and what the counter of its bytes says then.
    """

    def __init__(self, *, bytes_per_s: float, now_s: float, moved_bytes: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._began_s = now_s
        self._first_bytes = self._last_bytes = moved_bytes

    def has_stalled(self, now_s: float, moved_bytes: int) -> bool:
        """Whether nothing has moved since the last look, or too little since the beginning."""
        has_rested = moved_bytes <= self._last_bytes
        self._last_bytes = moved_bytes
        return has_rested or moved_bytes - self._first_bytes < self._bytes_per_s * (now_s - self._began_s)


class Watch:
    """Looks at a transfer again and again and calls *on_stall* once, when it has stalled.

    Parameters
    ----------
    rest_s
        From one look to the next.
    bytes_per_s
        See :class:`Progress`.
    moved_bytes
        A counter of the transfer's bytes that never falls.
    on_stall
        What then happens.
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
        """Begin to look; if it looks already, nothing changes."""
        if self._timer is None:
            now_s = asyncio.get_running_loop().time()
            self._look_later(Progress(bytes_per_s=self._bytes_per_s, now_s=now_s, moved_bytes=self._moved_bytes()))

    def stop(self) -> None:
        """Look no longer."""
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
    """The last moments of a connection whose client may still be sending.

    Everything is written already. The sending half is closed, what still comes is read and discarded until the client
    closes too, is silent or takes too long. Closing both halves at once would make the client's system throw the answer
    away together with the connection.

    Parameters
    ----------
    transport
        The connection.
    former
        The protocol that had it; it is told when the connection is lost.
    limits
        How long this may take.
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
        """Discard what comes."""
        self._received_bytes += len(data)

    def eof_received(self) -> None:
        """Close, as the client did."""

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the former protocol."""
        self._watch.stop()
        self._end.cancel()
        self._former.connection_lost(error)

    def cut(self) -> None:
        """End it now, whether or not the answer has been taken."""
        # Not abort() without need: it would reset the connection under an answer that is still being read.
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def _moved_bytes(self) -> int:
        return self._received_bytes - self._transport.get_write_buffer_size()
