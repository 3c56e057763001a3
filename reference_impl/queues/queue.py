"""A queue: messages are stored before the sender goes on, and delivered in batches, at least once, until consumed.

::

    send ──► stored ──► batch (full, or its timeout ended) ──► consumer ──► acknowledged: deleted
                ▲                                                 └ failed: after a pause ─┐
                └──────────────────────────────────────────────────────────────────────────┘ no retry left: dead letter

- A consumer that returns has acknowledged its batch, except for messages that it asked to retry; one that raises gets
  the whole batch again, except for messages that it had acknowledged one by one.
- Stored messages survive a restart, and are then ready at once; batches in work at that time are delivered again.
- The meter counts as the bill does: an operation for each 64 KB written, read or deleted.

Sources
-------
Queues: JavaScript API (``send``, ``ack``, ``retry``, delays of at most 12 h), batching and retries, limits, pricing.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from reference_impl.errors import PlatformError
from reference_impl.queues.settings import DELAY_S_MAX, QueueSettings
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.clock import Clock, Timer

OPERATION_BYTES = 64_000
TABLES = (
    "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, body BLOB NOT NULL, failures INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dead_letters (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
)


class QueueError(PlatformError):
    """The queue refuses a message; *status* is the platform's."""

    code = "queue_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Message:
    """A message as its consumer gets it.

    Parameters
    ----------
    number, body
        Its number in the queue, and its content.
    attempts
        Number of deliveries, this one included.
    verdict
        ``ack`` or ``retry``, once the consumer has called one of them.
    delay_s
        Delay of the retry in s; None: the queue's.
    """

    number: int
    body: bytes
    attempts: int
    verdict: str = ""
    delay_s: float | None = None

    def ack(self) -> None:
        """Acknowledge the message, whatever its batch's outcome; only the first call of ack or retry counts."""
        self.verdict = self.verdict or "ack"

    def retry(self, delay_s: float | None = None) -> None:
        """Deliver the message again after *delay_s*; None: after the queue's own delay.

        Raises
        ------
        QueueError
            400: the delay is negative or too long.
        """
        _check_delay(delay_s or 0.0)
        if not self.verdict:
            self.verdict, self.delay_s = "retry", delay_s


@dataclass
class Meter:
    """Billed operations so far, and the sizes of the delivered batches."""

    writes: int = 0
    reads: int = 0
    deletes: int = 0
    batches: list[int] = field(default_factory=list)
    """Size of each batch that was delivered."""

    @property
    def operations(self) -> int:
        """Number of all operations."""
        return self.writes + self.reads + self.deletes


Consume = Callable[[Sequence[Message]], Awaitable[None]]


