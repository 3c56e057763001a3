"""D1: a database that runs one query at a time, a network round trip away from the Worker.

The Worker runs near its user, the database stands where it was created; so every query pays a round trip before it
waits for the single thread that executes it. Both halves of a query's round trip are one sample; each query has its
own. Read replicas: :mod:`sim.models.d1_replicas`.

Sources
-------
D1 limits page: "each database processes queries one at a time"; a query of 1 ms allows about 1,000 a second (hazard
H18). Times of reads and writes come from the platform file, partly as assumptions; the distance is the scenario's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.flow import Attempt, Branch, Chance, Delay, Finally, Flow, Guard, Hold, Serve, Station, Step, Time
from sim.foundation.schema import Count, Fraction, NotNegative, Table
from sim.models import d1_replicas
from sim.models.billing import GB, Call, Runaway, StorageLimit, Usage, per_million, storage
from sim.models.component import Component, Instance, Metric, Operation, Tier, Uses
from sim.models.d1_plans import QueryPlan, plan_of, schema_files
from sim.models.d1_replicas import Regions, Session
from sim.randomness.distributions import Constant, Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class D1(Table):
    """A database: one query at a time."""

    rtt_ms: Distribution
    """Round trip between the Worker and the database."""
    read_ms: Distribution
    """Execution of a read."""
    write_ms: Distribution
    """Execution of a write."""
    queue_limit: Count
    """Most queries that may wait; one more is refused as overloaded."""
    row_us: NotNegative = 0.0
    """Added to a step that names its ``sql``, for each row that it reads: 0.08 on the open-source runtime's SQLite."""
    rows: Annotated[dict[str, Count], Field(default_factory=dict)]
    """Rows of each table that a statement touches: ``{ loras = 50_000 }``."""
    migrations: str = ""
    """Folder of the schema's migrations, or an SQL file; empty for the deployment's own."""

    error_chance: Fraction = 0.0
    """Share of executions that fail for reasons of the platform; nothing is published, so none unless it is asked."""
    stall_chance: Fraction = 0.0
    """Share of executions that stall while others wait; nothing is published either."""
    stall_ms: NotNegative = 0.0
    """Length of a stall."""
    read_retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Times that the platform itself repeats a read that failed: ``platform:d1.behaviour.auto_retry_read_only``."""
    replicas: Regions | None = None
    """Regions with a read replica, ``platform:d1.limits.replica_regions``, or their number; keys take turns."""
    replica_rtt_ms: Distribution | None = None
    """Round trip between a Worker and the replica of its region; needed with ``replicas``."""
    replica_lag_ms: Distribution | None = None
    """A replica has what was committed so long ago, as a read finds it; needed with ``replicas``."""

    @model_validator(mode="after")
    def _replicated(self) -> Self:
        d1_replicas.check(self)
        return self


class _Statement(Table):
    """The parameters of a step that may name its statement."""

    rows_read: NotNegative = 0.0
    """Rows that it visits, in tables and indexes."""
    sql: str = ""
    """The statement; what it reads and writes follows from its plan and the sizes of its tables, and takes its time."""
    matching_rows: Annotated[int, Field(ge=0)] = 0
    """Rows that the first table's condition leaves; 0 for all of them, the worst case."""

    @model_validator(mode="after")
    def _one(self) -> "_Statement":
        for key in ("rows_read", "rows_written"):
            if self.sql and key in self.model_fields_set:
                raise ValueError(f"must not hold {key} beside sql: they follow from the statement")
        return self


class Read(_Statement):
    """The parameters of a read."""

    rows_read: NotNegative = 1.0
    """Rows that the query visits, in tables and indexes."""
    returned_rows: Annotated[int, Field(ge=0)] = 0
    """Rows that it returns at most, where its LIMIT is a parameter; 0 for no limit."""
    session: Session = ""
    """Constraint of the session of the request's key: a replica serves ``first-unconstrained`` and ``bookmark``, the
    primary all others, and all where there are no replicas."""


class Write(_Statement):
    """The parameters of a write."""

    rows_written: NotNegative = 1.0
    """Rows that it writes; an entry of an index is a row."""
    stored_bytes: NotNegative = 0.0
    """Bytes by which the database grows: they are billed by the month, and fill it."""
    session: bool = False
    """Whether it belongs to the session of the request's key, whose later reads with a ``bookmark`` must find it."""


def station(d1: Instance) -> Station:
    """Return the database's one thread."""
    return Station(d1.name, servers=1, queue_limit=d1.table.queue_limit)


def read(d1: Instance, asked: Read) -> Flow:
    """Travel to the database, execute one query that reads, travel back."""
    query = _query(d1, "read", rows=_time_of_rows(d1, asked), session=asked.session)
    table: D1 = d1.table
    if not (table.read_retries and table.error_chance):
        return query
    # Only what failed by chance is repeated: a full queue is not.
    return (Attempt(query, d1.stream("platform_retry"), retries=table.read_retries, final=("overloaded",)),)


def write(d1: Instance, asked: Write) -> Flow:
    """Travel to the database, execute one transaction that writes, travel back."""
    return _query(d1, "write", rows=_time_of_rows(d1, asked), in_session=asked.session)


def _time_of_rows(d1: Instance, asked: Read | Write) -> Flow:
    """Return the time of the rows that a statement reads; nothing for a step without one."""
    rows_ms = rows_read(d1, asked) * d1.table.row_us / 1000 if asked.sql else 0.0
    return (Delay(Constant(value=rows_ms), d1.stream("rows")),) if rows_ms else ()


