"""How well predictions hold: the paced reference in pairs, then the real runtime; recorded, and written from that.

``python -m tests.evidence.fidelity`` plays searches on the paced reference, in real time, at 30, 60 and 80 % of what
its database can do, five times each, and simulates the same requests with the same random numbers. The errors are
paired (:mod:`sim.judgement.pairing`): what is left is the machine's noise, or a difference of the two. Then it
calibrates on the real runtime and predicts it (:mod:`tests.evidence.fidelity_workerd`), which needs ``make runtime``.

What was measured is kept in ``reports/baselines/fidelity`` (:mod:`tests.evidence.fidelity_recording`);
``docs/FIDELITY.md``, the tables in ``docs/FIDELITY_WORKERD.md`` and ``reports/fidelity.ipynb`` are made from that.
``--only reference`` and ``--only runtime`` measure one half and keep the other, ``--only pages`` measures nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim import Pairing, Result, Scenario, SimError, load_scenario, pair, play, schedule
from sim.runners import reference, runtime
from tests.evidence import fidelity_recording as recording
from tests.evidence.fidelity_recording import Conditions, Reference, Runtime
from tests.evidence.fidelity_scores import Scores
from tests.evidence.fidelity_workerd_text import cheaper, goals
from tests.evidence.fidelity_workerd_text import text as workerd_text
from tests.evidence.runtime_runs import first_in_line
from tests.project.tidy import ROOT

PAGE = ROOT / "docs/FIDELITY.md"
WHY = ROOT / "docs/FIDELITY_WORKERD.md"
COMMAND = "python -m tests.evidence.fidelity"
UTILIZATIONS = (0.3, 0.6, 0.8)
QUERY_MS = 20.0
"""Mean of an exponential query: 50 a second are all that the database can do, which any machine can send."""
RUNS, RUN_S = 5, 20.0
GOALS = {"p50": 0.02, "p99": 0.05}
"""Largest error of the median of the runs that we promise on a machine that is not busy."""
PROBABILITIES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True)
class Paired:
    """The runs at one utilization of the database."""

    utilization: float
    runs: tuple[Pairing, ...]
    late: int

    def error(self, probability: float) -> float:
        """Return the median error of a quantile over the runs, simulated against measured."""
        return float(np.median([run.errors[probability].value for run in self.runs]))


def scenario(utilization: float, *, run_s: float = RUN_S) -> Scenario:
    """Return searches that load the database so much."""
    searches = load_scenario("launch").with_shares(search=1.0)
    return searches.with_(
        **{
            "system.d1.read_ms": {"distribution": "exponential", "mean": QUERY_MS},
            "workload.arrivals.rate_per_s": utilization * 1_000 / QUERY_MS,
            "workload.duration_s": run_s,
            "workload.warm_up_s": 0,
        }
    )


def measured(
    *, utilizations: Sequence[float] = UTILIZATIONS, runs: int = RUNS, run_s: float = RUN_S
) -> dict[float, list[Result]]:
    """Play each utilization *runs* times on the paced reference, with a seed for each run."""
    found: dict[float, list[Result]] = {}
    with first_in_line():  # It takes a few per cent of a core, and what others do is not to be measured.
        for utilization in utilizations:
            asked = scenario(utilization, run_s=run_s)
            found[utilization] = [
                reference.play(asked, schedule(asked, seed), seed=seed) for seed in range(1, runs + 1)
            ]
    return found


def paired(runs: dict[float, list[Result]]) -> list[Paired]:
    """Simulate the same requests with the same random numbers, and compare."""
    return [
        Paired(utilization, tuple(pair(simulated(run), run) for run in found), sum(not run.valid for run in found))
        for utilization, found in runs.items()
    ]


def simulated(run: Result) -> Result:
    """Return what the model makes of the requests of a recorded run."""
    return play(run.scenario, schedule(run.scenario, run.seed), on="compiled", seed=run.seed)


def reference_text(found: Sequence[Paired]) -> str:
    """Return the table of the reference's half."""
    lines = [
        "## The paced reference, in pairs",
        "",
        f"Searches of a database whose queries take {QUERY_MS:g} ms in the mean (exponential), {RUN_S:g} s in real",
        f"time over HTTP, {RUNS} runs at each utilization, each with a seed of its own that both sides have; driver",
        "and reference run before ordinary processes. Medians of the runs; in brackets the widest paired 95 %",
        "interval of a run. *Noise* is measured less simulated latency: its 5 %, 50 % and 95 % quantiles. *Parted*",
        "are requests that differ by more than the noise, by the part of their time that differs most.",
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
    errors = " | ".join(_error(one, probability) for probability in PROBABILITIES.values())
    noise = ", ".join(f"{value:.2f}" for value in noise_ms)
    return f"| {one.utilization:.0%} | {pairs:,} | {errors} | {noise} | {said} | {one.late} |"


def _error(one: Paired, probability: float) -> str:
    low = min(run.errors[probability].low for run in one.runs)
    high = max(run.errors[probability].high for run in one.runs)
    return f"{one.error(probability):+.2%} [{low:+.1%}, {high:+.1%}]"


def _verdict(found: Sequence[Paired]) -> str:
    missed = [
        f"{name.upper()} at {one.utilization:.0%}"
        for one in found
        for name, goal in GOALS.items()
        if abs(one.error(PROBABILITIES[name])) > goal
    ]
    promise = "P50 within 2 % and P99 within 5 %"
    return f"{promise}: missed by {', '.join(missed)}." if missed else f"{promise}: held at every utilization."


def page(kept: Reference, runs: dict[float, list[Result]], scorings: Sequence[Runtime]) -> str:
    """Return docs/FIDELITY.md."""
    scored = scorings[-1]
    head = [
        "# Fidelity",
        "",
        f"Written by `{COMMAND}` from `reports/baselines/fidelity`; not edited by hand.",
        "[reports/fidelity.ipynb](../reports/fidelity.ipynb) has the figures; what the real runtime does:",
        "[FIDELITY_WORKERD.md](FIDELITY_WORKERD.md).",
        "",
        f"- The reference: {conditions(kept.conditions)}",
        f"- The real runtime: {conditions(scored.conditions)}",
        "",
        "An error is predicted (or simulated) against measured: +2 % says that the prediction is 2 % too high.",
        "",
    ]
    return "\n".join(head) + "\n" + "\n".join([reference_text(paired(runs)), workerd_text(by_date(scorings))])


def by_date(scorings: Sequence[Runtime]) -> dict[str, Scores]:
    """Return the scores by the heading that they have in tables."""
    return {f"{one.conditions.started:%-d %b %Y, %H:%M}": one.scores for one in scorings}


def conditions(found: Conditions) -> str:
    """Return when and on what something was measured, in one line."""
    return (
        f"{found.started_utc[:16].replace('T', ' ')} UTC, {found.cores} cores, load average {found.load_before:.1f} "
        f"before and {found.load_after:.1f} after, code {found.commit}."
    )


def why(text: str, scorings: Sequence[Runtime]) -> str:
    """Return docs/FIDELITY_WORKERD.md with its tables made anew."""
    tables = {
        "conditions": "\n".join(f"- {conditions(one.conditions)}" for one in scorings),
        "goals": goals(by_date(scorings)),
        "cheaper": cheaper(scorings[-1].scores),
    }
    for name, table in tables.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"{WHY.name} has no place for the table {name}"
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def write_pages() -> None:
    """Write both pages from the recording."""
    scorings = recording.load_scorings()
    PAGE.write_text(page(recording.load_reference(), recording.load_runs(), scorings), "utf-8")
    WHY.write_text(why(WHY.read_text("utf-8"), scorings), "utf-8")


def main() -> None:
    """Measure, keep it, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("reference", "runtime", "pages"), help="Measure this, or nothing.")
    only = parser.parse_args().only
    command = f"{COMMAND} --only {only}" if only else COMMAND
    try:
        if only in (None, "runtime"):
            runtime.find()  # Missed now, and not after five minutes.
        if only in (None, "reference"):
            print("fidelity: the paced reference, some five minutes", file=sys.stderr)
            watch = recording.Watch(command)
            runs = measured()
            recording.save_reference(Reference(conditions=watch.ended(), goals=GOALS), runs)
        if only in (None, "runtime"):
            print("fidelity: the real runtime, some nine minutes", file=sys.stderr)
            recording.save_runtime(recording.measured_runtime(command))
        write_pages()
    except SimError as error:
        sys.exit(f"fidelity: {error}; what was measured before is kept, no page was written")
    except FileNotFoundError as error:
        sys.exit(f"fidelity: {error.filename} must have been recorded ({COMMAND}); no page was written")
    print(PAGE, WHY, sep="\n")


if __name__ == "__main__":
    main()
