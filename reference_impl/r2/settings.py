"""The settings of an R2 bucket, read from its table in the deployment file."""

import math
from dataclasses import dataclass

from reference_impl.errors import ConfigError
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

PART_BYTES_MIN = 5_242_880
"""Smallest part of an upload in parts; only the last may be smaller."""
WRITES_PER_S_SAME_KEY = 1.0
"""Writes that one key takes."""


@dataclass(frozen=True)
class R2Settings:
    """Settings of a bucket; *bandwidth_bytes_per_s* infinite: transfers take no time; no *part_bytes*: sent at once."""

    put_ms: Tape
    get_ms: Tape
    bandwidth_bytes_per_s: float
    part_bytes: int = 0
    parallel_parts: int = 1
    part_rtt_ms: float = 0.0
    writes_per_s: float = WRITES_PER_S_SAME_KEY

    @classmethod
    def read(cls, table: Table) -> "R2Settings":
        """Read the table of a bucket."""
        for billed in ("storage_class", "abandoned_fraction", "abandoned_days"):
            table.take(billed, None)  # A matter of the bill alone.
        return cls(
            put_ms=table.tape("put_ms"),
            get_ms=table.tape("get_ms"),
            bandwidth_bytes_per_s=table.number("bandwidth_bytes_per_s", math.inf) or math.inf,
            part_bytes=_part_bytes(table),
            parallel_parts=table.whole("parallel_parts", 1, at_least=1),
            part_rtt_ms=table.number("part_rtt_ms", 0),
            writes_per_s=table.number("writes_per_s", WRITES_PER_S_SAME_KEY) or math.inf,
        )

    def upload_ms(self, size_bytes: int) -> float:
        """Return how long the bytes of an upload take: each of its parts pays a round trip, some are sent at a time."""
        at_once_ms = self.transfer_ms(size_bytes)
        if not self.part_bytes:
            return at_once_ms
        one_part_ms = self.part_rtt_ms + self.transfer_ms(self.part_bytes)
        return max(at_once_ms, size_bytes / (self.part_bytes * self.parallel_parts) * one_part_ms)

    def transfer_ms(self, size_bytes: int) -> float:
        """Return how long bytes take at the full bandwidth."""
        return size_bytes / self.bandwidth_bytes_per_s * 1_000


def _part_bytes(table: Table) -> int:
    size_bytes, least = table.whole("part_bytes", 0), table.whole("part_bytes_min", PART_BYTES_MIN)
    if 0 < size_bytes < least:
        raise ConfigError(f"{table.where('part_bytes')}={size_bytes} must be 0, or >= {least}")
    return size_bytes
