"""The settings of a namespace of Durable Objects, read from its table in the deployment file."""

from dataclasses import dataclass

from reference_impl.durable_objects.limits import BACK_ENDS, KV_LIMITS, SQLITE_LIMITS, StorageLimits, limits_with
from reference_impl.durable_objects.shared_turns import TurnSettings
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

EVICT_IDLE_MS = 70_000.0
"""Default idle time after which an object is evicted (Durable Objects lifecycle: 70 to 140 s)."""


@dataclass(frozen=True)
class DurableObjectsSettings:
    """Settings of a namespace; *shards* None: every key has its own object; *queue_limit* None: unbounded."""

    shards: int | None
    rtt_ms: Tape
    cold_start_ms: Tape
    evict_idle_ms: float
    output_gate_ms: Tape
    queue_limit: int | None
    read_ms: Tape
    write_ms: Tape
    turns: TurnSettings
    collection_ms: Tape
    limits: StorageLimits

    @classmethod
    def read(cls, table: Table) -> "DurableObjectsSettings":
        """Read the table of a namespace."""
        table.take("kv_unit_bytes", None)  # A matter of the bill alone.
        return cls(
            shards=table.shards("shards"),
            rtt_ms=table.tape("rtt_ms"),
            cold_start_ms=table.tape("cold_start_ms"),
            evict_idle_ms=table.number("evict_idle_ms", EVICT_IDLE_MS),
            output_gate_ms=table.tape("output_gate_ms"),
            queue_limit=table.count("queue_limit", at_least=0),
            read_ms=table.tape("read_ms"),
            write_ms=table.tape("write_ms"),
            turns=TurnSettings(
                coalesced_ms=None if table.take("coalesced_ms", None) is None else table.number("coalesced_ms", 0),
                requests_max=table.count("turn_requests_max"),
                newest_first=table.choice("turn_order", "oldest", choices=["oldest", "newest"]) == "newest",
                intake_ms=table.number("intake_ms", 0),
                collection_every_requests=table.count("collection_every_requests"),
            ),
            collection_ms=table.tape("collection_ms"),
            limits=limits_with(
                table.choice("storage", "sqlite", choices=list(BACK_ENDS)),
                sqlite_value_bytes=table.whole("sqlite_value_bytes_max", SQLITE_LIMITS.value_bytes, at_least=1),
                kv_value_bytes=table.whole("kv_value_bytes_max", KV_LIMITS.value_bytes, at_least=1),
            ),
        )
