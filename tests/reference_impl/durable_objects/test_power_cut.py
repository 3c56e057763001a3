"""Power cuts below SQLite: what the ledger was told to be durable is there, and what is there is whole.

Goal: with the deployment's pragmas, ``fsync = full`` loses nothing that was confirmed, whichever sectors survive, and
``normal`` loses at most a tail: the ground that :mod:`tests.faults.disk` builds on. Method: the hardened ledger on a
disk that tears (:mod:`tests.support.torn_disk`), power cut at any write or sync, a small log so that checkpoints are
cut too.
"""

import asyncio
import contextlib
from random import Random

import apsw
import pytest

from reference_impl.durable_objects.storage import Storage
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.server.disks import pragmas
from tests.support.torn_disk import PowerCutError, TornDatabase, TornDisk
from tests.support.world import EVENT_TIME_MS, usage_event

CHECKPOINT_PAGES = 6
CHARGE_MICROUSD = 9_270
SEEDS = range(120)


class Scene:
    """One ledger on one torn disk."""

    def __init__(self, seed: int, *, syncs_log: bool) -> None:
        self.rng = Random(seed)
        self.disk = TornDisk(self.rng)
        self.syncs_log = syncs_log
        self.sent = 0
        self.confirmed = 0
        self.losses = 0
        self.open()

    def open(self) -> None:
        """Start on what the disk has."""
        # The deployment runs ``full`` as ``normal`` with a log that it syncs itself.
        settings = [*pragmas(is_new=False, fsync="normal"), f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"]
        self.database = TornDatabase(self.disk, settings, syncs_log=self.syncs_log)
        self.storage = Storage(self.database, coalesces=True)
        self.ledger = HardenedLedger(self.storage)
        self.storage.end_turn()

    def confirm(self) -> None:
        """Wait until what was committed is durable."""
        asyncio.run(self.storage.confirm())
        self.confirmed = self.ledger.last_seq()

    def play(self) -> None:
        """Append, flush and confirm until the power fails."""
        self.disk.operations_left = self.rng.randrange(120)
        try:
            while True:
                self.ledger.append(usage_event(f"e{self.sent}", tokens=500), EVENT_TIME_MS)
                self.sent += 1
                self.storage.end_turn()
                if self.rng.random() < 0.3:
                    self.flush()
                if self.rng.random() < 0.5:
                    self.confirm()
        except (PowerCutError, apsw.Error):
            # The process that had the file open is gone and writes nothing more.
            self.disk.operations_left = 0
            with contextlib.suppress(PowerCutError, apsw.Error):
                self.database.close()
            self.disk.lose_power()

    def flush(self) -> None:
        """Flush some events to nowhere."""
        batch = self.ledger.seal(self.ledger.last_seq(), 1 + self.rng.randrange(4))
        if batch is not None:
            self.storage.end_turn()
            self.ledger.settle(batch)
            self.storage.end_turn()

    def check(self) -> None:
        """Start again; what is there must be whole, and must be the first of what was sent."""
        self.open()
        assert self.database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        held = self.ledger.last_seq()
        assert held <= self.sent + 1
        settled_seq = self.ledger._outbox()[0]
        balance = self.ledger.balance("org-1")
        assert balance.events_pending == held - settled_seq
        assert balance.balance_microusd == CHARGE_MICROUSD * (held - settled_seq)
        assert self.ledger.first_broken_seq() is None
        names = self.database.execute("SELECT event_id FROM events ORDER BY seq").fetchall()
        assert names == [(f"e{n}",) for n in range(held)]
        self.losses += held < self.confirmed
        # What was found is what the next life goes on from.
        self.sent = self.confirmed = held


def losses(seed: int, *, syncs_log: bool) -> int:
    """Lose power five times; return how often something confirmed was lost."""
    scene = Scene(seed, syncs_log=syncs_log)
    for _ in range(5):
        scene.play()
        scene.check()
        scene.confirm()
    return scene.losses


def test_full_loses_nothing_that_was_confirmed() -> None:
    assert sum(losses(seed, syncs_log=True) for seed in SEEDS) == 0


def test_normal_stays_whole_and_may_lose_a_tail() -> None:
    # The same cuts without the sync: the ledger is as whole, but promises of durability would be broken.
    assert sum(losses(seed, syncs_log=False) for seed in SEEDS) > len(SEEDS) / 10


@pytest.mark.parametrize("seed", range(20))
def test_the_disk_itself_keeps_what_was_synced_and_may_lose_the_rest(seed: int) -> None:
    disk = TornDisk(Random(seed))
    file = disk.xOpen("x", [0, 0])._file
    file.write(0, b"a" * 2_000)
    file.sync()
    file.write(500, b"b" * 1_000)
    disk.lose_power()
    assert len(file.durable) == 2_000
    assert file.durable[:500] + file.durable[1_500:] == b"a" * 1_000
    assert set(file.durable[500:1_500]) <= set(b"ab")
