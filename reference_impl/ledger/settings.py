"""The settings of a usage ledger, read from its table in the deployment file."""

from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

POLICIES = ("seed", "hardened")
FLUSH_INTERVAL_S = 60.0
"""Default time from the first pending event to the flush."""
FLUSH_CHUNK_ROWS = 500
"""Default number of events that a flush handles without releasing the object."""


@dataclass(frozen=True)
class LedgerSettings:
    """Settings of a ledger that lives in the namespace *objects* and flushes to the database *database*."""

    objects: str
    database: str
    policy: str
    write_ms: Tape
    read_ms: Tape
    append_us_per_event: float
    event_bytes: int | None
    flush_interval_s: float
    flush_row_us: float
    flush_chunk_rows: int

    @classmethod
    def read(cls, table: Table) -> "LedgerSettings":
        """Read the table of a ledger."""
        return cls(
            objects=table.text("objects", "durable_objects"),
            database=table.text("database", "d1"),
            policy=table.choice("policy", "hardened", choices=POLICIES),
            write_ms=table.tape("write_ms"),
            read_ms=table.tape("read_ms"),
            append_us_per_event=table.number("append_us_per_event", 0),
            event_bytes=table.count("event_bytes"),
            flush_interval_s=table.number("flush_interval_s", FLUSH_INTERVAL_S),
            flush_row_us=table.number("flush_row_us", 0),
            flush_chunk_rows=table.count("flush_chunk_rows") or FLUSH_CHUNK_ROWS,
        )
