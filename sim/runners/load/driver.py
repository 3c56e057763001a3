"""The load driver: sends every request at its intended time, independently of earlier ones.

The open loop follows the schedule alone. If too many requests are in flight, the next one is skipped and recorded as
such; it is never delayed and sent later in a bunch. (In a closed loop each user thinks, sends a request, waits for the
answer, and thinks again.)

A stop is graceful: nothing new is sent, requests in flight get DRAIN_S to complete and be measured, and those still
waiting then are recorded as ``aborted`` with the time that they had waited.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import aiohttp
import numpy as np

from sim.randomness.streams import uniform
from sim.runners.load.abort import AbortRule, AbortWatch
from sim.runners.load.guard import Caps
from sim.runners.load.messages import Answer, Message, Sender, SessionEndedError, Wire, again, outcome_of
from sim.runners.load.pacer import wait_until
from sim.runners.load.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

DRAIN_S = 2.0
"""Time to drain after a stop: enough for nearly every answer, short for a person who pressed Ctrl-C."""

FINAL = ("too_large", "refused")
"""Outcomes that are not retried: a second attempt would end in the same way."""

BACKOFF_MS_MAX = 60_000.0

UNREACHABLE = (OSError, aiohttp.ClientError)
"""Errors that mean no answer, or an unreadable one."""


@dataclass(frozen=True)
class Client:
    """The client's timeout and retries.

    Attributes
    ----------
    timeout_ms : float
        Timeout of each attempt; that of the first counts from the intended send.
    retries : int
    backoff_ms : float
        Pause before the first retry; doubled before each later one.
    jitter : int or None
        Key of the uniform numbers that pauses are multiplied by (full jitter): the model draws the same ones.
    budget_ratio : float or None
        What a request adds to the budget of all clients, of which a retry takes 1; None: no budget.
    budget_retries_max : int
        Most that the budget holds; it starts full.
    """

    timeout_ms: float
    retries: int = 0
    backoff_ms: float = 0.0
    jitter: int | None = None
    budget_ratio: float | None = None
    budget_retries_max: int = 10


class Driver:
    """Plays one schedule once, or those of its *rows* that are given, and records it on its *tape*."""

    def __init__(
        self,
        scenario: "Scenario",
        schedule: "Schedule",
        *,
        messages: Mapping[int, Message],
        senders: Mapping[Wire, Sender],
        client: Client,
        caps: Caps,
        abort: AbortRule,
        rows: "NDArray[np.int64] | None" = None,
    ) -> None:
        self.schedule = schedule
        self.messages = messages
        self.senders = senders
        self.client = client
        self._budget = float(client.budget_retries_max)
        self.caps = caps
        self.watch = AbortWatch(abort)
        self.rows = np.arange(len(schedule)) if rows is None else rows
        self.ended = 0
        self.failed = 0
        self.throttled = 0
        self.retry_after_s_max = 0.0
        self.paused_until_s = -inf
        self.tape = Tape(schedule, scenario)
        self.in_flight: set[asyncio.Task[None]] = set()
        self.in_flight_peak = 0
        self.stopped_because: str | None = None
        self._sending: asyncio.Task[None] | None = None
        self._defect: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._start_s = 0.0

    async def play(self, *, start_s: float | None = None) -> None:
        """Send everything and wait for the answers; returns early after :meth:`stop`.

        Parameters
        ----------
        start_s : float, optional
            Time 0 of the schedule on the loop's clock; by default now.
        """
        if self.stopped_because is not None:
            return
        self._start_s = self._loop.time() if start_s is None else start_s
        open_loop = self.schedule.user is None
        self._sending = asyncio.create_task(self._send_all() if open_loop else self._let_users_in())
        deadline = self._loop.call_later(self.caps.duration_s, self.stop, f"longer than {self.caps.duration_s:g} s")
        try:
            await asyncio.wait([self._sending])
            await self._drain()
            if not self._sending.cancelled():
                self._sending.result()
        finally:
            deadline.cancel()
        if self._defect is not None:
            raise self._defect

    def stop(self, reason: str) -> None:
        """Send nothing more; only the first *reason* is recorded."""
        if self.stopped_because is None:
            self.stopped_because = reason
            if self._sending is not None:
                self._sending.cancel()

    # ------------------------------------------------------------ when to send

    async def _send_all(self) -> None:
        """Run the open loop: send every request at its time, or skip it."""
        arrival_ms = self.schedule.arrival_ms
        for request in self.rows.tolist():
            await wait_until(self._start_s + float(arrival_ms[request]) / 1000)
            if len(self.in_flight) >= self.caps.in_flight or self._loop.time() < self.paused_until_s:
                self.tape.skip(request)
                self.ended += 1
            else:
                self._launch(request)
        await self._under_way()

    async def _let_users_in(self) -> None:
        """Run the closed loop: one task per user."""
        assert self.schedule.user is not None
        requests_of: dict[int, list[int]] = {}
        for request in self.rows.tolist():
            requests_of.setdefault(int(self.schedule.user[request]), []).append(request)
        async with asyncio.TaskGroup() as group:
            for requests in requests_of.values():
                group.create_task(self._be_user(requests))

    async def _be_user(self, requests: list[int]) -> None:
        assert self.schedule.think_ms is not None
        ended_s = self._start_s
        for request in requests:
            intended_s = ended_s + float(self.schedule.think_ms[request]) / 1000
            self.tape.arrival_ms[request] = (intended_s - self._start_s) * 1000
            await wait_until(max(intended_s, self.paused_until_s))
            await asyncio.wait([self._launch(request)])
            ended_s = self._loop.time()

    def _launch(self, request: int) -> asyncio.Task[None]:
        """Send *request* in a background task."""
        task = self._loop.create_task(self._request(request))
        self.in_flight.add(task)
        self.in_flight_peak = max(self.in_flight_peak, len(self.in_flight))
        task.add_done_callback(self._landed)
        return task

    def _landed(self, task: asyncio.Task[None]) -> None:
        self.in_flight.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._defect = task.exception()
            self.stop("a defect of the driver")

    async def _under_way(self) -> None:
        while self.in_flight:
            await asyncio.wait(self.in_flight)

    async def _drain(self) -> None:
        """Give requests in flight some time to complete after a stop, then cancel them."""
        if self.in_flight:
            _, late = await asyncio.wait(self.in_flight, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # ------------------------------------------------------------ one request

    async def _request(self, request: int) -> None:
        """Send one request with all its attempts, and record its end."""
        tape = self.tape
        tape.send(request, at_ms=self._now_ms())
        self._heed(self.watch.sent(at_s=self._loop.time(), lag_ms=float(tape.send_lag_ms[request])))
        intended_s = self._start_s + tape.arrival_ms[request] / 1000
        try:
            outcome = await self._attempts(request, intended_s)
        except asyncio.CancelledError:
            tape.end(request, "aborted", at_ms=self._now_ms())
            raise
        tape.end(request, outcome, at_ms=self._now_ms())
        self.ended += 1
        self.failed += outcome != "ok"
        self._heed(self.watch.answered(at_s=self._loop.time(), failed=outcome != "ok"))

    def _heed(self, reason: str) -> None:
        if reason:
            self.stop(reason)

    async def _attempts(self, request: int, began_s: float) -> str:
        """Make attempts with back-off, as the scenario's client does; return the last attempt's outcome."""
        client, tape = self.client, self.tape
        self._budget = min(client.budget_retries_max, self._budget + (client.budget_ratio or 0.0))
        for retry in range(client.retries + 1):
            tape.attempts[request] = retry + 1
            outcome = await self._attempt(again(self.messages[request], retry), request, began_s)
            if outcome == "ok" or outcome in FINAL or retry == client.retries or not self._may_retry():
                break
            pause_ms = (self.paused_until_s - self._loop.time()) * 1000
            backoff_ms = min(BACKOFF_MS_MAX, client.backoff_ms * 2.0**retry)
            if client.jitter is not None:
                backoff_ms *= uniform(client.jitter, request, draw=retry + 1)
            wait_ms = max(backoff_ms, pause_ms)
            tape.attribute_client(request, wait_ms)
            began_s = self._loop.time() + wait_ms / 1000
            await wait_until(began_s)
        return outcome

    def _may_retry(self) -> bool:
        """Take a retry from the budget; return whether it allowed one."""
        if self.client.budget_ratio is None:
            return True
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True

    async def _attempt(self, message: Message, request: int, began_s: float) -> str:
        try:
            async with asyncio.timeout_at(began_s + self.client.timeout_ms / 1000):
                answer = await self.senders[message.wire].send(message)
        except TimeoutError:
            self.tape.attribute_client(request, (self._loop.time() - began_s) * 1000)
            return "timeout"
        except SessionEndedError:
            return "closed"
        except UNREACHABLE:
            return "error"
        self.tape.attribute(request, answer.server_timing)
        if answer.retry_after_s > 0:
            self._throttle(answer)
        return outcome_of(message, answer)

    def _throttle(self, answer: Answer) -> None:
        """Respect Retry-After: send nothing until then."""
        self.throttled += 1
        self.retry_after_s_max = max(self.retry_after_s_max, answer.retry_after_s)
        self.paused_until_s = max(self.paused_until_s, self._loop.time() + answer.retry_after_s)
        self._heed(self.watch.throttled(status=answer.status, retry_after_s=answer.retry_after_s))

    def _now_ms(self) -> float:
        return (self._loop.time() - self._start_s) * 1000
