"""A service that collects errors: sampling at the client, limits of the service, issues that group alike events.

::

    report ──► sample (client) ──► events of a second ──(429)     of the month ──(429)     issue of its fingerprint
                └─(not chosen)                       └─ dropped                └─ dropped

- An event holds the route and the kind of the error, never what the client sent: no body, no header, no key.
- A dropped event is gone; the caller learns nothing of it, as the libraries of such services do not raise.
- Only the newest events are kept; issues count them all.

Sources
-------
Sentry's documentation: ``sample_rate`` of its client libraries, quotas and rate limits (429, the event is dropped),
grouping by fingerprint.
"""

import hashlib
import math
from collections import Counter, deque
from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.timing.tape import Tape
from reference_impl.volumes.metered import Billed

EVENTS_KEPT = 1_000
SECONDS_PER_MONTH = 30 * 86_400


@dataclass(frozen=True)
class SinkSettings:
    """Settings of a sink, read from its table in the deployment file; an infinite limit is none."""

    send_ms: Tape
    sample_share: float
    sample: Tape
    events_per_s_max: float
    events_per_month_max: float

    @classmethod
    def read(cls, table: Table) -> "SinkSettings":
        """Read the table of a sink."""
        return cls(
            send_ms=table.tape("send_ms"),
            sample_share=table.number("sample_fraction", 1, at_most=1),
            sample=table.chance("sample"),
            events_per_s_max=table.number("events_per_s_max", math.inf) or math.inf,
            events_per_month_max=table.number("events_per_month_max", math.inf) or math.inf,
        )


@dataclass(frozen=True)
class ErrorEvent:
    """What is told about an error.

    Parameters
    ----------
    route, kind
        Where it happened, and what.
    at_ms
        When, by the deployment's clock.
    """

    route: str
    kind: str
    at_ms: float

    @property
    def fingerprint(self) -> str:
        """The issue that it belongs to: alike errors of a route are one."""
        return hashlib.sha256(f"{self.route}\0{self.kind}".encode()).hexdigest()[:16]


class Allowance:
    """Events that may come: so many at once, and as many more as the time brings."""

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s = per_s
        self._most = self._left = most
        self._counted_ms: float | None = None

    def take(self, now_ms: float) -> bool:
        """Take one, unless none is left."""
        if math.isinf(self._most):
            return True
        if self._counted_ms is not None:
            self._left = min(self._most, self._left + (now_ms - self._counted_ms) / 1_000 * self._per_s)
        self._counted_ms = now_ms
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Sink:
    """One project of such a service.

    Parameters
    ----------
    settings
        Sample, limits, time of a report.
    name
        Name of the instance: its time category.
    """

    def __init__(self, settings: SinkSettings, *, name: str = "error_sink") -> None:
        self._settings = settings
        self._name = name
        per_s, month = settings.events_per_s_max, settings.events_per_month_max
        self._of_second = Allowance(per_s, max(1.0, per_s))
        self._of_month = Allowance(month / SECONDS_PER_MONTH, month)
        self.events: deque[ErrorEvent] = deque(maxlen=EVENTS_KEPT)
        self.issues: Counter[str] = Counter()
        """Events of each fingerprint."""
        self.unsampled = self.dropped = 0
        """Errors that the client did not send; events that the service did not take."""
        self.billed = Billed()
        """What the service would bill until now: ``events``."""

    async def report(self, event: ErrorEvent, stopwatch: Stopwatch) -> bool:
        """Report an error; return whether the service took it."""
        settings = self._settings
        if not stopwatch.happens(settings.sample, settings.sample_share):
            self.unsampled += 1
            return False
        await stopwatch.catch_up()
        now_ms = stopwatch.planned_ms
        if not (self._of_second.take(now_ms) and self._of_month.take(now_ms)):
            self.dropped += 1
            return False
        async with stopwatch.stage(self._name, stopwatch.draw_ms(settings.send_ms)):
            self.events.append(event)
            self.issues[event.fingerprint] += 1
        self.billed.add("events")
        return True
