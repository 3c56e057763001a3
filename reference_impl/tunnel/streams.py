"""The concurrent streams of a tunnel: each request holds one from its arrival to the last byte of its response.

Sources
-------
Hazard H41 (docs/HAZARDS.md): by Little's law the number of streams bounds the request rate. The brief's tunnel reads
at most 1 MiB of a response.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reference_impl.errors import PlatformError
from reference_impl.messages import Response, error_response
from reference_impl.tables import Table
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import HeadStart, Station, Stopwatch
from reference_impl.timing.tape import Tape
from reference_impl.tunnel.packets import Packets

RESPONSE_LIMIT_BYTES = 1_048_576
"""Default size limit of a response."""
DATAGRAMS = ("negotiated", "unsent", "refused")
"""What becomes of a heartbeat: it arrives, is never sent, or makes the peer close the connection (hazard H37)."""


@dataclass(frozen=True)
class TunnelSettings:
    """Settings of a tunnel that serves *streams* requests at once (None: no bound)."""

    overhead_ms: Tape
    reconnect_ms: Tape
    streams: int | None
    response_limit_bytes: int
    idle_timeout_s: float = 0.0
    heartbeat_s: float = 0.0
    datagrams: str = "negotiated"
    reconnects: bool = True
    nat_timeout_s: float = 0.0
    packets: Packets | None = None

    @classmethod
    def read(cls, table: Table) -> "TunnelSettings":
        """Read the table of a tunnel."""
        return cls(
            overhead_ms=table.tape("overhead_ms"),
            reconnect_ms=table.tape("reconnect_ms"),
            streams=table.count("streams"),
            response_limit_bytes=table.count("response_limit_bytes") or RESPONSE_LIMIT_BYTES,
            idle_timeout_s=table.number("idle_timeout_s", 0),
            heartbeat_s=table.number("heartbeat_s", 0),
            datagrams=table.choice("datagrams", "negotiated", choices=DATAGRAMS),
            reconnects=table.flag("reconnects", default=True),
            nat_timeout_s=table.number("nat_timeout_s", 0),
            packets=Packets.read(table),
        )

    def outlasts(self, timer_s: float, quiet_ms: float) -> bool:
        """Whether a silence is longer than a timer, which heartbeats that come in time prevent."""
        if not timer_s or (self.datagrams == "negotiated" and 0 < self.heartbeat_s < timer_s):
            return False
        return quiet_ms > timer_s * 1_000


class ConnectionLostError(PlatformError):
    """The connection of the tunnel is dead, and its client does not make a new one."""

    status = 500
    code = "connection_lost"

    def __init__(self) -> None:
        super().__init__("the connection is dead and reconnects=false; restart the client")


class Streams:
    """An entry for requests on QUIC streams.

    Parameters
    ----------
    name
        Name of the instance; also its time category.
    settings
        Overhead, number of concurrent streams, and size limit of a response.
    clock
        The deployment's clock.
    """

    def __init__(self, name: str, settings: TunnelSettings, *, clock: Clock) -> None:
        self.response_limit_bytes: int | None = settings.response_limit_bytes
        self._name = name
        self._settings = settings
        self._streams = Station(clock, name, servers=settings.streams)
        self._last_ms: float | None = None
        self._made_ms = -math.inf
        self._is_dead = False

    async def carry(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, head_start: HeadStart
    ) -> Response:
        """Carry a request to *serve* and its response back on one stream."""
        overhead_ms = stopwatch.draw_ms(self._settings.overhead_ms)
        half_overhead_ms, packets = overhead_ms / 2, self._settings.packets
        async with self._streams.hold(stopwatch, f"{self._name}_queue"):
            try:
                if self._is_lost(stopwatch):
                    return error_response(ConnectionLostError())
                stopwatch.delay(self._name, half_overhead_ms)
                if packets is not None:
                    stopwatch.delay(self._name, packets.there_ms(stopwatch))
                response = await serve()
                if packets is not None:
                    windows_ms = packets.windows_ms(len(response.body), stopwatch, round_trip_ms=overhead_ms)
                    stopwatch.delay(self._name, windows_ms)
                    stopwatch.delay(self._name, packets.back_ms(stopwatch))
                stopwatch.delay(self._name, half_overhead_ms)
                await stopwatch.catch_up(early_ms=head_start.ms)
            finally:
                self._last_ms = stopwatch.planned_ms
        return response

    def _is_lost(self, stopwatch: Stopwatch) -> bool:
        """Take the time of what a silence has undone; return whether the connection is dead and nobody replaces it."""
        settings, is_first = self._settings, self._last_ms is None
        quiet_ms = math.inf if self._last_ms is None else stopwatch.planned_ms - self._last_ms
        if not is_first and settings.outlasts(settings.nat_timeout_s, quiet_ms):
            stopwatch.delay(self._name, stopwatch.draw_ms(settings.overhead_ms))
        is_lost = settings.outlasts(settings.idle_timeout_s, quiet_ms)
        if settings.datagrams == "refused" and settings.heartbeat_s:
            is_refused = stopwatch.planned_ms - self._made_ms >= settings.heartbeat_s * 1_000
            self._made_ms = stopwatch.planned_ms if is_refused else self._made_ms
            is_lost = is_lost or is_refused
        if is_lost and settings.reconnects:
            stopwatch.delay(self._name, stopwatch.draw_ms(settings.reconnect_ms))
        elif is_lost and not is_first:
            self._is_dead = True
        return self._is_dead