def query_plan(d1: Instance, asked: Read | Write) -> QueryPlan:
    """Return how a step that names its statement is planned.

    Raises
    ------
    ScenarioError
        The statement does not fit the schema, or the size of a table is missing.
    """
    table: D1 = d1.table
    return plan_of(
        asked.sql,
        table.rows,
        schema=table.migrations,
        matching=asked.matching_rows,
        limit=asked.returned_rows if isinstance(asked, Read) else 0,
        writes=isinstance(asked, Write),
    )


def rows_read(d1: Instance, asked: Read | Write) -> float:
    """Return the rows that a step visits."""
    return float(query_plan(d1, asked).rows_read) if asked.sql else asked.rows_read


def rows_written(d1: Instance, asked: Write) -> float:
    """Return the rows that a write changes, and the entries of indexes."""
    return float(query_plan(d1, asked).rows_written) if asked.sql else asked.rows_written


def missing_index(d1: Instance, asked: Any) -> str:
    """Return a sentence about the index that a read lacks; empty if it lacks none."""
    if not isinstance(asked, Read) or not asked.sql:
        return ""
    plan = query_plan(d1, asked)
    if not plan.missing_index:
        return ""
    return (
        f"{d1.name} reads {plan.rows_read:,} rows for {asked.sql[:100]!r} ({'; '.join(plan.steps)}); "
        f"{plan.rows_read_with_index:,} after `{plan.missing_index}`"
    )


def played_rows(d1: Instance, asked: Any) -> dict[str, float]:
    """Return the rows of a step with ``sql``, whose time a deployment takes that does not execute the statement."""
    if not asked.sql:
        return {}
    written = {"rows_written": rows_written(d1, asked)} if isinstance(asked, Write) else {}
    return {"rows_read": rows_read(d1, asked), **written}


def played_table(d1: Instance, asked: Sequence[Table]) -> Mapping[str, Any]:
    """Return the schema on which the reference executes the statements of *asked*; nothing without one."""
    is_named = any(getattr(one, "sql", "") for one in asked)
    return {"schema": schema_files(d1.table.migrations)} if is_named else {}


def _query(
    d1: Instance, kind: Literal["read", "write"], *, rows: Flow = (), session: Session = "", in_session: bool = False
) -> Flow:
    """Travel, wait, execute with the time of *rows*, perhaps stall or fail, travel back."""
    table: D1 = d1.table
    half = Delay(Time(table.rtt_ms, scale=0.5), d1.stream("rtt"), shared=True)
    place = station(d1)
    before: Flow = ()
    if d1_replicas.serves(d1, session):
        half, place, before = d1_replicas.half_way(d1), d1_replicas.station(d1), d1_replicas.catch_up(d1, session)
    time = table.read_ms if kind == "read" else table.write_ms
    stall: Flow = ()
    if table.stall_chance and table.stall_ms:
        stalled = Delay(Constant(value=table.stall_ms), d1.stream("stall_time"))
        stall = (Branch(Chance(table.stall_chance, d1.stream("stall")), (stalled,)),)
    execute: Step = Serve(place, time, d1.stream(kind))
    if rows or stall:
        execute = Hold(place, (Delay(time, d1.stream(kind)), *rows, *stall))
    fail: Flow = (Guard(Chance(table.error_chance, d1.stream("error")), "error"),) if table.error_chance else ()
    after = d1_replicas.seen(d1, session) if kind == "read" else d1_replicas.written(d1, in_session=in_session)
    return (half, Finally((*before, execute, *fail, *after), (half,)))


def read_usage(d1: Instance, call: Call) -> Usage:
    """Return the usage of a read: the rows that it visits."""
    return Usage({"d1.rows_read": rows_read(d1, call.parameters)})


def write_usage(d1: Instance, call: Call) -> Usage:
    """Return the usage of a write: the rows that it visits and writes, and the bytes that it adds."""
    stored_gb = call.parameters.stored_bytes / GB
    return Usage(
        {"d1.rows_read": rows_read(d1, call.parameters), "d1.rows_written": rows_written(d1, call.parameters)},
        stored_gb={"d1.storage": stored_gb} if stored_gb else {},
    )


def query_ms(frame: "pd.DataFrame", uses: Uses) -> "NDArray[np.float64]":
    """Return round trip, wait and SQL time of a query, in ms: one value per request and database that it queried."""
    return uses.mean_ms(frame, columns=("ms", "queue_ms"))


def full_scan(d1: Instance, fact: Callable[[str], float]) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage per second of queries that scan a table without an index: the one thread never stops reading."""
    return Usage({"d1.rows_read": fact("d1.performance.scan_rows_per_second_measured")})


COMPONENT = Component(
    name="d1",
    label="D1",
    colour="#d55e00",
    tier=Tier.STORE,
    table=D1,
    operations={
        "read": Operation(
            read,
            parameters=Read,
            usage=read_usage,
            services=("d1",),
            reads=True,
            finding=missing_index,
            played=played_rows,
        ),
        "write": Operation(write, parameters=Write, usage=write_usage, services=("d1",), played=played_rows),
    },
    station=station,
    played=played_table,
    meters=(
        per_million("d1.rows_read", "rows", fact="rows_read"),
        per_million("d1.rows_written", "rows", fact="rows_written"),
        storage("d1.storage"),
    ),
    limits=(
        StorageLimit("d1.storage", "d1.limits.database_bytes_paid", "a database"),
        StorageLimit("d1.storage", "d1.limits.database_bytes_free", "a database", plan="free"),
    ),
    runaways=(Runaway("full scan", "queries without an index keep the database scanning without a rest", full_scan),),
    metrics=(Metric("d1_query_ms", "D1 query", "ms", query_ms, compared=("p50", "p99")),),
)
