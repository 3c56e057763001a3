"""The settings of a D1 database and its replicas, read from its table in the deployment file."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reference_impl.errors import ConfigError
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class ReplicaSettings:
    """Settings of the read replicas: how many, the way to them, and how far they lag behind."""

    count: int
    rtt_ms: Tape
    lag_ms: Tape

    @classmethod
    def read(cls, table: Table) -> "ReplicaSettings | None":
        """Read them from the table of a database; None if it has none.

        Raises
        ------
        ConfigError
            If their distance or lag is missing, or stands there without them.
        """
        regions = table.take("replicas", None)
        count = len(regions) if isinstance(regions, list) else table.count("replicas")
        numbers = [key for key in ("replica_rtt_ms", "replica_lag_ms") if key in table]
        if len(numbers) != (0 if count is None else 2):
            rule = "replicas, replica_rtt_ms and replica_lag_ms must be given together"
            raise ConfigError(f"{table.path}: {rule}, or none of them")
        return None if count is None else cls(count, table.tape("replica_rtt_ms"), table.tape("replica_lag_ms"))


@dataclass(frozen=True)
class D1Settings:
    """Settings of a database; *queue_limit* None: the queue is unbounded.

    *row_us* is added to a read that names its statement, for each row that it reads. *error* and *stall* decide which
    executions fail (*error_chance*), or stall (*stall_chance*) for *stall_ms*; the platform repeats a read that failed
    *read_retries* times.
    Statements that routes name are executed on the tables of *schema*, SQL by file name, which hold *rows*; without a
    schema they are only timed. Parameters follow from *seed*.
    """

    rtt_ms: Tape
    read_ms: Tape
    write_ms: Tape
    queue_limit: int | None
    error: Tape
    stall: Tape
    row_us: float = 0.0
    error_chance: float = 0.0
    stall_chance: float = 0.0
    stall_ms: float = 0.0
    read_retries: int = 0
    seed: int = 0
    schema: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    replicas: ReplicaSettings | None = None

    @classmethod
    def read(cls, table: Table) -> "D1Settings":
        """Read the table of a database."""
        table.take("migrations", "")  # Where they were; their text is "schema".
        return cls(
            seed=table.seed,
            schema=_texts(table.table("schema")),
            rows=_sizes(table.table("rows")),
            error=table.chance("error"),
            stall=table.chance("stall"),
            row_us=table.number("row_us", 0),
            error_chance=table.number("error_chance", 0, at_most=1),
            stall_chance=table.number("stall_chance", 0, at_most=1),
            stall_ms=table.number("stall_ms", 0),
            read_retries=table.whole("read_retries", 0),
            replicas=ReplicaSettings.read(table),
            rtt_ms=table.tape("rtt_ms"),
            read_ms=table.tape("read_ms"),
            write_ms=table.tape("write_ms"),
            queue_limit=table.count("queue_limit", at_least=0),
        )


def _texts(table: Table) -> dict[str, str]:
    """Read the files of a schema."""
    return {name: table.text(name, "") for name in table}


def _sizes(table: Table) -> dict[str, int]:
    """Read the rows of tables."""
    return {name: table.whole(name, 0) for name in table}
