"""``python -m benchmarks``: run all benchmarks, print the page, and write it to ``docs/SPEED.md``."""

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
"""Requests that each contender simulates in a round; slow ones simulate only the first."""

KEPT = (60_000, 1_200_000)
"""Requests of the memory measurement: for the others, and for the compiled engine."""

REPEATS = {("mm4", "compiled"): 20, ("tandem", "compiled"): 20, ("mm4", "cimba"): 5, ("tandem", "cimba"): 10}
"""Repetitions of the fast contenders in a round, so that a measurement is long against the clock's resolution."""

AT_ONCE = {"mm4": (200_000, 16), "tandem": (50_000, 20), "launch": (200_000, 2)}
"""Requests and repetitions of the measurements on one thread, two threads and two processes: some 0.2 s each."""


def made() -> dict[str, jobs.Job]:
    """Return the jobs by their short names."""
    return {name: make() for name, make in jobs.MAKERS.items()}


def speeds(rounds: int, todo: dict[str, jobs.Job]) -> Section:
    """Measure every contender on every job."""
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
        """One thread; requests per second of CPU time. All contenders get the same arrivals and simulate the
        same requests, with the same latency for each (`tests/project/test_benchmarks.py`). The others also get the
        service times; our engines sample them inside the measured time. Our engines record the time that
        every request spends in each component, the others only its latency (Ciw records each visit). Memory is
        the growth of the peak with each further request, including the schedule.""",
        ("job", "requests/CPU-s", "times SimPy by hand", "times our SimPy engine", "requests", "bytes/request"),
        rows,
    )


def threads(rounds: int, todo: dict[str, jobs.Job]) -> Section:
    """Measure two concurrent simulations on the compiled engine."""
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
        f"""The compiled engine releases the GIL, so replications run on threads. The table gives the speed-up (wall
        clock) of the same replications on two threads over one, and on two processes. Processes share nothing, so
        a speed-up below 2 is the machine's (two processors of a virtual machine are often two hyperthreads of one
        core). The rounds in which the processes reached at least {timing.QUIET_GAIN}, both right before and right
        after the threads, show the speed-up of threads where two processors are available.""",
        (
            "job",
            "two threads over one",
            "two processes over one",
            "two threads, in rounds with two free processors",
            "such rounds",
        ),
        rows,
    )


def starts(rounds: int) -> Section:
    """Measure the first call of the compiled engine."""
    found = processes.starts(rounds)
    rows = [
        [when, *(str(spread([figures[name] for figures in found[key]])) for name in columns)]
        for key, when in (("first", "first call ever: compiles"), ("later", "later processes: from the cache"))
        for columns in [("call_cpu_s", "call_s", "process_cpu_s", "process_s")]
    ]
    return Section(
        "Start",
        """A process that imports the compiled engine and simulates 100 requests: with an empty cache, then with a full
        one. Seconds of CPU time, and of wall-clock time.""",
        ("process", "first call, CPU-s", "first call, s", "whole process, CPU-s", "whole process, s"),
        rows,
    )


def ten_million() -> Section:
    """Measure ten million requests of the whole deployment, up to the result."""
    figures = processes.child("whole_run", TEN_MILLION)
    cells = (f"{figures['requests']:,.0f}", f"{figures['peak_bytes'] / 1e9:.2f}", short(figures["run_s"]))
    return Section(
        "Ten million requests",
        """A process that calls `run("launch", on="compiled")` and holds the result: a frame with one row for each
        request and its time in each component. The seconds include generating the schedule.""",
        ("call", "requests", "peak, GB", "seconds"),
        [["run", *cells]],
    )


def start_command() -> None:
    """Start the command line up to its help text, which every command pays for."""
    subprocess.run([sys.executable, "-m", "sim.cli", "--help"], check=True, capture_output=True)


def start_reference() -> None:
    """Start the reference deployment up to its ready line, and stop it cleanly."""
    with running():
        pass


def parts(rounds: int) -> Section:
    """Measure the work around a simulation."""
    launch = load_scenario("launch")
    planned = schedule(launch, seed=launch.seed)
    work: dict[str, Callable[[], object]] = {
        "headroom --help": start_command,
        "reference: start and stop": start_reference,
        f"schedule of {len(planned):,} requests": partial(schedule, launch),
    }
    rows = [[name, str(timing.median_s(do, rounds=rounds))] for name, do in work.items()]
    return Section("Beside the engines", "Wall-clock seconds.", ("part", "seconds"), rows)


def main() -> None:
    """Run the benchmarks, print the page and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="number of rounds")
    parser.add_argument("--only", choices=sorted(SIZES), help="measure only the speed of one job")
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
