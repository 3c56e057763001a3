"""The settings of a D1 database, read from its table in the deployment file."""

from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class D1Settings:
    """Settings of a database; *queue_limit* None: the queue is unbounded.

    *row_us* is added to a read that names its statement, for each row that it reads. *chance* decides which executions
    fail (*error_chance*), or stall for *stall_ms*; the platform repeats a read that failed *read_retries* times.
    """

    rtt_ms: Tape
    read_ms: Tape
    write_ms: Tape
    queue_limit: int | None
    chance: Tape
    row_us: float = 0.0
    error_chance: float = 0.0
    stall_chance: float = 0.0
    stall_ms: float = 0.0
    read_retries: int = 0

    @classmethod
    def read(cls, table: Table) -> "D1Settings":
        """Read the table of a database."""
        # The sizes of tables and their schema are the planner's, which tells how many rows a statement reads.
        for key, default in (("rows", {}), ("migrations", "")):
            table.take(key, default)
        return cls(
            chance=table.chance("trouble"),
            row_us=table.number("row_us", 0),
            error_chance=table.number("error_chance", 0, at_most=1),
            stall_chance=table.number("stall_chance", 0, at_most=1),
            stall_ms=table.number("stall_ms", 0),
            read_retries=table.whole("read_retries", 0),
            rtt_ms=table.tape("rtt_ms"),
            read_ms=table.tape("read_ms"),
            write_ms=table.tape("write_ms"),
            queue_limit=table.count("queue_limit", at_least=0),
        )
