"""The settings of a queue, read from its table in the deployment file.

Sources
-------
Queues limits (128 KB a message, 100 messages or 60 s a batch, 100 retries, delays of 12 h, 250 consumers) and defaults
(a batch of 10 or 5 s, 3 retries).
"""

import math
from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

MESSAGE_BYTES_MAX = 128_000
BATCH_MESSAGES, BATCH_MESSAGES_MAX = 10, 100
BATCH_TIMEOUT_S, BATCH_TIMEOUT_S_MAX = 5.0, 60.0
RETRIES, RETRIES_MAX = 3, 100
CONSUMERS_MAX = 250
DELAY_S_MAX = 43_200.0


@dataclass(frozen=True)
class QueueSettings:
    """Settings of a queue and its consumer; *messages_per_s_max* infinite: no limit."""

    send_ms: Tape
    message_bytes_max: int
    messages_per_s_max: float
    batch_messages: int
    batch_timeout_s: float
    delivery_ms: Tape
    consumers: int
    consume_ms: Tape
    consume_message_ms: float
    failure_share: float
    failure_chance: Tape
    retries: int
    retry_delay_s: float
    dead_letters: bool

    @classmethod
    def read(cls, table: Table) -> "QueueSettings":
        """Read the table of a queue; keys that only the bill needs are checked and ignored."""
        for billed in ("consumer_cpu_ms", "operation_bytes", "message_operations"):
            table.number(billed, 0)
        table.flag("consumer_billed")
        return cls(
            send_ms=table.tape("send_ms"),
            message_bytes_max=table.whole("message_bytes_max", MESSAGE_BYTES_MAX, at_least=1),
            messages_per_s_max=table.number("messages_per_s_max", math.inf) or math.inf,
            batch_messages=table.whole("batch_messages", BATCH_MESSAGES, at_least=1, at_most=BATCH_MESSAGES_MAX),
            batch_timeout_s=table.number("batch_timeout_s", BATCH_TIMEOUT_S, at_most=BATCH_TIMEOUT_S_MAX),
            delivery_ms=table.tape("delivery_ms"),
            consumers=table.whole("consumers", CONSUMERS_MAX, at_least=1, at_most=CONSUMERS_MAX),
            consume_ms=table.tape("consume_ms"),
            consume_message_ms=table.number("consume_message_ms", 0),
            failure_share=table.number("failure_fraction", 0, at_most=1),
            failure_chance=table.chance("failure_fraction"),
            retries=table.whole("retries", RETRIES, at_most=RETRIES_MAX),
            retry_delay_s=table.number("retry_delay_s", 0, at_most=DELAY_S_MAX),
            dead_letters=table.flag("dead_letters"),
        )
