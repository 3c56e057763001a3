"""How fast the ledger takes events over HTTP, beside SQLite alone: ``python -m tests.faults.bench_ledger``.

The reference and a plain loop of inserts write the same events to the same disk with the same durability, one
transaction an event, in turns; what counts is their ratio on this machine. The loop has no HTTP, no JSON, no checks,
no charge, no idempotency and no audit chain, so it is the ceiling of any ledger that commits alone; a ledger that
lets many events share one fsync may pass it where fsync is slow (``full``).
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from reference_impl.server.disks import Fsync, pragmas
from tests.support.process import started

FSYNCS: tuple[Fsync, ...] = ("full", "normal", "off")
EVENT_TIME_MS = 1_795_000_000_000
COLUMNS = (
    "seq INTEGER PRIMARY KEY, organization_id TEXT, event_id TEXT, user_id TEXT, model TEXT, tokens_in INTEGER, "
    "tokens_out INTEGER, event_time_ms INTEGER, charge_microusd INTEGER, UNIQUE (organization_id, event_id)"
)


@dataclass(frozen=True)
class Run:
    """One run.

    Parameters
    ----------
    events_per_s
        Throughput.
    latency_ms_p50, latency_ms_p99
        From sending to the answer, or of one insert.
    """

    events_per_s: float
    latency_ms_p50: float
    latency_ms_p99: float


def measured(took_s: float, latencies_ms: list[float]) -> Run:
    """Return what a run came to."""
    p50, p99 = np.quantile(latencies_ms, [0.5, 0.99])
    return Run(len(latencies_ms) / took_s, float(p50), float(p99))


def sqlite_alone(folder: Path, fsync: Fsync, *, events: int) -> Run:
    """Insert rows, one transaction each."""
    with closing(sqlite3.connect(folder / "plain.sqlite", isolation_level=None)) as connection:
        for pragma in pragmas(is_new=False, fsync=fsync):
            connection.execute(pragma)
        connection.execute(f"CREATE TABLE IF NOT EXISTS events ({COLUMNS})")
        connection.execute("DELETE FROM events")
        latencies_ms = []
        began_s = time.perf_counter()
        for n in range(events):
            start_s = time.perf_counter()
            values = ("org-1", f"event-{n}", "user-1", "sonnet", 278, 218, EVENT_TIME_MS, 4_227)
            connection.execute("INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            latencies_ms.append(1_000 * (time.perf_counter() - start_s))
        return measured(time.perf_counter() - began_s, latencies_ms)


def over_http(address: str, label: str, *, events: int, connections: int) -> Run:
    """Log events over some connections, each with one request at a time."""

    async def log_all() -> Run:
        latencies_ms: list[float] = []
        numbers = iter(range(events))
        began_s = time.perf_counter()
        await asyncio.gather(*(client(address, label, numbers, latencies_ms) for _ in range(connections)))
        return measured(time.perf_counter() - began_s, latencies_ms)

    return asyncio.run(log_all())


async def client(address: str, label: str, numbers: Iterator[int], latencies_ms: list[float]) -> None:
    """Log one event after the other on one connection."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for n in numbers:
        fields = {
            "event_id": f"{label}-{n}",
            "organization_id": "org-1",
            "user_id": "user-1",
            "model": "sonnet",
            "tokens_in": 278,
            "tokens_out": 218,
            "event_time_ms": EVENT_TIME_MS,
        }
        body = json.dumps(fields).encode()
        start_s = time.perf_counter()
        writer.write(b"POST /log HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies_ms.append(1_000 * (time.perf_counter() - start_s))
    writer.close()


def compare(fsync: Fsync, *, events: int, connections: int, repeats: int) -> tuple[list[Run], list[Run]]:
    """Measure both in turns on one disk."""
    with TemporaryDirectory(prefix="headroom-bench-") as scratch:
        folder = Path(scratch)
        with started("--data", str(folder / "data"), "--fsync", fsync) as (_, ready):
            over_http(ready["http"], "warm", events=events // 4, connections=connections)
            plain, http = [], []
            for repeat in range(repeats):
                plain.append(sqlite_alone(folder, fsync, events=events))
                http.append(over_http(ready["http"], f"run-{repeat}", events=events, connections=connections))
            return plain, http


def main() -> None:
    """Measure every fsync policy and print the table."""
    parser = argparse.ArgumentParser(prog="tests.faults.bench_ledger", description="Time appends beside SQLite alone.")
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    title = f"{asked.events:,} appends over {asked.connections} connections, medians of {asked.repeats} runs"
    table = Table("fsync", "what", "events/s", "spread", "P50, ms", "P99, ms", "HTTP : SQLite", title=title)
    for fsync in FSYNCS:
        plain, http = compare(fsync, events=asked.events, connections=asked.connections, repeats=asked.repeats)
        ratios = [ours.events_per_s / theirs.events_per_s for ours, theirs in zip(http, plain, strict=True)]
        for what, runs in (("SQLite alone", plain), ("ledger over HTTP", http)):
            rates = [run.events_per_s for run in runs]
            table.add_row(
                fsync,
                what,
                f"{statistics.median(rates):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}",
                f"{statistics.median(run.latency_ms_p50 for run in runs):.2f}",
                f"{statistics.median(run.latency_ms_p99 for run in runs):.2f}",
                f"{statistics.median(ratios):.3f}" if what != "SQLite alone" else "",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
