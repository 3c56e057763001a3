"""What a scenario says of a D1 database."""

from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class D1Settings:
    """A database that answers one query at a time; *queue_limit* None: no bound on how many wait.

    *row_us* is added to a read that names its statement, for each row that it reads.
    """

    rtt_ms: Tape
    read_ms: Tape
    write_ms: Tape
    queue_limit: int | None
    row_us: float = 0.0

    @classmethod
    def read(cls, table: Table) -> "D1Settings":
        """Read the table of a database."""
        # The sizes of tables and their schema are the planner's, which tells how many rows a statement reads.
        for key, default in (("rows", {}), ("migrations", "")):
            table.take(key, default)
        return cls(
            row_us=table.number("row_us", 0),
            rtt_ms=table.tape("rtt_ms"),
            read_ms=table.tape("read_ms"),
            write_ms=table.tape("write_ms"),
            queue_limit=table.count("queue_limit", at_least=0),
        )
