"""R2, the object store: an operation takes a first-byte latency, then a transfer at fixed bandwidth.

Each transfer has a bandwidth of its own; there is no queue, since the store is far larger than any of its users.

Sources
-------
No latency of single operations is published: operation times and the bandwidth of a stream are the
scenario's assumptions (``[system.r2]``). One key takes one write a second (hazard H31); uploads of this model write
distinct keys.
"""

from typing import TYPE_CHECKING

import numpy as np

from sim.flow import Delay, Flow, Link, Transfer
from sim.models.billing import GB, Call, Usage, meter
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.schema import Distribution, Positive, Table

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


def put(r2: Instance, _: NoParameters) -> Flow:
    """Store the request's bytes."""
    return (Delay(r2.table.put_ms, r2.stream("put")), _body(r2))


def get(r2: Instance, _: NoParameters) -> Flow:
    """Fetch the request's bytes."""
    return (Delay(r2.table.get_ms, r2.stream("get")), _body(r2))


def _body(r2: Instance) -> Transfer:
    return Transfer(Link(r2.name, bytes_per_s=r2.table.bandwidth_bytes_per_s), r2.name)


def put_usage(r2: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of an upload: one class A operation, and the bytes stored."""
    return Usage({"r2.class_a": 1.0}, stored_gb={"r2.storage": call.size_bytes / GB})


def get_usage(r2: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a download: one class B operation; egress is free."""
    return Usage({"r2.class_b": 1.0})


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
            price="class_a_standard_per_million", included="free_class_a_month", whole=1e6,
        ),
        meter(
            "r2.class_b", "operations",
            price="class_b_standard_per_million", included="free_class_b_month", whole=1e6,
        ),
        meter(
            "r2.storage", "GB-month",
            price="storage_standard_per_gb_month", included="free_storage_gb_month", per=1.0, whole=1.0,
        ),
    ),
    metrics=(
        Metric(
            "r2_upload_mb_per_s", "R2 upload rate", "MB/s", upload_mb_per_s,
            compared=("p50",), operations=("put",),
        ),
    ),
)  # fmt: skip
