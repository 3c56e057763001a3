"""The billing ledger: a Durable Object that records what organisations use and owe.

::

    POST /log ──► read the event ──► policy.append (one transaction) ──► output gate ──► reply
    GET /balance ──► policy.balance
    alarm, POST /flush ──► policy.seal: a batch ──► D1 usage_events, meter ──► policy.settle ──┐
                             ▲ object held            object not held            object held   │
                             └───────────────── until none is left ────────────────────────────┘

If a sink fails, the flush is retried with exponential backoff until it succeeds. Each retry is a new
alarm, because the platform drops an alarm whose handler has failed seven times.

Two policies share this object: ``seed`` does what the brief's code does, with its hazards;
``hardened`` (the default) is the one to deploy. A policy is synchronous code over the
object's storage, so its rules can be read and tested without concurrency.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Protocol

from reference_impl import validation
from reference_impl.durable_objects.gates import Event, ResetError
from reference_impl.durable_objects.state import State
from reference_impl.errors import PlatformError, RequestError
from reference_impl.ledger import events
from reference_impl.ledger.policy import Batch, LedgerPolicy
from reference_impl.ledger.settings import LedgerSettings
from reference_impl.messages import Request, Response, json_response
from reference_impl.timing.addressed import Draws
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import StorageFailedError

FLUSH_RETRY_MS = 2_000
FLUSH_RETRY_MS_MAX = 256_000


class UsageSink(Protocol):
    """A destination of flushed events: D1's ``usage_events``, or the meter."""

    async def store(self, batch: Batch, stopwatch: Stopwatch) -> None:
        """Store *batch* idempotently: rows that are stored already are not stored again."""
        ...


class BillingLedger:
    """The Durable Object that runs a policy.

    Parameters
    ----------
    state
        Storage and alarm.
    policy
        Stores and charges events.
    sinks
        The destinations of a flush, in order.
    clock
        Gives the time of receipt of events, and the time from which the alarm counts.
    settings
        Service times, flush interval and chunk size.
    category
        The time category of the ledger's work.
    """

    def __init__(
        self,
        state: State,
        policy: LedgerPolicy,
        *,
        sinks: Sequence[UsageSink],
        clock: Clock,
        settings: LedgerSettings,
        category: str = "ledger",
    ) -> None:
        self._state = state
        self._policy = policy
        self._sinks = sinks
        self._clock = clock
        self._settings = settings
        self._category = category
        self._flushes_failed = 0
        self._alarm_draws: Draws | None = None

    async def fetch(self, request: Request, event: Event) -> Response:
        """Answer ``/log``, ``/balance`` and ``/flush``; anything else is 404."""
        handlers: dict[str, Callable[[Request, Event], Any]] = {
            "/log": self._log,
            "/balance": self._balance,
            "/flush": self._flush,
        }
        if request.path not in handlers:
            raise RequestError(404, "not_found", f"the ledger has no route {request.path[:80]!r}")
        response: Response = await handlers[request.path](request, event)
        return response

    async def alarm(self, event: Event) -> None:
        """Flush the events that are pending when the alarm fires."""
        # The alarm draws in the name of the request that set it; after a restart nobody knows which that was.
        event.stopwatch.draws, self._alarm_draws = self._alarm_draws, None
        try:
            await self._flush_all(event)
        except (ResetError, StorageFailedError):
            raise
        except PlatformError:
            delay_ms = min(FLUSH_RETRY_MS * 2**self._flushes_failed, FLUSH_RETRY_MS_MAX)
            self._flushes_failed += 1
            self._state.set_alarm(self._clock.unix_ms() + delay_ms)
        else:
            self._flushes_failed = 0

    async def _log(self, request: Request, event: Event) -> Response:
        usage = events.usage_event(request.body)
        drawn_ms = 0.0
        if not event.is_carried:
            drawn_ms = event.work_ms(self._settings.write_ms)
            drawn_ms += self._settings.append_us_per_event * self._policy.events_held() / 1_000
        async with event.stage(self._category, drawn_ms):
            receipt = self._policy.append(usage, self._clock.unix_ms())
            if self._policy.flushes_itself and self._state.alarm_unix_ms() is None:
                interval_ms = round(self._settings.flush_interval_s * 1_000)
                self._state.set_alarm(self._clock.unix_ms() + interval_ms)
                self._alarm_draws = event.stopwatch.draws and event.stopwatch.draws.inner(
                    f"{self._category}.alarm", branch=1
                )
        return json_response(
            {
                "success": True,
                "charge_microusd": receipt.charge_microusd,
                "balance_microusd": receipt.balance_microusd,
                "duplicate": receipt.duplicate,
            }
        )

    async def _balance(self, request: Request, event: Event) -> Response:
        organization_id = validation.name("organization_id", request.query.get("organization_id"))
        async with event.stage(self._category, event.work_ms(self._settings.read_ms)):
            balance = self._policy.balance(organization_id)
        return json_response(
            {
                "success": True,
                "balance_microusd": balance.balance_microusd,
                "events_pending": balance.events_pending,
            }
        )

    async def _flush(self, request: Request, event: Event) -> Response:
        flushed = await self._flush_all(event)
        return json_response({"success": True, "events_flushed": flushed})

    async def _flush_all(self, event: Event) -> int:
        # Events that arrive during the flush wait for the next one, so that every flush ends.
        up_to_seq = self._policy.last_seq()
        flushed = 0
        draws = event.stopwatch.draws
        for chunk in count():
            if draws is not None and chunk:
                event.stopwatch.draws = draws.inner(f"{self._category}.flush_chunk", branch=chunk)
            async with event.stage(self._category) as stage:
                batch = self._policy.seal(up_to_seq, self._settings.flush_chunk_rows)
                stage.drawn_ms = self._settings.flush_row_us * (len(batch.rows) if batch else 0) / 1_000
            if batch is None:
                break
            for sink in self._sinks:
                await event.outside(sink.store(batch, event.stopwatch))
            flushed += self._policy.settle(batch)
        event.stopwatch.draws = draws
        return flushed