class Queue:
    """One queue and the delivery of its messages.

    Parameters
    ----------
    engine
        Where messages are stored.
    clock
        The deployment's clock.
    settings
        Limits, batches, retries.
    consume
        The consumer; called once per batch, for several batches concurrently. It fails by raising.
    """

    def __init__(self, engine: Engine, *, clock: Clock, settings: QueueSettings, consume: Consume) -> None:
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._consume = consume
        self._ready: deque[int] = deque()
        self._timer: Timer | None = None
        self._tokens = max(1.0, settings.messages_per_s_max)
        self._counted_ms = clock.now_ms()
        self.meter = Meter()
        for table in TABLES:
            engine.execute(table)
        for row in engine.execute("SELECT id FROM messages ORDER BY id").values:
            self._make_ready(int(row[0]))

    @property
    def stored(self) -> int:
        """Number of messages that are not yet consumed."""
        return int(self._engine.execute("SELECT count(*) FROM messages").values[0][0])

    def dead_letters(self) -> list[bytes]:
        """Return the bodies of messages that failed too often, oldest first."""
        return [bytes(row[0]) for row in self._engine.execute("SELECT body FROM dead_letters ORDER BY id").values]

    def send(self, body: bytes, *, delay_s: float = 0.0) -> None:
        """Store a message; it is not delivered before *delay_s* have passed.

        Raises
        ------
        QueueError
            413: the message is too large. 400: the delay is negative or too long. 429: the rate limit is reached.
        """
        if len(body) > self._settings.message_bytes_max:
            rule = f"a queue takes at most {self._settings.message_bytes_max}"
            raise QueueError(413, f"a message of {len(body)} bytes; {rule}")
        _check_delay(delay_s)
        self._count_message()
        self._engine.execute("INSERT INTO messages (body, failures) VALUES (?, 0)", (body,))
        number = int(self._engine.execute("SELECT max(id) FROM messages").values[0][0])
        self.meter.writes += operations(body)
        self._later(number, delay_s)

    # --- batches -----------------------------------------------------------------------------

    def _later(self, number: int, delay_s: float) -> None:
        if delay_s:
            self._clock.call_at_ms(self._clock.now_ms() + delay_s * 1_000, lambda: self._make_ready(number))
        else:
            self._make_ready(number)

    def _make_ready(self, number: int) -> None:
        """Add a message to the batch that is being filled, and deliver the batch if it is now full."""
        self._ready.append(number)
        if len(self._ready) >= self._settings.batch_messages:
            self._deliver()
        elif self._timer is None:
            at_ms = self._clock.now_ms() + self._settings.batch_timeout_s * 1_000
            self._timer = self._clock.call_at_ms(at_ms, self._deliver)

    def _deliver(self) -> None:
        """Pass the ready messages to a consumer; the next message begins a new batch with a timeout of its own."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        numbers = list(self._ready)
        self._ready.clear()
        if numbers:
            self._clock.spawn(self._work(numbers))

    async def _work(self, numbers: list[int]) -> None:
        batch = [message for message in map(self._message, numbers) if message is not None]
        self.meter.batches.append(len(batch))
        self.meter.reads += sum(operations(message.body) for message in batch)
        has_failed = False
        try:
            await self._consume(batch)
        except Exception:  # noqa: BLE001  # whatever a consumer raises, its batch was not consumed
            has_failed = True
        for message in batch:
            verdict = message.verdict or ("retry" if has_failed else "ack")
            self._forget(message) if verdict == "ack" else self._fail(message)

    def _message(self, number: int) -> Message | None:
        rows = self._engine.execute("SELECT body, failures FROM messages WHERE id = ?", (number,)).values
        return Message(number, bytes(rows[0][0]), int(rows[0][1]) + 1) if rows else None

    def _forget(self, message: Message) -> None:
        self._engine.execute("DELETE FROM messages WHERE id = ?", (message.number,))
        self.meter.deletes += operations(message.body)

    def _fail(self, message: Message) -> None:
        """Deliver a message again, or make it a dead letter after its last retry."""
        if message.attempts <= self._settings.retries:
            self._engine.execute("UPDATE messages SET failures = ? WHERE id = ?", (message.attempts, message.number))
            self._later(message.number, self._settings.retry_delay_s if message.delay_s is None else message.delay_s)
            return
        with self._engine.transaction():
            if self._settings.dead_letters:
                self._engine.execute("INSERT INTO dead_letters (body) VALUES (?)", (message.body,))
                self.meter.writes += operations(message.body)
            self._forget(message)

    def _count_message(self) -> None:
        """Take a token from the bucket that limits messages per second."""
        limit = self._settings.messages_per_s_max
        if math.isinf(limit):
            return
        now_ms = self._clock.now_ms()
        filled = self._tokens + (now_ms - self._counted_ms) / 1_000 * limit
        self._tokens, self._counted_ms = min(filled, max(1.0, limit)), now_ms
        if self._tokens < 1:
            raise QueueError(429, f"Too Many Requests: a queue takes {limit:g} messages a second; wait and retry")
        self._tokens -= 1


def operations(body: bytes) -> int:
    """Return the number of operations that writing, reading or deleting a message is billed as: one per 64 KB begun.

    >>> operations(b""), operations(bytes(64_000)), operations(bytes(64_001))
    (1, 1, 2)
    """
    return max(1, math.ceil(len(body) / OPERATION_BYTES))


def _check_delay(delay_s: float) -> None:
    if not 0 <= delay_s <= DELAY_S_MAX:
        raise QueueError(400, f"delaySeconds={delay_s:g} must be 0 to {DELAY_S_MAX:g}")
