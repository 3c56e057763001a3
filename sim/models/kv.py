"""Workers KV: writes go to a central store, and each location caches what it has read, for a minute by default.

A key that was read here within the cache's time to live is *hot* and read from the cache; any other read goes to the
central store. So the share of hot reads follows from the traffic: popular keys are nearly always hot, rare ones hardly
ever. A write goes to the central store, and other locations may read the old value until their copies expire.

Simplifications: all requests come to one location (with several, each sees fewer requests and so more cold reads); a
popular key is not refreshed before it expires; concurrent cold reads of one key each go to the central store.

Sources
-------
KV limits (values of 25 MiB; one write a second to one key, else status 429; ``cacheTtl`` of 30 s or more) and "how KV
works" (a read is cached for ``cacheTtl``, by default 60 s; a change may take 60 s or more to be seen everywhere).
Prices: the KV pricing page. Times of hot and cold reads have a weak source, those of writes and lists none: see the
scenario.
"""

from sim.flow import (
    AttributeOver,
    Branch,
    Bucket,
    Chance,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Drained,
    Flow,
    Guard,
    Latch,
    Reset,
    Spawn,
)
from sim.foundation.schema import Count as Number
from sim.foundation.schema import Fraction, Positive, Table
from sim.models.billing import GB, Call, Usage, meter, per_million
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.randomness.distributions import Constant, Distribution


class KV(Table):
    """A namespace of keys and values."""

    hot_ms: Distribution
    """Read of a key that the location has in its cache."""
    cold_ms: Distribution
    """Read that goes to the central store."""
    cache_ttl_s: Positive
    """A location keeps what it has read for so long."""
    write_ms: Distribution
    """A write, or a delete."""
    list_ms: Distribution
    """One page of a list of keys."""
    value_bytes_max: Number
    """A larger value is refused."""
    writes_per_s: Positive
    """Writes of one key; one more is refused (429)."""


class Put(Table):
    """The parameters of a write."""

    new_fraction: Fraction = 1.0
    """Share of writes that make a key of their own; the others write the request's key again."""


def get(kv: Instance, _: NoParameters) -> Flow:
    """Read the value of the request's key: hot if an earlier read's copy has not expired, else cold."""
    table: KV = kv.table
    cached = Counter(f"{kv.name}_cached", instances=kv.keys)
    expire = Spawn(
        (Reset(cached),),
        kv.stream("expiry"),
        after=Constant(value=table.cache_ttl_s * 1_000),
        once=Latch(f"{kv.name}_cached", instances=kv.keys),
    )
    cold = (Delay(table.cold_ms, kv.stream("cold")), Count(cached), expire)
    return (Branch(CountAtLeast(cached, 1), (Delay(table.hot_ms, kv.stream("hot")),), cold),)


def put(kv: Instance, asked: Put) -> Flow:
    """Write the request's bytes under a new key, or under the request's own."""
    table: KV = kv.table
    too_large = Guard(AttributeOver("size_bytes", table.value_bytes_max), "too_large")
    often = Bucket(f"{kv.name}_writes", per_s=table.writes_per_s, burst=1.0, instances=kv.keys)
    again = (Guard(Drained(often), "refused"),)
    write = Delay(table.write_ms, kv.stream("write"))
    return (too_large, Branch(Chance(asked.new_fraction, kv.stream("new")), (), again), write)


def delete(kv: Instance, _: NoParameters) -> Flow:
    """Delete the request's key."""
    return (Delay(kv.table.write_ms, kv.stream("delete")),)


def list_keys(kv: Instance, _: NoParameters) -> Flow:
    """List up to 1,000 keys."""
    return (Delay(kv.table.list_ms, kv.stream("list")),)


def get_usage(kv: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a read: one, even if the key does not exist."""
    return Usage({"kv.reads": 1.0})


def put_refusal(kv: Instance, asked: Put) -> str:
    """Return the rule by which a write of a key that was just written is refused."""
    return f"{kv.table.writes_per_s:g} write a second to one key at most (429)" if asked.new_fraction < 1 else ""


def put_usage(kv: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a write: one, and the bytes stored if its key is new."""
    return Usage({"kv.writes": 1.0}, stored_gb={"kv.storage": call.parameters.new_fraction * call.size_bytes / GB})


def delete_usage(kv: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a delete."""
    return Usage({"kv.deletes": 1.0})


def list_usage(kv: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a list."""
    return Usage({"kv.lists": 1.0})


COMPONENT = Component(
    name="kv",
    label="KV",
    colour="#8c510a",
    tier=Tier.STORE,
    table=KV,
    operations={
        "get": Operation(get, usage=get_usage, services=("kv",), reads=True),
        "put": Operation(put, parameters=Put, usage=put_usage, services=("kv",), uploads=True, refusal=put_refusal),
        "delete": Operation(delete, usage=delete_usage, services=("kv",)),
        "list": Operation(list_keys, usage=list_usage, services=("kv",), reads=True),
    },
    meters=(
        per_million("kv.reads", "reads", fact="reads"),
        per_million("kv.writes", "writes", fact="writes"),
        per_million("kv.deletes", "deletes", fact="deletes"),
        per_million("kv.lists", "lists", fact="lists"),
        meter("kv.storage", "GB-month", price="storage_overage_per_gb_month", included="storage_gb_included", per=1.0),
    ),
)
