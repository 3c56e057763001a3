"""What ``make fidelity`` measured, kept: the pages and the report are written from it, and from nothing else.

Each run on the paced reference is a file of its own (``reference_UTILIZATION_SEED.parquet``, as ``--save`` writes it),
so the model is played anew whenever the pages are. Of the real runtime the recording keeps scores and quantiles
(``recording.json``): its runs hold half a million requests.
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
NAME = "recording.json"


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


class Runtime(BaseModel):
    """The real runtime: scores, and what was promised."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    conditions: Conditions
    goals: dict[str, float]
    goal_loads: tuple[float, ...]
    coverage_goal: float
    qq_probabilities: tuple[float, ...]
    scores: Scores


class Recording(BaseModel):
    """Both halves; each may be measured anew without the other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    reference: Conditions
    runtime: Runtime


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


def load(folder: Path = FOLDER) -> Recording:
    """Return the recording; a file of another form is an error."""
    return Recording.model_validate_json((folder / NAME).read_text("utf-8"))


def save(recording: Recording, folder: Path = FOLDER) -> None:
    """Write the recording, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / NAME) as file:
        file.write((recording.model_dump_json(indent=1) + "\n").encode())


def save_runs(runs: dict[float, list[Result]], folder: Path = FOLDER) -> None:
    """Write the runs on the reference in place of those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {path_of(utilization, run.seed, folder) for utilization, found in runs.items() for run in found}
    for utilization, found in runs.items():
        for run in found:
            save_run(run, path_of(utilization, run.seed, folder))
    for old in set(folder.glob("reference_*.parquet")) - kept:
        old.unlink()


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
    """Return the commit of the code, as far as git knows it."""
    asked = ["git", "describe", "--always", "--abbrev=10", "--dirty=+"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"
