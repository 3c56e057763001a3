"""Measurements that need a process of their own: peak memory, and the first call.

Each child process runs ``python -m benchmarks.processes TASK``, which prints its figures as JSON.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def child(*task: object, **environment: str) -> dict[str, float]:
    """Run one task of this module in a new process.

    Parameters
    ----------
    *task
        Name and arguments of the task.
    **environment
        Additional environment variables; the child writes compiled bytecode, as any installed program does.
    """
    command = [sys.executable, "-m", "benchmarks.processes", *map(str, task)]
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=ROOT, env=ours | environment, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def peak_bytes() -> int:
    """Return the peak memory of this process.

    On Linux ``ru_maxrss`` of a child starts at its parent's value, so the peak is read from the system.
    """
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def players() -> dict[str, Callable[[Any], object]]:
    """Return the contenders by name."""
    from benchmarks import cimba_queues, ciw_networks, dssim_queues, jobs, plain, plain_launch, salabim_queues
    from sim.engines import compiled_engine, simpy_engine

    return {
        "plain": plain.play,
        "plain_launch": plain_launch.play,
        "ciw": ciw_networks.play,
        "dssim": dssim_queues.play,
        "salabim": salabim_queues.play,
        "cimba": cimba_queues.play,
        "simpy": lambda job: simpy_engine.simulate(job.flow, job.schedule, seed=jobs.SEED),
        "compiled": lambda job: compiled_engine.simulate(job.flow, job.schedule, seed=jobs.SEED),
    }


@cache
def compiled_work(job_name: str, requests: int) -> Callable[[], object]:
    """Return a function that runs a job on the compiled engine; built once for each process."""
    from benchmarks.jobs import MAKERS

    return partial(players()["compiled"], MAKERS[job_name](requests))


def play_compiled(job_name: str, requests: int) -> None:
    """Run a job in a process of a pool; the job is cached between calls."""
    compiled_work(job_name, requests)()


def memory(job_name: str, player: str, requests: str) -> dict[str, float]:
    """Return the peak memory before and after a contender runs a job that was built before."""
    from benchmarks.jobs import MAKERS

    job = MAKERS[job_name](int(requests))
    play = players()[player]
    play(job.head(1_000))
    play(job)
    return {"peak_bytes": peak_bytes()}


def bytes_per_request(job_name: str, player: str, requests: int) -> float:
    """Return the growth of the peak for each request, from a third of the requests to all, including the schedule."""
    few, many = (child("memory", job_name, player, n)["peak_bytes"] for n in (requests // 3, requests))
    return (many - few) / (requests - requests // 3)


def first_call() -> dict[str, float]:
    """Run 100 requests on the compiled engine; ``process_cpu_s`` is the CPU time of the process up to then."""
    from benchmarks import jobs
    from sim.engines import compiled_engine

    job = jobs.mm4(100)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    compiled_engine.simulate(job.flow, job.schedule, seed=jobs.SEED)
    call_s, process_cpu_s = time.perf_counter() - start_s, time.process_time()
    return {"call_s": call_s, "call_cpu_s": process_cpu_s - start_cpu_s, "process_cpu_s": process_cpu_s}


def starts(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Measure first calls with an empty cache, then with a full one; ``process_s`` is wall-clock time."""
    found: dict[str, list[dict[str, float]]] = {"first": [], "later": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for when in ("first", "later"):
                start_s = time.perf_counter()
                figures = child("first_call", NUMBA_CACHE_DIR=cache)
                found[when].append(figures | {"process_s": time.perf_counter() - start_s})
    return found


def whole_run(requests: str) -> dict[str, float]:
    """Run ``run("launch", on="compiled")`` with this number of requests, up to the result that a user holds."""
    from benchmarks.jobs import SEED, longer
    from sim.runners.play import run
    from sim.scenario.scenario import load_scenario

    scenario = longer(load_scenario("launch"), int(requests))
    run(scenario, on="compiled", rng=SEED, requests=1_000)
    start_s = time.perf_counter()
    result = run(scenario, on="compiled", rng=SEED, requests=int(requests))
    return {"peak_bytes": peak_bytes(), "run_s": time.perf_counter() - start_s, "requests": len(result.frame)}


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "memory": memory,
    "first_call": first_call,
    "whole_run": whole_run,
}


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    json.dump(TASKS[task](*arguments), sys.stdout)
