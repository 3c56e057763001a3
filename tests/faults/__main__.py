"""``python -m tests.faults --seeds 0:10000``: play schedules, and make the first failure small.

The exit status is 0 if none fails and 1 if one does; the failure, its smallest form and the command that plays it again
are printed then.
"""

import argparse
import gc
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

from tests.faults import schedule
from tests.faults.plan import Plan, draw
from tests.faults.schedule import Schedule
from tests.faults.shrink import FAILURES, failure, shrink
from tests.project.tidy import ROOT

CHUNK_SEEDS = 2_000
"""Seeds that one process plays before it reports."""


@dataclass(frozen=True)
class Played:
    """What some schedules came to; *failed_seed* is the first that failed, and None if none did."""

    schedules: int
    ops: int
    faults: int
    steps: int
    deaths: int
    cpu_s: float
    failed_seed: int | None = None


def play(seeds: range, *, whole: bool = False) -> Played:
    """Play the schedules of *seeds* up to the first failure, of the *whole* deployment or of the ledger."""
    run = player(whole=whole)
    began_s = time.process_time()
    ops = faults = steps = deaths = 0
    # Nothing here makes cycles that matter; the collector would only look at them again and again.
    gc.disable()
    try:
        for seed in seeds:
            plan = draw(seed)
            try:
                played = run(plan)
            except FAILURES:
                took_s = time.process_time() - began_s
                return Played(seed - seeds.start + 1, ops, faults, steps, deaths, took_s, failed_seed=seed)
            ops += len(plan.ops)
            faults += len(plan.faults)
            steps += played.plug.steps
            deaths += played.deaths
    finally:
        gc.enable()
        gc.collect()
    return Played(len(seeds), ops, faults, steps, deaths, time.process_time() - began_s)


def player(*, whole: bool) -> Callable[[Plan], Schedule]:
    """Return what plays one plan."""
    if not whole:
        return schedule.run
    # A third of a second to load, and seldom wanted.
    from tests.faults.whole import run

    return run


def play_all(seeds: range, *, processes: int, budget_s: float, whole: bool) -> Iterator[Played]:
    """Play the schedules of *seeds* chunk by chunk; begin no chunk once *budget_s* have passed."""
    ends_s = time.monotonic() + budget_s
    chunks = (seeds[start : start + CHUNK_SEEDS] for start in range(0, len(seeds), CHUNK_SEEDS))
    if processes == 1:
        for chunk in chunks:
            yield play(chunk, whole=whole)
            if time.monotonic() > ends_s:
                return
        return
    with ProcessPoolExecutor(processes) as pool:
        running = deque(pool.submit(play, chunk, whole=whole) for chunk in islice(chunks, 2 * processes))
        while running:
            yield running.popleft().result()
            if time.monotonic() < ends_s:
                running.extend(pool.submit(play, chunk, whole=whole) for chunk in islice(chunks, 1))


def tell_failure(seed: int, *, whole: bool) -> None:
    """Print how the schedule of *seed* fails, how to play it again, and its smallest form."""
    plan, run = draw(seed), player(whole=whole)
    print(f"seed {seed} fails: {failure(plan, run)}\n{plan}")
    print(f"again, at commit {commit()}: python -m tests.faults --seed {seed}{' --whole' if whole else ''}")
    small = shrink(plan, fails=lambda smaller: failure(smaller, run) is not None)
    print(f"smallest form: {failure(small, run)}\n{small}")


def commit() -> str:
    """Return the commit of the working tree, marked if files were changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip() or "unknown"


def main() -> int:
    """Play; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.faults", description="Play fault schedules of the ledger.")
    parser.add_argument("--seeds", default="0:10000", help="FROM:TO, the second not played")
    parser.add_argument("--seed", type=int, help="only this one, with its plan")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which nothing is begun")
    parser.add_argument("--whole", action="store_true", help="the whole deployment, not the ledger alone")
    asked = parser.parse_args()
    if asked.seed is not None:
        if failure(draw(asked.seed), player(whole=asked.whole)) is not None:
            tell_failure(asked.seed, whole=asked.whole)
            return 1
        print(f"{draw(asked.seed)}\nno violation")
        return 0
    first, last = map(int, asked.seeds.split(":"))
    began_s = time.monotonic()
    totals = [0, 0, 0, 0, 0]
    cpu_s = 0.0
    options = {"processes": asked.processes, "budget_s": asked.budget, "whole": asked.whole}
    for played in play_all(range(first, last), **options):
        counts = (played.schedules, played.ops, played.faults, played.steps, played.deaths)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        cpu_s += played.cpu_s
        if played.failed_seed is not None:
            tell_failure(played.failed_seed, whole=asked.whole)
            return 1
    schedules, ops, faults, steps, deaths = totals
    print(
        f"seeds {first}:{first + schedules}, commit {commit()}: {schedules:,} schedules, no violation; "
        f"{ops:,} operations, {faults:,} faults, {steps:,} steps, {deaths:,} deaths; "
        f"{time.monotonic() - began_s:.0f} s, {cpu_s:.0f} s of CPU, {schedules / cpu_s:,.0f} schedules a CPU second"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
