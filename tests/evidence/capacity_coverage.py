"""Coverage of a capacity's interval: how often it holds the long-run answer, for any warm-up that a scenario names.

Groups of five seeds are searched as ``headroom capacity`` searches them, over and over with other seeds. The share of
sets of five whose interval holds the long-run answer is compared with the 95 % that it promises. Sets are drawn from
the pseudo-values of all seeds that were searched, since a search takes minutes and a draw nothing. The truth is a
closed form, or a search with runs many times as long, that owes nothing to what is tested: they start empty, no object
is woken at a moment of its own, no pilot chooses a cut, and they are cut late. A start that fades as 1 / t is not quite
over even then: 0.1 to 0.2 % of the answer of ``launch``, by the slow shares of 12 runs from empty.

``python -m tests.evidence.capacity_coverage`` writes docs/CAPACITY_COVERAGE.md. Each group that was searched is
recorded, so that a count that was stopped goes on where it was.

Sources
-------
Schruben, "A coverage function for interval estimators of simulation response", Oper. Res. 28, 1980.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from sim.experiments import search as search_module
from sim.experiments.capacity import over_seeds
from sim.experiments.long_runs import Stretch
from sim.experiments.search import Search
from sim.experiments.seeds import LENGTH_S, LONG_REQUESTS_MIN, Hunt, Shared
from sim.experiments.waking import Timers
from sim.scenario.scenario import Scenario
from sim.statistics.intervals import proportion_interval
from tests.support.one_queue import MU_PER_S, as_one_queue, judged_by

SEEDS = 5
SETS = 400
PROMISE = (0.925, 0.975)
TOLERANCE_RATIO = 0.03
TARGET_MS = 200.0
SLOW_NEAR = 77.0
WARM_UPS_S = (60.0, 180.0, 600.0)
TITLES = ("M/M/1", "slow launch", "launch")
TIMES = 8
LONG_WARM_UP_S = 2_400.0
LONG_GROUPS = 6
LONG_FIRST = 1_000_003
PAGE = Path("docs/CAPACITY_COVERAGE.md")
RECORD = Path("reports/baselines/capacity_coverage.jsonl")
Tell = Callable[[str], None]


def one_queue(folder: Path) -> Scenario:
    """Return one M/M/1 queue, whose P99 is ln 100 / (mu - lambda)."""
    return as_one_queue(_judged_by_p99(folder, TARGET_MS))


def slow_launch(folder: Path) -> Scenario:
    """Return launch with 20 organisations and slower services: its flush storm, from a thirtieth of the requests."""
    slow = {"distribution": "exponential", "mean": 15.0}
    return _judged_by_p99(folder, 1_000.0).with_(
        **{
            "workload.keys.count": 20,
            "workload.arrivals": {"kind": "poisson", "rate_per_s": 20.0},
            "system.ledger.write_ms": slow,
            "system.durable_objects.write_ms": slow,
            "system.d1.read_ms": {"distribution": "lognormal", "median": 12.0, "p99": 40.0},
            "system.d1.write_ms": {"distribution": "lognormal", "median": 150.0, "p99": 400.0},
        }
    )


def launch(folder: Path) -> Scenario:
    """Return launch itself, judged by its P99."""
    return _judged_by_p99(folder, 200.0)


def _judged_by_p99(folder: Path, target_ms: float) -> Scenario:
    return judged_by(folder, ("api_latency_ms", target_ms))


def _in(folder: Path, name: str) -> Path:
    """Make a folder for one scenario's targets."""
    made = folder / name
    made.mkdir()
    return made


