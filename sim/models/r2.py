"""R2, the object store: an operation takes a first-byte latency, then a transfer at fixed bandwidth.

Transfers do not share bandwidth and never queue, since the store is far larger than the load of any one user. With
``part_bytes`` an upload is sent in equal parts, each of which pays a round trip before the next begins, so that small
parts do not fill the bandwidth (hazard H30); the last part counts as the fraction that it is. One key takes one write a
second (hazard H31): a step with ``new_fraction`` below 1 writes the request's own key again. Uploads that are begun and
never completed stay stored until their expiry (hazard H35), for the bill alone.

Sources
-------
No latency of single operations is published: operation times, the round trip of a part and the bandwidth of a stream
are the scenario's assumptions (``[system.r2]``). R2 limits: parts of at least 5 MiB, all of one size but the last, one
write a second to one key, incomplete uploads expire after seven days. Creating, completing and each part of an upload
are operations of class A.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.flow import ZERO, Branch, Bucket, Chance, Delay, Drained, Flow, Guard, Link, Time, Transfer
from sim.foundation.schema import Count, Fraction, NotNegative, Positive, Table
from sim.models.billing import DAYS_PER_MONTH, GB, Call, Usage, meter, storage
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.randomness.distributions import Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Whole = Annotated[int, Field(ge=0)]


class R2(Table):
    """The object store."""

    put_ms: Distribution
    """Time of an upload without the transfer of its bytes."""
    get_ms: Distribution
    """Time of a download without the transfer of its bytes."""
    bandwidth_bytes_per_s: Positive
    """Bandwidth of one transfer."""
    storage_class: Literal["standard", "infrequent_access"] = "standard"
    """Storage class of the bucket's objects, for the bill."""
    part_bytes: Whole = 0
    """Size of the parts that an upload is sent in; 0: it is sent at once."""
    part_bytes_min: Whole = 0
    """Smallest part that the store takes, ``platform:r2.limits.part_bytes_min``; only the last may be smaller."""
    parallel_parts: Count = 1
    """Parts of one upload that are sent at a time."""
    part_rtt_ms: NotNegative = 0.0
    """Round trip of each part, before the next one takes its place."""
    writes_per_s: Positive = 1.0
    """Writes of one key; one more is refused (429): ``platform:r2.limits.writes_per_second_same_key``."""
    abandoned_fraction: Fraction = 0.0
    """Uploads that are begun in parts and never completed, for each that is; only the bill counts their bytes."""
    abandoned_days: NotNegative = 7.0
    """Days until they are removed: ``platform:r2.limits.multipart_expiry_days``."""

    @model_validator(mode="after")
    def _is_part(self) -> Self:
        if 0 < self.part_bytes < self.part_bytes_min:
            raise ValueError(f"needs part_bytes={self.part_bytes} to be 0, or >= part_bytes_min={self.part_bytes_min}")
        return self


class Put(Table):
    """The parameters of an upload."""

    new_fraction: Fraction = 1.0
    """Share of uploads that make a key of their own; the others write the request's key again."""


def put(r2: Instance, asked: Put) -> Flow:
    """Store the request's bytes under a new key, or under the request's own."""
    again: Flow = ()
    if asked.new_fraction < 1:
        often = Bucket(f"{r2.name}_writes", per_s=r2.table.writes_per_s, burst=1.0, instances=r2.keys)
        again = (Branch(Chance(asked.new_fraction, r2.stream("new")), (), (Guard(Drained(often), "refused"),)),)
    return (*again, Delay(r2.table.put_ms, r2.stream("put")), *_parts(r2), _body(r2))


def upload_mb_per_s_max(table: R2) -> float:
    """Return the throughput of an upload in *p* parts of *c* bytes: ``min(bandwidth, p c / (RTT + c / bandwidth))``."""
    bytes_per_ms = table.bandwidth_bytes_per_s / 1_000
    if not table.part_bytes:
        return bytes_per_ms / 1_000
    one_part_ms = table.part_rtt_ms + table.part_bytes / bytes_per_ms
    return min(bytes_per_ms, table.parallel_parts * table.part_bytes / one_part_ms) / 1_000


def _parts(r2: Instance) -> Flow:
    """Return the time that the parts of an upload lose against one that fills the bandwidth."""
    lost_ms_per_byte = 1 / (upload_mb_per_s_max(r2.table) * 1_000) - 1_000 / r2.table.bandwidth_bytes_per_s
    if not r2.table.part_bytes or lost_ms_per_byte <= 0:
        return ()
    return (Delay(Time(ZERO.distribution, each_ms=lost_ms_per_byte, of="size_bytes"), r2.stream("parts")),)


