"""Objects in a bucket: an operation has a latency of its own, then the bytes take their time.

Each transfer has its own stream of fixed bandwidth; there is no queue, since the store is far larger than any of its
users.

Sources
-------
No latency of single operations is published: operation times and the bandwidth of a stream are the
scenario's assumptions (``[system.r2]``). One key takes one write a second (hazard H31); uploads of this model write
distinct keys.
"""

from sim.flow import Delay, Flow, Link, Transfer
from sim.scenario.system import R2


def put(bucket: R2) -> Flow:
    """Store the request's ``size_bytes``."""
    return (Delay(bucket.put_ms, "r2.put"), _body(bucket))


def get(bucket: R2) -> Flow:
    """Fetch ``size_bytes``."""
    return (Delay(bucket.get_ms, "r2.get"), _body(bucket))


def _body(bucket: R2) -> Transfer:
    return Transfer(Link("r2", bytes_per_s=bucket.bandwidth_bytes_per_s), "r2")
