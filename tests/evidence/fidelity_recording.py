"""What ``make fidelity`` measured, kept: the pages and the report are written from it, and from nothing else.

Each run on the paced reference is a file of its own (``reference_UTILIZATION_SEED.parquet``, as ``--save`` writes it),
so the model is played anew whenever the pages are; ``reference.json`` says when and on what. Of the real runtime the
recording keeps scores and quantiles (``runtime.json``): its runs hold half a million requests. Scorings before the last
one stay beside it under their time (``runtime_20261126T1637.json``), since a machine has good and bad days; who changes
the model or how it is calibrated removes them.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sim import Result, load_run, save_run
from sim.foundation.files import whole_file
from sim.foundation.version import __version__
from tests.evidence.fidelity_scores import COVERAGE_GOAL, GOAL_LOADS, GOALS, QQ_RECORDED, Scores
from tests.evidence.fidelity_workerd import workerd_calibrated
from tests.project.tidy import ROOT

FOLDER = ROOT / "reports/baselines/fidelity"


class Conditions(BaseModel):
    """When, by what and on what something was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started_utc: str
    command: str
    commit: str
    """Of the code, with a plus sign if files differed from it."""
    headroom: str
    python: str
    cores: int
    load_before: float
    load_after: float
    """Load averages of the machine over a minute; the measurement itself makes about 2."""

    @property
    def started(self) -> datetime:
        """When it began, in UTC."""
        return datetime.fromisoformat(self.started_utc)


class Reference(BaseModel):
    """The paced reference: what was promised; its runs are files of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    conditions: Conditions
    goals: dict[str, float]


class Runtime(BaseModel):
    """The real runtime: scores, and what was promised."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
    conditions: Conditions
    goals: dict[str, float]
    goal_loads: tuple[float, ...]
    coverage_goal: float
    qq_probabilities: tuple[float, ...]
    scores: Scores


class Watch:
    """Notes the conditions of a measurement, from its beginning to its end."""

    def __init__(self, command: str) -> None:
        self._command, self._started = command, datetime.now(UTC)
        self._before = os.getloadavg()[0]

    def ended(self) -> Conditions:
        """Return the conditions, now that it is over."""
        return Conditions(
            started_utc=self._started.isoformat(timespec="seconds"),
            command=self._command,
            commit=_commit(),
            headroom=__version__,
            python=platform.python_version(),
            cores=len(os.sched_getaffinity(0)),
            load_before=round(self._before, 2),
            load_after=round(os.getloadavg()[0], 2),
        )


def measured_runtime(command: str, **asked: Any) -> Runtime:
    """Measure the real runtime; see :func:`tests.evidence.fidelity_workerd.workerd_calibrated`."""
    watch = Watch(command)
    scores = workerd_calibrated(**asked)
    return Runtime(
        conditions=watch.ended(),
        goals=GOALS,
        goal_loads=GOAL_LOADS,
        coverage_goal=COVERAGE_GOAL,
        qq_probabilities=QQ_RECORDED,
        scores=scores,
    )


def reference_file(folder: Path = FOLDER) -> Path:
    """Return where the conditions of the runs on the reference are kept."""
    return folder / "reference.json"


def runtime_file(folder: Path = FOLDER) -> Path:
    """Return where the scores of the real runtime are kept."""
    return folder / "runtime.json"


def load_reference(folder: Path = FOLDER) -> Reference:
    """Return when, on what and for what the runs on the reference were made; a file of another form is an error."""
    return Reference.model_validate_json(reference_file(folder).read_text("utf-8"))


def load_runtime(folder: Path = FOLDER) -> Runtime:
    """Return the recording of the real runtime; a file of another form is an error."""
    return Runtime.model_validate_json(runtime_file(folder).read_text("utf-8"))


def load_scorings(folder: Path = FOLDER) -> list[Runtime]:
    """Return every scoring of the real runtime that is kept, oldest first: the last is that of :func:`load_runtime`."""
    earlier = [Runtime.model_validate_json(path.read_text("utf-8")) for path in sorted(folder.glob("runtime_*.json"))]
    return [*earlier, load_runtime(folder)]


def save_runtime(found: Runtime, folder: Path = FOLDER) -> None:
    """Write the recording of the real runtime, whole or not at all; the one that is there is kept under its time."""
    folder.mkdir(parents=True, exist_ok=True)
    if runtime_file(folder).exists():
        before = load_runtime(folder)
        with whole_file(folder / f"runtime_{before.conditions.started:%Y%m%dT%H%M}.json") as file:
            file.write(text_of(before).encode())
    with whole_file(runtime_file(folder)) as file:
        file.write(text_of(found).encode())


def save_reference(found: Reference, runs: dict[float, list[Result]], folder: Path = FOLDER) -> None:
    """Write the runs on the reference in place of those that are there, then their conditions."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {path_of(utilization, run.seed, folder) for utilization, played in runs.items() for run in played}
    for utilization, played in runs.items():
        for run in played:
            save_run(run, path_of(utilization, run.seed, folder))
    for old in set(folder.glob("reference_*.parquet")) - kept:
        old.unlink()
    with whole_file(reference_file(folder)) as file:
        file.write(text_of(found).encode())


def text_of(found: Reference | Runtime) -> str:
    """Return the text of a recording's file."""
    return found.model_dump_json(indent=1) + "\n"


def load_runs(folder: Path = FOLDER) -> dict[float, list[Result]]:
    """Return the runs on the reference, by utilization of its database, in the order of their seeds."""
    found: dict[float, list[Result]] = {}
    for path in sorted(folder.glob("reference_*.parquet")):
        found.setdefault(int(path.stem.split("_")[1]) / 100, []).append(load_run(path))
    return {utilization: sorted(found[utilization], key=lambda run: run.seed) for utilization in sorted(found)}


def path_of(utilization: float, seed: int, folder: Path = FOLDER) -> Path:
    """Return where a run is kept."""
    return folder / f"reference_{100 * utilization:.0f}_{seed}.parquet"


def _commit() -> str:
    """Return the commit of the code, as far as git knows it, with a plus where a Python file differs from it."""

    def asked(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = asked("rev-parse", "--short=10", "HEAD")
    return f"{commit}{'+' if asked('status', '--porcelain', '--', '*.py') else ''}" or "unknown"