@dataclass(frozen=True)
class Row:
    """What one scenario with one warm-up showed."""

    name: str
    warm_up_s: float
    truth: float
    truth_error_ratio: float
    rates: NDArray[np.float64]
    cut_s: NDArray[np.float64]

    def coverage(self, sets: int, seed: int) -> tuple[int, int]:
        """Count the sets of five seeds whose interval holds the truth, and the sets."""
        rng = np.random.default_rng(seed)
        drawn = (rng.choice(self.rates, SEEDS, replace=False).tolist() for _ in range(sets))
        return sum(over_seeds(rates).holds(self.truth) for rates in drawn), sets

    def line(self, sets: int, seed: int) -> str:
        """Write the row of the table."""
        held, sets = self.coverage(sets, seed)
        share = proportion_interval(held, sets)
        groups = [over_seeds(group.tolist()) for group in self.rates.reshape(-1, SEEDS)]
        own = sum(group.holds(self.truth) for group in groups)
        half = np.mean([group.relative_half_width for group in groups])
        bias = float(np.exp(np.log(self.rates).mean()) / self.truth - 1)
        return (
            f"| {self.name} | {self.warm_up_s:g} | {self.cut_s.mean():.0f} | {self._long_run} | {self.rates.size} | "
            f"**{100 * share.value:.1f}** ({100 * share.low:.1f} to {100 * share.high:.1f}) | {own} of {len(groups)} | "
            f"± {100 * half:.1f} % | {100 * bias:+.2f} % |"
        )

    @property
    def _long_run(self) -> str:
        error = f" ± {100 * self.truth_error_ratio:.2f} %" if self.truth_error_ratio else ""
        return f"{self.truth:,.1f}{error}"


