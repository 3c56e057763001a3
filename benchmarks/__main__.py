"""``python -m benchmarks``: measure everything, print the page, and write it to ``docs/SPEED.md``."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import jobs, processes, timing
from benchmarks.page import Section, page
from benchmarks.timing import Contender, short, spread
from sim.runners.reference import running
from sim.scenario.generation import schedule
from sim.scenario.scenario import load_scenario

ROUNDS = 5
TEN_MILLION = 10_000_000

NAMES = {
    "plain": "SimPy by hand",
    "plain_launch": "SimPy by hand",
    "ciw": "Ciw",
    "dssim": "DSSim",
    "salabim": "salabim",
    "cimba": "cimba",
    "simpy": "our SimPy engine",
    "compiled": "our compiled engine",
}
SIZES = {
    "mm4": dict.fromkeys(("plain", "ciw", "dssim", "cimba", "simpy", "compiled"), 200_000) | {"salabim": 10_000},
    "tandem": dict.fromkeys(("plain", "ciw", "dssim", "cimba", "simpy", "compiled"), 50_000) | {"salabim": 10_000},
    "launch": {"plain_launch": 35_000, "simpy": 35_000, "compiled": 1_000_000},
}
"""Requests that each plays in a round; the slow ones play the beginning."""

KEPT = (60_000, 1_200_000)
"""Requests whose memory is measured: of others, and of the compiled engine."""

REPEATS = {("mm4", "compiled"): 20, ("tandem", "compiled"): 20, ("mm4", "cimba"): 5, ("tandem", "cimba"): 10}
"""Of the fast ones in a round: else a queue would be over before the clock has moved."""

AT_ONCE = {"mm4": (200_000, 16), "tandem": (50_000, 20), "launch": (200_000, 2)}
"""Requests, and how often they are played on one thread, on two, and in two processes: a fifth of a second each."""


def made() -> dict[str, jobs.Job]:
    """The jobs, by their short names."""
    return {name: make() for name, make in jobs.MAKERS.items()}


def speeds(rounds: int, todo: dict[str, jobs.Job]) -> Section:
    """Every contender on every job."""
    players, rows = processes.players(), []
    for job_name, job in todo.items():
        sizes = SIZES[job_name]
        contenders = [
            Contender(name, players[name], size, REPEATS.get((job_name, name), 1)) for name, size in sizes.items()
        ]
        rates = timing.rates_per_s(job, contenders, rounds=rounds)
        hand, ours = (timing.ratios(rates, to) for to in (next(iter(sizes)), "simpy"))
        for name, size in sizes.items():
            rate = spread(rates[name])
            held = processes.bytes_per_request(job_name, name, KEPT[name == "compiled"])
            cells = (short(rate.median), str(hand[name]), str(ours[name]), f"{size:,}", short(held))
            rows.append([f"{job.name}: {NAMES[name]}", *cells])
    return Section(
        "Requests a second",
        """One thread; requests per second of processor time. All contenders are given the same arrivals and play the
        same requests, with the same latency for each (`tests/project/test_benchmarks.py`). The others are given the
        service times too, our engines draw them inside the measured time; our engines keep a record of the time that
        every request spent in each component, the others keep its latency alone (Ciw a record of each visit). Memory is
        the growth of the peak with each further request, the schedule included.""",
        ("job", "requests/CPU-s", "times SimPy by hand", "times our SimPy engine", "requests", "bytes/request"),
        rows,
    )


def threads(rounds: int, todo: dict[str, jobs.Job]) -> Section:
    """Two simulations at once, of the compiled engine."""
    rows = []
    for job_name, (requests, times) in AT_ONCE.items():
        work = processes.compiled_work(job_name, requests)
        found = timing.gains(work, partial(processes.play_compiled, job_name, requests), times=times, rounds=rounds)
        quiet = [gain.threads for gain in found if gain.is_quiet]
        cells = (
            str(spread([gain.threads for gain in found])),
            str(spread([each for gain in found for each in gain.processes])),
            str(spread(quiet)) if quiet else "no such round",
            f"{len(quiet)} of {rounds}",
        )
        rows.append([f"{todo[job_name].name}, {requests:,} requests", *cells])
    return Section(
        "Two threads",
        f"""The compiled engine runs outside the interpreter's lock, so replications run on threads. How much sooner the
        same replications are done on two threads than on one, on the wall. Beside it two processes, which share
        nothing: what they lack to 2, the machine does not have to give to this work (two processors of a rented machine
        are often two halves of one core). The rounds in which the processes gained at least {timing.QUIET_GAIN}, right
        before the threads and right after, show what threads gain where there are two processors.""",
        ("job", "two threads over one", "two processes over one", "threads, where two processors are", "such rounds"),
        rows,
    )


def starts(rounds: int) -> Section:
    """The compiled engine's first call."""
    found = processes.starts(rounds)
    rows = [
        [when, *(str(spread([figures[name] for figures in found[key]])) for name in columns)]
        for key, when in (("first", "first call ever: compiles"), ("later", "later processes: from the cache"))
        for columns in [("call_cpu_s", "call_s", "process_cpu_s", "process_s")]
    ]
    return Section(
        "Start",
        """A process that imports the compiled engine and simulates 100 requests: with an empty cache, then again.
        Seconds of processor time, and on the wall.""",
        ("process", "first call, CPU-s", "first call, s", "whole process, CPU-s", "whole process, s"),
        rows,
    )


def ten_million() -> Section:
    """Ten million requests of the whole deployment, up to the result."""
    figures = processes.child("whole_run", TEN_MILLION)
    cells = (f"{figures['requests']:,.0f}", f"{figures['peak_bytes'] / 1e9:.2f}", short(figures["run_s"]))
    return Section(
        "Ten million requests",
        """A process that calls `run("launch", on="compiled")` and holds the result: a frame of one row a request, with
        the time that it spent in each component. The seconds include drawing the schedule.""",
        ("call", "requests", "peak, GB", "seconds"),
        [["run", *cells]],
    )


def start_command() -> None:
    """The command line up to its help text: what every call pays."""
    subprocess.run([sys.executable, "-m", "sim.cli", "--help"], check=True, capture_output=True)


def start_reference() -> None:
    """The reference deployment up to its ready line, and its clean stop."""
    with running():
        pass


def parts(rounds: int) -> Section:
    """What surrounds a simulation."""
    launch = load_scenario("launch")
    planned = schedule(launch, seed=launch.seed)
    work: dict[str, Callable[[], object]] = {
        "headroom --help": start_command,
        "reference: start and stop": start_reference,
        f"schedule of {len(planned):,} requests": partial(schedule, launch),
    }
    rows = [[name, str(timing.median_s(do, rounds=rounds))] for name, do in work.items()]
    return Section("Beside the engines", "Seconds on the wall.", ("part", "seconds"), rows)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each contender plays")
    parser.add_argument("--only", choices=sorted(SIZES), help="one job, and nothing but its speed")
    parser.add_argument("--out", type=Path, help="write the page there")
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    todo = made() if asked.only is None else {asked.only: made()[asked.only]}
    sections = [speeds(asked.rounds, todo)]
    if asked.only is None:
        sections.append(threads(20 * asked.rounds, todo))
        del todo
        sections += [starts(3), ten_million(), parts(asked.rounds)]
    text = page(sections, load_average=(before, os.getloadavg()[0]))
    print(text)
    if asked.out is not None:
        asked.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
