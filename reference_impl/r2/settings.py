"""The settings of an R2 bucket, read from its table in the deployment file."""

import math
from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class R2Settings:
    """Settings of a bucket; *bandwidth_bytes_per_s* infinite: transfers take no time."""

    put_ms: Tape
    get_ms: Tape
    bandwidth_bytes_per_s: float

    @classmethod
    def read(cls, table: Table) -> "R2Settings":
        """Read the table of a bucket."""
        return cls(
            put_ms=table.tape("put_ms"),
            get_ms=table.tape("get_ms"),
            bandwidth_bytes_per_s=table.number("bandwidth_bytes_per_s", math.inf) or math.inf,
        )
