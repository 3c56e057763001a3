"""How fast this machine runs each part, one line a part: ``make bench``.

A benchmark and no test: times of one machine are told, never asserted. Each part is timed several times after one run
that warms it up; the median counts, and the slowest shows how quiet the machine was.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from sim.play import play
from sim.runners.reference import running
from sim.scenario import Scenario, load_scenario
from sim.workload import schedule

REQUESTS = {"simpy": 5_000, "compiled": 100_000}
"""How many requests an engine simulates in one run; the schedule is drawn for the larger number."""

REPEATS = 5


def timed_s(work: Callable[[], object], *, repeats: int) -> list[float]:
    """Seconds of each of some runs, after one that is not counted."""
    work()
    spent_s = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        work()
        spent_s.append(time.perf_counter() - start_s)
    return spent_s


def start_command() -> None:
    """The command line up to its help text: what every call pays."""
    subprocess.run([sys.executable, "-m", "sim.cli", "--help"], check=True, capture_output=True)


def start_reference() -> None:
    """The reference deployment up to its ready line, and its clean stop."""
    with running():
        pass


def parts(scenario: Scenario) -> dict[str, tuple[int, Callable[[], object]]]:
    """Every part with the number of requests that one run of it handles."""
    once = schedule(scenario, seed=scenario.seed)
    longer = 1.1 * max(REQUESTS.values()) / len(once)
    long = scenario.vary("workload.duration_s", longer * once.duration_ms / 1_000)
    planned = schedule(long, seed=scenario.seed)
    engines = {
        on: (count, partial(play, scenario, planned.head(count), on=on, seed=scenario.seed))
        for on, count in REQUESTS.items()
    }
    return {
        "headroom --help": (1, start_command),
        "reference, start and stop": (1, start_reference),
        "schedule": (len(planned), partial(schedule, long)),
        **engines,
    }


def main() -> None:
    """Time every part and print the table."""
    parser = argparse.ArgumentParser(description="Time every part on this machine.")
    parser.add_argument("--scenario", default="launch")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args()
    table = Table("part", "requests", "median, s", "slowest, s", "requests/s", title=asked.scenario)
    for name, (requests, work) in parts(load_scenario(asked.scenario)).items():
        spent_s = timed_s(work, repeats=asked.repeats)
        median_s = statistics.median(spent_s)
        table.add_row(
            name,
            f"{requests:,}",
            f"{median_s:.3g}",
            f"{max(spent_s):.3g}",
            f"{requests / median_s:,.0f}" if requests > 1 else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
