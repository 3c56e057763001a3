"""How well predictions hold: the paced reference in pairs, then the real runtime; writes docs/FIDELITY.md.

``python -m tests.evidence.fidelity`` plays searches on the paced reference, in real time, at 30, 60 and 80 % of what
its database can do, five times each, and simulates the same requests with the same random numbers. The errors are
paired (:mod:`sim.judgement.pairing`): what is left is the machine's noise, or a difference of the two. Then it
calibrates on the real runtime and predicts it (:mod:`tests.evidence.fidelity_workerd`), which needs ``make runtime``.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim import load_scenario, schedule
from sim.judgement.pairing import Pairing, pair
from sim.runners import reference
from sim.runners.play import play
from tests.evidence.fidelity_workerd import workerd_calibrated
from tests.evidence.fidelity_workerd_text import text as workerd_text

PAGE = Path("docs/FIDELITY.md")
UTILIZATIONS = (0.3, 0.6, 0.8)
QUERY_MS = 20.0
"""Mean of an exponential query: 50 a second are all that the database can do, which any machine can send."""
RUNS, RUN_S = 5, 24.0
GOALS = {0.5: 0.02, 0.99: 0.05}
"""Largest error of the median of the runs that we promise on a machine that is not busy."""


@dataclass(frozen=True)
class Paired:
    """The runs at one utilization of the database."""

    utilization: float
    runs: tuple[Pairing, ...]
    late: int

    def error(self, probability: float) -> float:
        """Return the median error of a quantile over the runs, simulated against measured."""
        return float(np.median([run.errors[probability].value for run in self.runs]))


def reference_paired(
    *, utilizations: Sequence[float] = UTILIZATIONS, runs: int = RUNS, run_s: float = RUN_S
) -> list[Paired]:
    """Play each utilization *runs* times on the paced reference and on the model, with one seed for both."""
    return [_paired(utilization, runs=runs, run_s=run_s) for utilization in utilizations]


def _paired(utilization: float, *, runs: int, run_s: float) -> Paired:
    rate_per_s = utilization * 1_000 / QUERY_MS
    scenario = load_scenario("launch").with_shares(search=1.0)
    scenario = scenario.with_(
        **{
            "system.d1.read_ms": {"distribution": "exponential", "mean": QUERY_MS},
            "workload.arrivals.rate_per_s": rate_per_s,
            "workload.duration_s": run_s,
            "workload.warm_up_s": 0,
        }
    )
    found, late = [], 0
    for seed in range(1, runs + 1):
        planned = schedule(scenario, seed)
        measured = reference.play(scenario, planned, seed=seed)
        simulated = play(scenario, planned, on="compiled", seed=seed)
        found.append(pair(simulated, measured))
        late += not measured.valid
    return Paired(utilization, tuple(found), late)


def reference_text(found: Sequence[Paired]) -> str:
    """Return the table of the reference's half."""
    lines = [
        "## The paced reference, in pairs",
        "",
        f"Searches of a database whose queries take {QUERY_MS:g} ms in the mean (exponential), {RUN_S:g} s in real",
        f"time over HTTP, {RUNS} runs at each utilization, each with a seed of its own that both sides have. Medians",
        "of the runs; in brackets the widest paired 95 % interval of a run. *Noise* is measured less simulated",
        "latency: its 5 %, 50 % and 95 % quantiles. *Parted* are requests that differ by more than the noise, by the",
        "part of their time that differs most.",
        "",
        "| utilization | requests a run | P50, error | P99, error | noise, ms | parted | runs not valid |",
        "| ---: | ---: | ---: | ---: | ---: | --- | ---: |",
        *(_row(one) for one in found),
        "",
        _verdict(found),
    ]
    return "\n".join(lines) + "\n"


def _row(one: Paired) -> str:
    noise_ms = np.median([run.noise_ms for run in one.runs], axis=0)
    pairs = int(np.median([run.pairs for run in one.runs]))
    parted: dict[str, int] = {}
    for run in one.runs:
        for part, count in run.parted.items():
            parted[part] = parted.get(part, 0) + count
    said = ", ".join(f"{part} {count}" for part, count in sorted(parted.items(), key=lambda item: -item[1])) or "none"
    errors = " | ".join(_error(one, probability) for probability in GOALS)
    noise = ", ".join(f"{value:.2f}" for value in noise_ms)
    return f"| {one.utilization:.0%} | {pairs:,} | {errors} | {noise} | {said} | {one.late} |"


def _error(one: Paired, probability: float) -> str:
    low = min(run.errors[probability].low for run in one.runs)
    high = max(run.errors[probability].high for run in one.runs)
    return f"{one.error(probability):+.2%} [{low:+.1%}, {high:+.1%}]"


def _verdict(found: Sequence[Paired]) -> str:
    missed = [
        f"P{100 * probability:g} at {one.utilization:.0%}"
        for one in found
        for probability, goal in GOALS.items()
        if abs(one.error(probability)) > goal
    ]
    promise = "P50 within 2 % and P99 within 5 %"
    return f"{promise}: missed by {', '.join(missed)}." if missed else f"{promise}: held at every utilization."


def page(parts: Sequence[str], *, load: tuple[float, float], command: str) -> str:
    """Return the whole page."""
    head = [
        "# Fidelity",
        "",
        f"Written by `{command}`; not edited by hand. Two cores; load average {load[0]:.1f} before and",
        f"{load[1]:.1f} after.",
        "",
        "An error is predicted (or simulated) against measured: +2 % says that the prediction is 2 % too high.",
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join(parts)


def _parts(*, with_runtime: bool) -> Iterator[str]:
    print("fidelity: the paced reference, some six minutes", file=sys.stderr)
    yield reference_text(reference_paired())
    if with_runtime:
        print("fidelity: the real runtime, some seven minutes", file=sys.stderr)
        yield workerd_text(workerd_calibrated())


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-runtime", action="store_true", help="The paced reference only.")
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    parts = list(_parts(with_runtime=not asked.no_runtime))
    command = "python -m tests.evidence.fidelity" + (" --no-runtime" if asked.no_runtime else "")
    PAGE.write_text(page(parts, load=(before, os.getloadavg()[0]), command=command), "utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
