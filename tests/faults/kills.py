"""Kill -9 of the real server during load, again and again: ``python -m tests.faults.kills --times 200``.

Clients log events over HTTP and repeat, under the same name, whatever was not acknowledged. At a random moment the
process is killed as the system kills: no handler runs, no buffer is written. It is started again on the same folder,
and so on. In the end the files tell: every acknowledged event is there, none twice, and ledger, D1 and meter agree to
the micro-dollar.

What a dying *process* may lose depends on no fsync; what a dying *machine* may lose is shown by
``tests/reference_impl/durable_objects/test_power_cut.py``.
"""

import argparse
import http.client
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from urllib.parse import urlsplit

from reference_impl.ledger import audit_chain
from reference_impl.ledger.hardened import ENTRY_COLUMNS
from tests.support.process import started

CLIENTS = 6
ORGANIZATIONS = 5
LIFE_S = (0.02, 0.6)
"""From the ready line to the kill: in the first flush or in none, in the middle of an append or between two."""
DEPLOYMENT = {
    "api": "superinstance",
    "system": {
        "durable_objects": {"shards": 3},
        "ledger": {"flush_interval_s": 0.15, "flush_chunk_rows": 7},
    },
}
TIMEOUT_S = 5.0


@dataclass
class Book:
    """What the clients know.

    Parameters
    ----------
    acknowledged
        Event to charge (microusd), for every event that was acknowledged.
    sent
        Every event that was ever sent.
    unanswered
        Requests of which the outcome is not known.
    """

    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)
    sent: set[tuple[str, str]] = field(default_factory=set)
    unanswered: int = 0
    lock: Lock = field(default_factory=Lock)


class Client(Thread):
    """Logs one event after the other, and repeats what was not acknowledged."""

    def __init__(self, number: int, book: Book) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._book = book
        self._events = 0
        self._pending: tuple[str, str] | None = None
        self._address = ("", 0)
        self.may_ask = Event()
        self.must_end = Event()

    def point_at(self, url: str) -> None:
        """Ask the server at *url* from now on."""
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 0)
        self.may_ask.set()

    def run(self) -> None:
        """Ask until told to end; nothing is left unacknowledged then."""
        while True:
            self.may_ask.wait()
            try:
                with closing(http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)) as connection:
                    while self.may_ask.is_set():
                        if self.must_end.is_set() and self._pending is None:
                            return
                        self._log(connection)
            except (OSError, http.client.HTTPException):
                with self._book.lock:
                    self._book.unanswered += 1
                time.sleep(0.005)

    def _log(self, connection: http.client.HTTPConnection) -> None:
        if self._pending is None:
            self._events += 1
            name = f"client-{self._number}-event-{self._events}"
            self._pending = (f"org-{self._events % ORGANIZATIONS}", name)
            with self._book.lock:
                self._book.sent.add(self._pending)
        organization, name = self._pending
        fields = {
            "event_id": name,
            "organization_id": organization,
            "user_id": f"user-{self._number}",
            "model": "sonnet",
            "tokens_in": 278 + self._number,
            "tokens_out": 218,
            "event_time_ms": 1_795_000_000_000,
        }
        connection.request("POST", "/log", json.dumps(fields))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            with self._book.lock:
                self._book.acknowledged[self._pending] = json.loads(body)["charge_microusd"]
            self._pending = None


