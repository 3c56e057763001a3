"""When an object refuses a newcomer although its line has room.

Besides the number that waits (the line's own bound), the platform looks at how much data waits, how
long the oldest has waited, and how many came within 10 s. It publishes that these limits exist and
what their errors say, but no numbers: they are parameters here, and none is set by default.

Sources
-------
Durable Objects troubleshooting: the four messages of an overloaded object; ``.overloaded`` means that
the caller should not retry.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reference_impl.errors import OverloadedError
from reference_impl.timing.stopwatch import Stopwatch

WINDOW_MS = 10_000.0


@dataclass(frozen=True)
class OverloadLimits:
    """When a newcomer is refused; None: never.

    Parameters
    ----------
    queued_bytes
        Bodies that wait, together.
    queued_ms
        What the oldest has waited.
    requests_per_10_s
        Requests that came for one object within 10 s.
    """

    queued_bytes: int | None = None
    queued_ms: float | None = None
    requests_per_10_s: int | None = None


class Doorkeeper:
    """Counts who waits for one object.

    Parameters
    ----------
    limits
        When to refuse.
    """

    def __init__(self, limits: OverloadLimits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[float, int]] = deque()
        self._recent_ms: deque[float] = deque()

    @contextmanager
    def waiting(self, body_bytes: int, stopwatch: Stopwatch) -> Iterator[None]:
        """Wait inside this context, from arrival to entry.

        Raises
        ------
        OverloadedError
            If a limit is passed.
        """
        arrived_ms = stopwatch.planned_ms
        self._check(arrived_ms, body_bytes)
        entry = (arrived_ms, body_bytes)
        self._waiting.append(entry)
        try:
            yield
        finally:
            self._waiting.remove(entry)

    def _check(self, now_ms: float, body_bytes: int) -> None:
        limits = self._limits
        queued_bytes = body_bytes + sum(size for _, size in self._waiting)
        if limits.queued_bytes is not None and queued_bytes > limits.queued_bytes:
            _refuse("Too much data queued", f"{queued_bytes} bytes, at most {limits.queued_bytes}")
        if limits.queued_ms is not None and self._waiting:
            oldest_ms = now_ms - self._waiting[0][0]
            if oldest_ms > limits.queued_ms:
                _refuse("Requests queued for too long", f"{oldest_ms:g} ms, at most {limits.queued_ms:g}")
        if limits.requests_per_10_s is not None:
            while self._recent_ms and self._recent_ms[0] <= now_ms - WINDOW_MS:
                self._recent_ms.popleft()
            if len(self._recent_ms) >= limits.requests_per_10_s:
                most = f"at most {limits.requests_per_10_s}"
                _refuse("Too many requests for the same object within a 10 second window", most)
            self._recent_ms.append(now_ms)


def _refuse(reason: str, numbers: str) -> None:
    raise OverloadedError(f"Durable Object is overloaded. {reason}: {numbers}; do not retry at once")
