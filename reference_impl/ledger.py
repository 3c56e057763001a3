"""The billing ledger: a Durable Object that keeps what every organisation used and owes.

::

    POST /log ──► read the event ──► policy.append (one transaction) ──► output gate ──► reply
    GET /balance ──► policy.balance
    alarm, POST /flush ──► chunk of pending events ──► D1 usage_events ──► policy.settle ──┐
                             ▲ object held              object not held     object held    │
                             └───────────────── until none is left ───────────────────────┘

Two policies share this object: ``seed`` does what the brief's code does, with its hazards;
``hardened`` (the default) is the one to deploy. A policy is plain synchronous code over the
object's storage, so that its rules can be read, and broken by a test, without any waiting in it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from reference_impl import validate
from reference_impl.clock import Clock
from reference_impl.durable_objects import Event, State
from reference_impl.errors import RequestError
from reference_impl.ledger_policy import LedgerPolicy, UsageRow
from reference_impl.messages import Request, Response, json_response
from reference_impl.pace import LedgerPace
from reference_impl.stopwatch import Stopwatch


class UsageSink(Protocol):
    """Where flushed events go: D1's ``usage_events``."""

    async def store(self, rows: Sequence[UsageRow], stopwatch: Stopwatch) -> None:
        """Store *rows*; a row stored before is not stored again."""
        ...


class BillingLedger:
    """The Durable Object around a policy.

    Parameters
    ----------
    state
        Storage and alarm.
    policy
        How events are kept.
    sink
        Where a flush sends them.
    clock
        Dates the receipt of events and the alarm.
    pace
        Stage times of the ledger, flush interval and chunk.
    """

    def __init__(
        self,
        state: State,
        policy: LedgerPolicy,
        *,
        sink: UsageSink,
        clock: Clock,
        pace: LedgerPace,
    ) -> None:
        self._state = state
        self._policy = policy
        self._sink = sink
        self._clock = clock
        self._pace = pace

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
        """Flush what was pending when the alarm rang."""
        await self._flush_all(event)

    async def _log(self, request: Request, event: Event) -> Response:
        usage_event = validate.usage_event(request.body)
        drawn_ms = self._pace.write_ms.draw()
        drawn_ms += self._pace.append_us_per_event * self._policy.events_held() / 1_000
        async with event.stage("ledger", drawn_ms):
            receipt = self._policy.append(usage_event, self._clock.unix_ms())
            if self._policy.flushes_itself and self._state.alarm_unix_ms() is None:
                interval_ms = round(self._pace.flush_interval_s * 1_000)
                self._state.set_alarm(self._clock.unix_ms() + interval_ms)
        event.wrote = True
        return json_response(
            {
                "success": True,
                "charge_microusd": receipt.charge_microusd,
                "balance_microusd": receipt.balance_microusd,
                "duplicate": receipt.duplicate,
            }
        )

    async def _balance(self, request: Request, event: Event) -> Response:
        organization_id = validate.name("organization_id", request.query.get("organization_id"))
        async with event.stage("ledger", self._pace.read_ms.draw()):
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
        # Events that arrive during the flush wait for the next one, so that a flush always ends.
        up_to_seq = self._policy.last_seq()
        flushed = 0
        while True:
            async with event.stage("ledger") as stage:
                rows = self._policy.pending(up_to_seq, self._pace.flush_chunk_rows)
                stage.drawn_ms = self._pace.flush_row_us * len(rows) / 1_000
            if not rows:
                return flushed
            await event.outside(self._sink.store(rows, event.stopwatch))
            self._policy.settle(rows)
            flushed += len(rows)
