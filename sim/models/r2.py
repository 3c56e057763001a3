"""R2, the object store: an operation takes a first-byte latency, then a transfer at fixed bandwidth.

Transfers do not share bandwidth and never queue, since the store is far larger than the load of any one user.

Sources
-------
No latency of single operations is published: operation times and the bandwidth of a stream are the
scenario's assumptions (``[system.r2]``). One key takes one write a second (hazard H31); uploads of this model write
distinct keys.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.flow import Delay, Flow, Link, Transfer
from sim.foundation.schema import Positive, Table
from sim.models.billing import GB, Call, Usage, meter, storage
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.randomness.distributions import Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


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


def put(r2: Instance, _: NoParameters) -> Flow:
    """Store the request's bytes."""
    return (Delay(r2.table.put_ms, r2.stream("put")), _body(r2))


def get(r2: Instance, _: NoParameters) -> Flow:
    """Fetch the request's bytes."""
    return (Delay(r2.table.get_ms, r2.stream("get")), _body(r2))


def _body(r2: Instance) -> Transfer:
    return Transfer(Link(r2.name, bytes_per_s=r2.table.bandwidth_bytes_per_s), r2.name)


def put_usage(r2: Instance, call: Call) -> Usage:
    """Return the usage of an upload: one class A operation, and the bytes stored."""
    name = _prefix(r2)
    return Usage({f"{name}class_a": 1.0}, stored_gb={f"{name}storage": call.size_bytes / GB})


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
        "put": Operation(put, usage=put_usage, services=("r2",), uploads=True),
        "get": Operation(get, usage=get_usage, services=("r2",), reads=True, downloads=True),
    },
    meters=(
        meter(
            "r2.class_a", "operations",
            price="class_a_standard_per_million", included="free_class_a_month",
            free="free_class_a_month", free_period="month", whole=1e6,
        ),
        meter(
            "r2.class_b", "operations",
            price="class_b_standard_per_million", included="free_class_b_month",
            free="free_class_b_month", free_period="month", whole=1e6,
        ),
        storage(
            "r2.storage",
            price="storage_standard_per_gb_month", included="free_storage_gb_month", free="free_storage_gb_month",
            whole=1.0,
        ),
        meter("r2.infrequent_class_a", "operations", price="class_a_ia_per_million", whole=1e6),
        meter("r2.infrequent_class_b", "operations", price="class_b_ia_per_million", whole=1e6),
        meter("r2.infrequent_storage", "GB-month", price="storage_ia_per_gb_month", per=1.0, whole=1.0),
        meter("r2.infrequent_retrieval", "GB", price="retrieval_ia_per_gb", per=1.0, whole=1.0),
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