@contextmanager
def server(folder: Path, fsync: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A running reference on *folder*, with its address."""
    deployment = folder.parent / "deployment.json"
    deployment.write_text(json.dumps(DEPLOYMENT), "utf-8")
    with started("--data", str(folder), "--fsync", fsync, "--deployment", str(deployment)) as (process, ready):
        try:
            yield process, ready["http"]
        finally:
            process.kill()


def ask(url: str, method: str, path: str) -> dict[str, int]:
    """Ask once; return the JSON of the answer."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)) as connection:
        connection.request(method, path)
        answer: dict[str, int] = json.loads(connection.getresponse().read())
        return answer


def run(times: int, *, seed: int, fsync: str = "normal") -> Book:
    """Kill the server *times* times, then check the files; return what the clients knew.

    Raises
    ------
    AssertionError
        If an acknowledged event is missing, an event is there twice, or sums disagree.
    """
    rng, book = Random(seed), Book()
    clients = [Client(number, book) for number in range(CLIENTS)]
    with TemporaryDirectory(prefix="headroom-kills-") as scratch:
        folder = Path(scratch) / "data"
        for client in clients:
            client.start()
        for _ in range(times):
            with server(folder, fsync) as (process, url):
                for client in clients:
                    client.point_at(url)
                time.sleep(rng.uniform(*LIFE_S))
                process.kill()
                process.wait()
                for client in clients:
                    client.may_ask.clear()
        with server(folder, fsync) as (process, url):
            for client in clients:
                client.must_end.set()
                client.point_at(url)
            for client in clients:
                client.join()
            for number in range(ORGANIZATIONS):
                ask(url, "POST", f"/flush?organization_id=org-{number}")
            owed = [ask(url, "GET", f"/balance?organization_id=org-{n}") for n in range(ORGANIZATIONS)]
            assert [balance["balance_microusd"] for balance in owed] == [0] * ORGANIZATIONS
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        check(folder, book)
    return book


def check(folder: Path, book: Book) -> None:
    """Compare ledgers, D1 and meter with each other and with what was acknowledged."""
    stored: dict[tuple[str, str], int] = {}
    owed: dict[str, int] = {}
    for path in sorted((folder / "system" / "durable_objects").glob("*.sqlite")):
        if path.stem == "index":
            continue
        rows = query(path, f"SELECT {ENTRY_COLUMNS}, chain FROM events ORDER BY seq")
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
        assert audit_chain.first_broken((row[:-1], str(row[-1])) for row in rows) is None
        for row in rows:
            organization, event, owed_microusd = str(row[1]), str(row[2]), int(row[10])
            assert (organization, event) not in stored, f"{event} of {organization} is there twice"
            stored[organization, event] = int(row[9])
            owed[organization] = owed.get(organization, 0) + owed_microusd
    assert {event: stored.get(event) for event in book.acknowledged} == book.acknowledged
    assert set(stored) <= book.sent
    d1 = query(
        folder / "system" / "d1" / "database.sqlite", "SELECT id, organization_id, charge_microusd FROM usage_events"
    )
    assert sorted(row[0] for row in d1) == sorted(f"{organization}/{event}" for organization, event in stored)
    flushed: dict[str, int] = {}
    for _, payer, charge_microusd in d1:
        flushed[str(payer)] = flushed.get(str(payer), 0) + int(charge_microusd)
    metered = query(
        folder / "system" / "ledger" / "meter.sqlite",
        "SELECT organization_id, sum(value_microusd) FROM meter_events GROUP BY organization_id",
    )
    assert owed == flushed == {str(name): int(microusd) for name, microusd in metered}


def query(path: Path, sql: str) -> list[tuple[str | int, ...]]:
    """Return the rows of a query on a file."""
    with closing(sqlite3.connect(path)) as connection:
        rows: list[tuple[str | int, ...]] = connection.execute(sql).fetchall()
        return rows


def main() -> int:
    """Kill, check and tell."""
    parser = argparse.ArgumentParser(
        prog="tests.faults.kills", description="Kill the server during load and check its files."
    )
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fsync", choices=("full", "normal", "off"), default="normal")
    asked = parser.parse_args()
    began_s = time.monotonic()
    book = run(asked.times, seed=asked.seed, fsync=asked.fsync)
    print(
        f"{asked.times} kills, seed {asked.seed}, fsync {asked.fsync}: {len(book.acknowledged):,} events acknowledged, "
        f"{book.unanswered:,} requests cut off; none lost, none doubled; {time.monotonic() - began_s:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
