"""The deployment that a scenario describes: one table a component, under ``[system]``.

Nothing here has a default: a number that nobody wrote down is a number that nobody vouches for. A scenario of one's
own starts from ``base = "launch.toml"`` and says only what differs.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from sim.scenario.schema import Count, Fraction, Law, NotNegative, Positive, Table


def _shards(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError('must be a whole number >= 1, or "per_org"') from None


Shards = Annotated[Annotated[int, Field(ge=1)] | Literal["per_org"], WrapValidator(_shards)]


class Network(Table):
    """The way between a client and the provider's nearest location."""

    client_rtt_ms: Law
    """Round trip: half of it before the request is handled, half after."""


class Client(Table):
    """How patient whoever sends the requests is."""

    timeout_ms: Positive
    """An attempt without an answer for so long has failed."""
    retries: Annotated[int, Field(ge=0, le=10)]
    """Further attempts after a failed one."""
    backoff_ms: NotNegative
    """Pause before the first retry; it doubles with each further one."""


class Workers(Table):
    """The code at the edge, run by isolates."""

    isolates: Count
    """Isolates that may compute at the same time."""
    cpu_ms: Law
    """CPU time of one request; it holds an isolate."""
    cold_start_ms: Law
    """Start of an isolate, waited for by the request that needs it."""
    cold_fraction: Fraction
    """Share of requests that need a start."""


class DurableObjects(Table):
    """Single-threaded objects that keep an organisation's state."""

    shards: Shards
    """Number of objects that share the keys, or ``"per_org"`` for one a key."""
    rtt_ms: Law
    """Round trip between the Worker and the object."""
    cold_start_ms: Law
    """Start of an object that is not in memory; it holds the object."""
    evict_idle_ms: Positive
    """An object idle for so long is put out of memory."""
    output_gate_ms: Law
    """Until a write is durable, and its answer may leave; the object serves others meanwhile."""
    queue_limit: Count
    """Most requests that may wait for one object; one more is refused as overloaded."""


class Ledger(Table):
    """The usage ledger inside each object."""

    policy: Literal["seed", "hardened"]
    """``seed``: the whole log is one value, rewritten with every event. ``hardened``: a row an event, and a flush."""
    write_ms: Law
    """Append of one event; it holds the object."""
    read_ms: Law
    """Read of a balance; it holds the object."""
    append_us_per_event: NotNegative
    """Added to an append for each event already in the log (policy ``seed``)."""
    event_bytes: Count
    """Size of one stored event."""
    flush_interval_s: Positive
    """From the first event not yet flushed to the alarm that flushes."""
    flush_row_us: NotNegative
    """The flush holds the object so long for each row."""
    flush_chunk_rows: Count
    """Rows of one chunk; between chunks the object serves others."""


class D1(Table):
    """The database: one query at a time."""

    rtt_ms: Law
    """Round trip between the Worker and the database."""
    read_ms: Law
    """Execution of a read."""
    write_ms: Law
    """Execution of a write."""
    queue_limit: Count
    """Most queries that may wait; one more is refused as overloaded."""


class R2(Table):
    """The object store."""

    put_ms: Law
    """An upload's own time, without its bytes."""
    get_ms: Law
    """A download's own time, without its bytes."""
    bandwidth_bytes_per_s: Positive
    """Speed of one transfer."""


class Tunnel(Table):
    """The QUIC tunnel that devices send through."""

    overhead_ms: Law
    """Round trip from the device to the Worker."""
    streams: Count
    """Requests in the tunnel at the same time; one more waits."""
    response_limit_bytes: Count
    """A larger answer is refused."""


class System(Table):
    """All components."""

    network: Network
    client: Client
    workers: Workers
    durable_objects: DurableObjects
    ledger: Ledger
    d1: D1
    r2: R2
    tunnel: Tunnel