@dataclass
class Record:
    """The groups that were searched, a line each: what was asked, the pseudo-values and the cut."""

    path: Path
    tell: Tell

    def searched(
        self, title: str, scenario: Scenario, near: float, *, first: int, groups: int, workers: Executor, long: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Search the groups of five seeds that are not there; return all rates, shape (groups * 5,), and the cuts."""
        asked = {"scenario": title, "warm_up_s": scenario.workload.warm_up_s, "long": long}
        there = self._there(asked)
        seeds = [first + SEEDS * group for group in range(groups)]
        missing = [seed for seed in seeds if seed not in there]
        tasks = partial(_group, scenario, near, long=long)
        for seed, (found, cut_s) in zip(missing, workers.map(tasks, missing), strict=True):
            there[seed] = (list(found), cut_s)
            line = json.dumps({**asked, "seed": seed, "rates": list(found), "cut_s": cut_s})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            self.tell(f"{title}: {len(there)} groups: {over_seeds(found)}, cut {cut_s:g} s")
        rates = [rate for seed in seeds for rate in there[seed][0]]
        return np.array(rates), np.array([there[seed][1] for seed in seeds])

    def _there(self, asked: dict[str, Any]) -> dict[int, tuple[list[float], float]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        rows = [json.loads(line) for line in lines]
        return {row["seed"]: (row["rates"], row["cut_s"]) for row in rows if asked.items() <= row.items()}


def _group(scenario: Scenario, near: float, seed: int, *, long: bool) -> tuple[tuple[float, ...], float]:
    """Search one group from *seed* on; return the rates, and the cut."""
    with _long_from_empty() if long else nullcontext(), ThreadPoolExecutor(1) as workers:
        search = Search(scenario, seed, engine="compiled")
        shared, found = Hunt(search, near, seeds=SEEDS, tolerance_ratio=TOLERANCE_RATIO, workers=workers).steady()
    return found, shared.stretch.cut_s


@contextmanager
def _long_from_empty() -> Iterator[None]:
    """Make runs many times as long, cut what is named and nothing else, and wake no object at a moment of its own."""
    most = {"compiled": TIMES * search_module.REQUESTS_MAX["compiled"]}
    with (
        patch.object(Hunt, "_settled", _as_named),
        patch.dict(search_module.REQUESTS_MAX, most),
        patch.object(search_module, "timers_of", lambda _: Timers({}, {})),
    ):
        yield


def _as_named(hunt: Hunt) -> Shared:
    cut_s = hunt.search.scenario.workload.warm_up_s
    judged_s = max(TIMES * LENGTH_S - cut_s, TIMES * LONG_REQUESTS_MIN / hunt.near)
    return Shared(Stretch(cut_s, judged_s), settled=True, start_per_s=hunt.near)


def long_run(record: Record, title: str, scenario: Scenario, near: float, workers: Executor) -> tuple[float, float]:
    """Return the answer of long runs from empty, after a long warm-up, over many seeds; and its relative error."""
    named = {"workload.warm_up_s": LONG_WARM_UP_S, "workload.duration_s": 2 * LONG_WARM_UP_S}
    rates, _ = record.searched(
        title, scenario.with_(**named), near, first=LONG_FIRST, groups=LONG_GROUPS, workers=workers, long=True
    )
    logs = np.log(rates)
    return float(np.exp(logs.mean())), float(logs.std(ddof=1) / np.sqrt(logs.size))


def main() -> int:
    """Count, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--groups", type=int, default=80, help="groups of five seeds, of the small scenarios; 0: none")
    parser.add_argument("--launch-groups", type=int, default=20, help="the same of launch")
    parser.add_argument("--warm-ups-s", type=float, nargs="+", default=WARM_UPS_S, help="rows that are counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--record", type=Path, default=RECORD, help="remove it to count everything anew")
    asked = parser.parse_args()
    kept = True

    def tell(what: str) -> None:
        sys.stderr.write(f"{what}\n")

    record = Record(asked.record, tell)
    with TemporaryDirectory() as name, ProcessPoolExecutor(os.cpu_count()) as workers:
        folder = Path(name)
        plans: list[tuple[str, Scenario, float, float | None, int]] = [
            ("M/M/1", one_queue(_in(folder, "queue")), 170.0, MU_PER_S - log(100) / 0.2, asked.groups),
            ("slow launch", slow_launch(_in(folder, "slow")), SLOW_NEAR, None, asked.groups),
            ("launch", launch(_in(folder, "launch")), 3_850.0, None, asked.launch_groups),
        ]
        for title, scenario, near, closed_form, groups in (plan for plan in plans if plan[4]):
            truth, error_ratio = (closed_form, 0.0) if closed_form else (0.0, 0.0)
            if not truth:
                truth, error_ratio = long_run(record, title, scenario, near, workers)
                tell(f"{title}: long run {truth:,.1f} ± {100 * error_ratio:.2f} %")
            for warm_up_s in asked.warm_ups_s if not closed_form else asked.warm_ups_s[:1]:
                asked_for = scenario.with_(**{"workload.warm_up_s": warm_up_s, "workload.duration_s": 1_200})
                rates, cuts = record.searched(
                    title, asked_for, near, first=asked.seed + 1, groups=groups, workers=workers, long=False
                )
                row = Row(title, warm_up_s, truth, error_ratio, rates, cuts)
                tell(row.line(SETS, asked.seed))
                held, sets = row.coverage(SETS, asked.seed)
                kept = kept and PROMISE[0] <= held / sets <= PROMISE[1]
                before = asked.out.read_text(encoding="utf-8") if asked.out.exists() else ""
                lines = [*_others(before, row), row.line(SETS, asked.seed)]
                asked.out.write_text(page(sorted(lines, key=_place), seed=asked.seed), encoding="utf-8")
    return 0 if kept else 1


def _others(before: str, row: Row) -> list[str]:
    """Return the rows of a page that are not of the same scenario and warm-up as *row*."""
    rows = [line for line in before.splitlines() if line.startswith("| ") and "**" in line]
    return [line for line in rows if _place(line) != (TITLES.index(row.name), row.warm_up_s)]


def _place(line: str) -> tuple[int, float]:
    """Return where a row stands in the table."""
    title, warm_up_s = line.split(" | ")[:2]
    return TITLES.index(title.removeprefix("| ")), float(warm_up_s)


def page(lines: list[str], *, seed: int) -> str:
    """Return the page."""
    command = f"python -m tests.evidence.capacity_coverage --groups N --launch-groups M --seed {seed}"
    return f"""# Coverage of a capacity's interval

Written by `{command}`
from groups that it records in [capacity_coverage.jsonl](../{RECORD}): it searches those that are missing there.
`--warm-ups-s` counts the rows of some named warm-ups only, so that rows may rest on different numbers of seeds.
Not edited by hand.

Groups of five seeds are searched as `headroom capacity` does. Of {SETS} sets of five seeds, drawn from all that were
searched, those are counted whose 95 % interval holds the long-run answer: promised are
{100 * PROMISE[0]:g} to {100 * PROMISE[1]:g} %. The long-run answer of M/M/1 is the closed form, that of the others a
search with runs {TIMES} times as long, with its standard error; they start empty, and
{LONG_WARM_UP_S:,.0f} s of each are cut; of launch's start, which fades as 1 / t, 0.1 to 0.2 % may be left.
In the searches that are tested each object is woken at a moment of its own
([waking.py](../sim/experiments/waking.py)). *Slow launch* is launch with twenty organisations and slower
services: the same flush storm after an empty start, in a thirtieth of the requests. *Cut* is the start that
the searches found, in s, with the warm-up that the scenario names as its floor.

| scenario | named warm-up | cut | long run, /s | seeds | coverage % (its 95 % interval) | groups | half width | bias |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    sys.exit(main())