def get(r2: Instance, _: NoParameters) -> Flow:
    """Fetch the request's bytes."""
    return (Delay(r2.table.get_ms, r2.stream("get")), _body(r2))


def _body(r2: Instance) -> Transfer:
    return Transfer(Link(r2.name, bytes_per_s=r2.table.bandwidth_bytes_per_s), r2.name)


def put_refusal(r2: Instance, asked: Put) -> str:
    """Return the rule by which a write of a key that was just written is refused."""
    return f"{r2.table.writes_per_s:g} write a second to one key at most (429)" if asked.new_fraction < 1 else ""


def put_usage(r2: Instance, call: Call) -> Usage:
    """Return the usage of an upload: its class A operations, the bytes stored, and those of the abandoned ones."""
    name, table, size_gb = _prefix(r2), r2.table, call.size_bytes / GB
    parts = 2.0 + call.units(table.part_bytes) if table.part_bytes else 1.0
    abandoned = table.abandoned_fraction * size_gb * table.abandoned_days / DAYS_PER_MONTH
    return Usage(
        {
            f"{name}class_a": parts * (1 + table.abandoned_fraction),
            **({f"{name}storage": abandoned} if abandoned else {}),
        },
        stored_gb={f"{name}storage": call.parameters.new_fraction * size_gb},
        replaced_gb={f"{name}storage": (1 - call.parameters.new_fraction) * size_gb},
    )


def get_usage(r2: Instance, call: Call) -> Usage:
    """Return the usage of a download: one class B operation, free egress, and retrieval from the cold class."""
    name, size_gb = _prefix(r2), call.size_bytes / GB
    retrieved = {f"{name}retrieval": size_gb} if r2.table.storage_class == "infrequent_access" else {}
    return Usage({f"{name}class_b": 1.0, "r2.egress": size_gb, **retrieved})


def keeps(r2: Instance) -> str:
    """Return the meter of what is stored in the bucket."""
    return f"{_prefix(r2)}storage"


def _prefix(r2: Instance) -> str:
    """Prefix of the meters of the bucket's storage class."""
    return "r2." if r2.table.storage_class == "standard" else "r2.infrequent_"


def upload_mb_per_s(frame: "pd.DataFrame", uses: Uses) -> "NDArray[np.float64]":
    """Return the throughput of every successful upload, in MB/s.

    An upload is a request of a route that puts into a bucket, and uses no other operation of it.
    """
    rates = []
    for name in uses.instances:
        routes = uses.routes_with("put", name)
        met = frame["route"].isin(routes) & (frame["outcome"] == "ok") & (frame[f"{name}_ms"] > 0)
        done = frame.loc[met, ["size_bytes", f"{name}_ms"]]
        rates.append((done["size_bytes"] / 1e6 / (done[f"{name}_ms"] / 1e3)).to_numpy())
    return np.concatenate(rates) if rates else np.zeros(0)


COMPONENT = Component(
    name="r2",
    label="R2",
    colour="#d9c400",  # Okabe and Ito's yellow, darkened to be seen on white.
    tier=Tier.STORE,
    table=R2,
    operations={
        "put": Operation(put, parameters=Put, usage=put_usage, refusal=put_refusal, services=("r2",), uploads=True),
        "get": Operation(get, usage=get_usage, services=("r2",), reads=True, downloads=True),
    },
    meters=(
        meter(
            "r2.class_a", "operations",
            price="class_a_standard_per_million", included="free_class_a_month",
            free="free_class_a_month", free_period="month",
        ),
        meter(
            "r2.class_b", "operations",
            price="class_b_standard_per_million", included="free_class_b_month",
            free="free_class_b_month", free_period="month",
        ),
        storage(
            "r2.storage",
            price="storage_standard_per_gb_month", included="free_storage_gb_month", free="free_storage_gb_month",
        ),
        meter("r2.infrequent_class_a", "operations", price="class_a_ia_per_million"),
        meter("r2.infrequent_class_b", "operations", price="class_b_ia_per_million"),
        meter(
            "r2.infrequent_storage", "GB-month",
            price="storage_ia_per_gb_month", per=1.0, minimum="ia_minimum_days",
        ),
        meter("r2.infrequent_retrieval", "GB", price="retrieval_ia_per_gb", per=1.0),
        meter("r2.egress", "GB", price="egress_per_gb", per=1.0),
    ),
    keeps=keeps,
    metrics=(
        Metric(
            "r2_upload_mb_per_s", "R2 upload rate", "MB/s", upload_mb_per_s,
            compared=("p50",), operations=("put",),
        ),
    ),
)  # fmt: skip
