"""The concurrent streams of a tunnel: each request holds one from its arrival to the last byte of its response.

Sources
-------
Hazard H41 (docs/HAZARDS.md): by Little's law the number of streams bounds the request rate. The brief's tunnel reads
at most 1 MiB of a response.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reference_impl.messages import Response
from reference_impl.tables import Table
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import HeadStart, Station, Stopwatch
from reference_impl.timing.tape import Tape

RESPONSE_LIMIT_BYTES = 1_048_576
"""Default size limit of a response."""


@dataclass(frozen=True)
class TunnelSettings:
    """Settings of a tunnel that serves *streams* requests at once (None: no bound)."""

    overhead_ms: Tape
    streams: int | None
    response_limit_bytes: int

    @classmethod
    def read(cls, table: Table) -> "TunnelSettings":
        """Read the table of a tunnel."""
        return cls(
            overhead_ms=table.tape("overhead_ms"),
            streams=table.count("streams"),
            response_limit_bytes=table.count("response_limit_bytes") or RESPONSE_LIMIT_BYTES,
        )


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

    async def carry(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, head_start: HeadStart
    ) -> Response:
        """Carry a request to *serve* and its response back on one stream."""
        half_overhead_ms = stopwatch.draw_ms(self._settings.overhead_ms) / 2
        async with self._streams.hold(stopwatch, f"{self._name}_queue"):
            stopwatch.delay(self._name, half_overhead_ms)
            response = await serve()
            stopwatch.delay(self._name, half_overhead_ms)
            await stopwatch.catch_up(early_ms=head_start.ms)
        return response
