"""How long the start of launch lasts: its P99 by time, from empty and with objects that were woken one after another.

``python -m tests.evidence.launch_start`` prints a table; docs/decisions/0027 quotes it. The flushes of 200 ledgers fall
together every ten seconds after an empty start, and drift apart over a quarter of an hour.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from sim.experiments.waking import timers_of
from sim.runners.play import play_whole
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario
from tests.evidence.capacity_coverage import launch

RATE_PER_S = 3_850.0
SECTION_S = 60
EDGES_S = (60, 180, 600, 1_200, 1_800)


def p99_ms(scenario: Scenario, seed: int, *, woken: bool) -> NDArray[np.float64]:
    """Return the P99 of each minute, shape (minutes,)."""
    planned = schedule(scenario, seed)
    played = timers_of(scenario).woken_in_turn(planned, seed=seed) if woken else planned
    frame = play_whole(scenario, played, on="compiled", seed=seed).frame
    latency_ms = frame["latency_ms"].to_numpy()
    ends = np.searchsorted(frame["arrival_ms"].to_numpy(), np.arange(0, planned.duration_ms + 1, SECTION_S * 1_000))
    return np.array([np.quantile(latency_ms[first:last], 0.99) for first, last in pairwise(ends)])


def main() -> int:
    """Play both starts, and print what each span's minutes have on average."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--length", type=int, default=EDGES_S[-1], help="simulated seconds")
    parser.add_argument("--start", choices=("empty", "woken", "both"), default="both")
    asked = parser.parse_args()
    length = {"workload.duration_s": asked.length, "workload.requests": None, "workload.warm_up_s": 0.0}
    with TemporaryDirectory() as name, ThreadPoolExecutor(2) as workers:
        scenario = launch(Path(name)).at_rate(RATE_PER_S).with_(**length)
        for start in ("empty", "woken") if asked.start == "both" else (asked.start,):
            of_seed = partial(p99_ms, scenario, woken=start == "woken")
            found = np.array(list(workers.map(of_seed, range(1, asked.seeds + 1))))
            for low_s, high_s in pairwise(edge for edge in EDGES_S if edge <= asked.length):
                mean_ms = found[:, low_s // SECTION_S : high_s // SECTION_S].mean(axis=1)
                error_ms = mean_ms.std(ddof=1) / np.sqrt(asked.seeds)
                sys.stdout.write(f"{start}, {low_s} to {high_s} s: P99 {mean_ms.mean():.1f} ± {error_ms:.1f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
