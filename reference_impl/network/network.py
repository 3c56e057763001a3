"""The network between client and edge: half of the round trip before the Worker, half after it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reference_impl.messages import Response
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class NetworkSettings:
    """Settings of a network: the client's round-trip time."""

    client_rtt_ms: Tape

    @classmethod
    def read(cls, table: Table) -> "NetworkSettings":
        """Read the table of a network."""
        return cls(client_rtt_ms=table.tape("client_rtt_ms"))


class Network:
    """An entry for requests over HTTP.

    Parameters
    ----------
    name
        Name of the instance; also its time category.
    settings
        The client's round-trip time.
    """

    response_limit_bytes: int | None = None

    def __init__(self, name: str, settings: NetworkSettings) -> None:
        self._name = name
        self._settings = settings

    async def carry(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, head_start: HeadStart
    ) -> Response:
        """Delay a request, pass it to *serve*, delay the response."""
        half_rtt_ms = stopwatch.draw_ms(self._settings.client_rtt_ms) / 2
        # Reading the request has taken real time, which counts towards the first half.
        reading_ms = stopwatch.clock.now_ms() - stopwatch.started_ms
        stopwatch.delay(self._name, max(half_rtt_ms, reading_ms))
        response = await serve()
        stopwatch.delay(self._name, half_rtt_ms)
        await stopwatch.catch_up(early_ms=head_start.ms)
        return response
