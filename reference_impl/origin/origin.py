"""An origin: servers behind a bounded queue, a share of errors, and a time limit on each fetch.

Sources
-------
Cloudflare's connection limits: no answer within 120 s is status 524 to the client. An origin's own 5xx reaches the
Worker as an answer; this one fails the route, as a Worker that passes it on does.
"""

import hashlib
import math
from dataclasses import dataclass

from reference_impl.errors import PlatformError
from reference_impl.tables import Table
from reference_impl.timing.branches import Branches
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Station, Stopwatch
from reference_impl.timing.tape import Tape

TIMEOUT_S = 120.0
CALLER = "client"
"""The time category of a call that timed out: the caller's lost time."""


class OriginError(PlatformError):
    """The origin answered with an error."""

    status = 502
    code = "origin_error"


class OriginTimeoutError(PlatformError):
    """The origin did not answer in time; it goes on working on the request."""

    status = 524
    code = "origin_timeout"


@dataclass(frozen=True)
class OriginSettings:
    """Settings of an origin; *servers* None: unlimited, so no request waits; *queue_limit* None: unbounded."""

    rtt_ms: Tape
    answer_ms: Tape
    servers: int | None
    queue_limit: int | None
    timeout_ms: float
    error_share: float
    error_chance: Tape
    bandwidth_bytes_per_s: float

    @classmethod
    def read(cls, table: Table) -> "OriginSettings":
        """Read the table of an origin."""
        return cls(
            rtt_ms=table.tape("rtt_ms"),
            answer_ms=table.tape("answer_ms"),
            servers=table.count("servers"),
            queue_limit=table.count("queue_limit", at_least=0),
            timeout_ms=table.number("timeout_s", TIMEOUT_S) * 1_000,
            error_share=table.number("error_fraction", 0, at_most=1),
            error_chance=table.chance("error"),
            bandwidth_bytes_per_s=table.number("bandwidth_bytes_per_s", math.inf) or math.inf,
        )


class Origin:
    """One origin.

    Parameters
    ----------
    clock
        The deployment's clock.
    settings
        Times, servers, the bound of the queue, the share of errors.
    name
        Name of the instance: its time category.
    """

    def __init__(self, clock: Clock, settings: OriginSettings, *, name: str = "origin") -> None:
        self._settings = settings
        self._name = name
        self._servers = Station(clock, name, servers=settings.servers, queue_limit=settings.queue_limit)
        self.served = 0
        """Number of answers, including errors and answers whose caller had given up."""

    async def fetch(self, path: str, stopwatch: Stopwatch, *, size_bytes: int) -> bytes:
        """Return *size_bytes* bytes, always the same for one path.

        Raises
        ------
        OverloadedError
            If the origin's queue is full.
        OriginError
            If the answer is an error.
        OriginTimeoutError
            If there is no answer within the time limit.
        """
        branches: Branches[bytes] = Branches(stopwatch)
        branches.start(lambda watch: self._exchange(path, watch, size_bytes=size_bytes), stopwatch.fork())
        ended = await branches.next_ended(before_ms=stopwatch.planned_ms + self._settings.timeout_ms)
        if ended is None:
            stopwatch.delay(CALLER, self._settings.timeout_ms)
            raise OriginTimeoutError(f"no answer from {self._name} within {self._settings.timeout_ms:g} ms")
        stopwatch.join(ended.stopwatch)
        if ended.error is not None:
            raise ended.error
        assert ended.returned is not None, "an exchange that did not fail has an answer"
        return ended.returned

    async def _exchange(self, path: str, stopwatch: Stopwatch, *, size_bytes: int) -> bytes:
        settings = self._settings
        with stopwatch.round_trip(self._name, settings.rtt_ms):
            answer_ms = stopwatch.draw_ms(settings.answer_ms)
            async with self._servers.hold(stopwatch, f"{self._name}_queue"), stopwatch.stage(self._name, answer_ms):
                body = content(path, size_bytes)
            self.served += 1
            stopwatch.delay(self._name, size_bytes / settings.bandwidth_bytes_per_s * 1_000)
        if stopwatch.happens(settings.error_chance, settings.error_share):
            raise OriginError(f"{self._name} answered {path[:80]!r} with an error")
        return body


def content(path: str, size_bytes: int) -> bytes:
    """Return bytes that are the same for the same path."""
    block = hashlib.sha256(path.encode()).hexdigest().encode()
    return (block * (size_bytes // len(block) + 1))[:size_bytes]
