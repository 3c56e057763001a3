"""Fault schedules of the hardened ledger: a fixed budget of them, and the harness itself.

Goal: no schedule shows a violation, and a schedule that did would be played again exactly. Method: the first seeds of
``python -m tests.faults``; then a ledger with a planted defect, which must be found, told and made small. More
planted defects are in ``tests/defects/test_defects.py``.
"""

import gc
import hashlib
import os
import subprocess
import sys
import weakref

import pytest

from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.policy import Batch
from tests.faults.__main__ import play, player
from tests.faults.auditor import ViolationError
from tests.faults.plan import FAULT_KINDS, Fault, draw
from tests.faults.schedule import run
from tests.faults.shrink import failure, shrink
from tests.project.tidy import ROOT

CI_SEEDS = range(3_000)
WHOLE_SEEDS = range(400)
RETRIED_SEED = 1_117
"""A deployment resets the object between an event's commit and its answer; the Worker repeats the event by itself."""


PLANS_DIGEST = "0673ff13e126daac"
"""Digest of the first 1,000 plans: a change of the generator changes the meaning of every seed in a report."""


def digest(seeds: range) -> str:
    """Return a digest of all that happens in the schedules of *seeds*."""
    told = []
    for seed in seeds:
        played = run(draw(seed))
        told.append(repr((played.history, played.books, played.plug.steps, played.deaths)))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def settle_everything(ledger: HardenedLedger, batch: Batch) -> int:
    """Hazard H8: set the balance to zero at a flush, whatever was flushed."""
    ledger._storage.sql("UPDATE accounts SET pending_microusd = 0, pending_events = 0")
    ledger._storage.sql("UPDATE outbox SET settled_seq = sealed_seq")
    return len(batch.rows)


def test_no_schedule_shows_a_violation() -> None:
    played = play(CI_SEEDS)
    assert played.failed_seed is None
    assert played.schedules == len(CI_SEEDS)
    # The world was hostile: about every second schedule kills the process.
    assert played.deaths > len(CI_SEEDS) / 4
    assert played.faults > len(CI_SEEDS)


def test_no_schedule_of_the_whole_deployment_shows_a_violation() -> None:
    played = play(WHOLE_SEEDS, whole=True)
    assert (played.failed_seed, played.schedules) == (None, len(WHOLE_SEEDS))


def test_the_worker_s_own_repetition_is_a_duplicate_to_who_sent_once_and_counts_once() -> None:
    whole = player(whole=True)(draw(RETRIED_SEED))
    told = [delivery for delivery in whole.history if delivery.answer and delivery.answer.get("duplicate")]
    for delivery in told:
        sent = [other for other in whole.history if other.op.event == delivery.op.event]
        assert len([other for other in sent if other.op.organization == delivery.op.organization]) == 1
    assert len(told) == 1


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault.kind for seed in range(500) for fault in draw(seed).faults}
    assert drawn == set(FAULT_KINDS)


def test_a_schedule_plays_the_same_way_every_time() -> None:
    for seed in range(50):
        first, second = run(draw(seed)), run(draw(seed))
        assert first.history == second.history
        assert (first.books, first.plug.steps, first.deaths) == (second.books, second.plug.steps, second.deaths)


def test_a_schedule_plays_the_same_way_in_every_process() -> None:
    # Hashes of texts differ from process to process, and so would whatever followed the order of a set.
    tell = "from tests.faults.test_schedules import digest; print(digest(range(150)))"
    digests = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", tell]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_the_plan_of_a_seed_is_what_it_was() -> None:
    plans = "\n".join(repr(draw(seed)) for seed in range(1_000))
    assert hashlib.sha256(plans.encode()).hexdigest()[:16] == PLANS_DIGEST


def test_what_was_played_leaves_nothing_to_the_collector() -> None:
    play(range(50))
    gc.collect()
    gc.disable()
    try:
        schedules = [weakref.ref(run(draw(seed))) for seed in range(50)]
    finally:
        gc.enable()
    # Exceptions that were kept hold a few: a deployment's refusal and its traceback.
    assert sum(schedule() is not None for schedule in schedules) < 15


def test_a_schedule_of_the_whole_deployment_plays_the_same_way_every_time() -> None:
    run_whole = player(whole=True)
    failing = [seed for seed in range(600) if any(fault.kind == "disk_error" for fault in draw(seed).faults)]
    assert len(failing) > 20
    # One after the other and then all again: whatever lasts longer than a schedule would show.
    first = [run_whole(draw(seed)).history for seed in failing]
    assert [run_whole(draw(seed)).history for seed in failing] == first


def test_different_seeds_play_different_schedules() -> None:
    assert len({str(draw(seed)).split("\n", 1)[1] for seed in range(200)}) == 200


def test_a_violation_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HardenedLedger, "settle", settle_everything)
    seed = play(range(2_000)).failed_seed
    assert seed is not None
    with pytest.raises(ViolationError, match="owes"):
        run(draw(seed))
    small = shrink(draw(seed))
    assert failure(small) is not None
    # Two events, so that one is added while the other is flushed; no fault is needed for that.
    assert len(small.ops) <= 3
    assert len(small.faults) <= 1


def test_a_power_cut_at_every_single_step_of_one_schedule() -> None:
    plan = next(plan for plan in map(draw, range(1_000)) if len(plan.ops) == 5 and not plan.terms)
    steps = run(type(plan)(plan.seed, plan.ops, ())).plug.steps
    assert steps > 50
    for step in range(1, steps + 1):
        for amount in range(3):
            run(type(plan)(plan.seed, plan.ops, (Fault("power_cut", step, amount),)))


def test_the_command_tells_seeds_commit_and_speed() -> None:
    command = [sys.executable, "-m", "tests.faults", "--seeds", "5:25"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("seeds 5:25, commit ")
    assert "20 schedules, no violation" in done.stdout


def test_the_command_plays_one_seed_and_shows_its_plan() -> None:
    command = [sys.executable, "-m", "tests.faults", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("seed 7, ")
    assert "fault" in done.stdout
