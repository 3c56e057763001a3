"""The settings of a D1 database, read from its table in the deployment file."""

from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class D1Settings:
    """Settings of a database; *queue_limit* None: the queue is unbounded."""

    rtt_ms: Tape
    read_ms: Tape
    write_ms: Tape
    queue_limit: int | None

    @classmethod
    def read(cls, table: Table) -> "D1Settings":
        """Read the table of a database."""
        return cls(
            rtt_ms=table.tape("rtt_ms"),
            read_ms=table.tape("read_ms"),
            write_ms=table.tape("write_ms"),
            queue_limit=table.count("queue_limit", at_least=0),
        )
