"""Calibrate a scenario: replace its assumptions about times by what runs and logs measured.

What the data do not identify is refused by name, with the run that would identify it. The result is a scenario whose
base is the given one; it holds only what was calibrated, each value with its interval, sample and source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.experiments.calibration.components import Solver, has_server_times, shown
from sim.experiments.calibration.drawing import drawn_entry
from sim.experiments.calibration.found import Found, Number
from sim.experiments.calibration.laws import fit_law
from sim.experiments.calibration.objects import Identified, without_turns
from sim.experiments.calibration.ramp import ramp_of
from sim.experiments.calibration.row_times import row_times
from sim.experiments.calibration.scalability import Scalability, fit_scalability
from sim.experiments.calibration.seen import columns, distributions
from sim.experiments.calibration.server_turns import object_turns
from sim.experiments.calibration.shared_turns import SharedTurns, drawn_speed
from sim.experiments.calibration.sources import log_samples
from sim.experiments.calibration.text import written
from sim.experiments.calibration.totals import from_totals, latencies_of, latencies_of_trace
from sim.foundation.errors import UsageError
from sim.foundation.files import whole_file
from sim.foundation.views import Shown
from sim.randomness.distributions import Constant
from sim.randomness.streams import checked_seed
from sim.results.storage import load_run
from sim.scenario.routes import expected_uses
from sim.scenario.scenario import load_scenario

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario


@dataclass(frozen=True)
class Calibration(Shown):
    """What was identified, and what was not.

    Attributes
    ----------
    base : Scenario
        The scenario that was calibrated.
    found : tuple of Found
        Distributions and numbers, by path.
    refused : dict of str to str
        By path, why it was not identified and what would do.
    scalability : Scalability or None
        Of the ramp, if one was given.
    notes : tuple of str
    turns : mapping of str to SharedTurns
        Paths of times that all change by one factor from run to run, with what says by how much.
    """

    base: "Scenario"
    found: tuple[Found, ...]
    refused: dict[str, str]
    scalability: Scalability | None = None
    notes: tuple[str, ...] = ()
    turns: Mapping[str, SharedTurns] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Calibration of {self.base.name}: {len(self.found)} identified, {len(self.refused)} refused>"

    @cached_property
    def scenario(self) -> "Scenario":
        """The calibrated scenario."""
        return self.base.with_(**self.changes)

    @property
    def changes(self) -> dict[str, Any]:
        """What the calibrated scenario says in place of its base, by path."""
        values = {one.path: one.entry for one in self.found}
        kept = {
            path: text
            for path, text in self.base.assumptions.items()
            if not any(f"{path}.".startswith(f"{new}.") or new.startswith(f"{path}.") for new in self.reasons)
        }
        return {"name": f"{self.base.name}-calibrated", **values, "assumptions": kept | self.reasons}

    @property
    def reasons(self) -> dict[str, str]:
        """The provenance of what was identified, by path in ``[assumptions]``."""
        found: dict[str, list[str]] = {}
        for one in self.found:
            inside = "" if one.reasoned == one.path else f"{one.path.removeprefix(one.reasoned)}: "
            found.setdefault(one.reasoned, []).append(f"{inside}{one.law}; from {one.source}")
        return {path: f"{'; '.join(texts)} [C]" for path, texts in found.items()}

    def __getitem__(self, path: str) -> Found:
        """Return what was identified under a path."""
        return next(one for one in self.found if one.path == path)

    def drawn(self, rng: int) -> "Scenario":
        """Return the calibrated scenario with numbers drawn from their intervals, to predict with.

        Runs of many such scenarios differ by what the calibration leaves open and by chance, so that their quantiles
        are the interval of a prediction. Of an object whose turns are shared they also differ by how much runs do.

        Parameters
        ----------
        rng : int
            Seed of the draws.
        """
        generator = np.random.default_rng(checked_seed(rng))
        distinct = {id(one): one for one in self.turns.values()}
        speeds = {number: drawn_speed(one, generator) for number, one in distinct.items()}
        return self.scenario.with_(
            **{
                one.path: drawn_entry(one.law, generator, speed=speeds.get(id(self.turns.get(one.path)), 1.0))
                for one in self.found
            }
        )


def calibrate(
    scenario: str | Path,
    runs: Sequence["Result | str | Path"] = (),
    *,
    logs: Sequence[str | Path] = (),
    ramp: Sequence["Result | str | Path"] = (),
    hold: Sequence[str] = (),
    out: str | Path | None = None,
    rng: int = 0,
) -> Calibration:
    """Calibrate a scenario.

    Parameters
    ----------
    scenario : path, or name of one in ``scenarios/``
    runs : sequence of Result or path
        Runs at low load: of the reference, the real runtime, a URL (``headroom run --save``); or traces with latencies,
        in any form that :func:`sim.read_trace` reads.
    logs : sequence of path
        Workers trace events, or D1's meta objects, a JSON object a line.
    ramp : sequence of Result or path
        Runs of rising load, for the scalability law.
    hold : sequence of str
        Paths of distributions that are believed as they are.
    out : path, optional
        TOML file of the calibrated scenario.
    rng : int
        Seed of the bootstraps.

    Returns
    -------
    Calibration

    Raises
    ------
    UsageError
        Nothing at all was identified; the line says why not, and which run would do.
    """
    base = load_scenario(scenario)
    known = distributions(base)
    if not (runs or logs or ramp):
        raise UsageError("calibrate needs a run, a log or a ramp (headroom run SCENARIO --on URL --save RUN.parquet)")
    for path in hold:
        if path not in known:
            raise UsageError(f"hold={path!r} must be one of {', '.join(known)}")
    zero = frozenset(path for path, law in known.items() if isinstance(law, Constant) and law.value == 0)
    logged, remarks = _from_logs(base, logs, rng)
    solver = Solver({path: known[path] for path in hold}, logged, zero=zero, rng=rng)
    told = _from_runs(solver, base, runs, zero=zero, rng=rng)
    scalability = fit_scalability(*ramp_of([_run(one, base)[0] for one in ramp]), rng=rng) if ramp else None
    order = [*known, *(path for path in solver.found if path not in known)]
    found = tuple(solver.found[path] for path in order if path in solver.found)
    refused = {path: why for path, why in (solver.refused | told.refused).items() if path not in solver.found}
    if not found and scalability is None:
        raise UsageError(_nothing(refused))
    turns = {path: one for path, one in told.turns.items() if solver.found[path] in told.found}
    calibration = Calibration(base, found, refused, scalability, (*remarks, *told.notes), turns)
    calibration.scenario  # noqa: B018  # a calibrated scenario that cannot be loaded is an error now
    if out is not None:
        write(calibration, scenario, out=Path(out))
    return calibration


def write(calibration: Calibration, scenario: str | Path, *, out: Path) -> None:
    """Write the calibrated scenario; it is in place whole, or not at all.

    Raises
    ------
    UsageError
        Nothing was identified, or the place cannot be written to.
    """
    if not calibration.found:
        raise UsageError(f"out={str(out)!r}: no distribution was identified, so there is no scenario to write")
    found = [(one, f"{one.law}; from {one.source} [C]") for one in calibration.found]
    name = calibration.changes["name"]
    text = written(scenario, found, reasons=calibration.reasons, name=name, out=out)
    try:
        with whole_file(out) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"out={str(out)!r} cannot be written: {error.strerror or error}") from None


def _from_logs(base: "Scenario", logs: Sequence[str | Path], rng: int) -> tuple[list[Found], list[str]]:
    """Return what logs show of single components, and remarks."""
    found, remarks = list[Found](), list[str]()
    for log in logs:
        source = f"log {Path(log).name}"
        for path, sample in log_samples(Path(log), base).items():
            times_ms, grown = sample.times_ms, None
            if sample.rows is not None:
                grown = row_times(times_ms, sample.rows, rng=rng)
            if grown is not None and grown.is_linear and _names_sql(base, path.split(".")[1]):
                times_ms = grown.remainder_ms
                row_us = Number(grown.row_us, len(times_ms))
                found.append(Found(f"{path.rpartition('.')[0]}.row_us", row_us, source))
            elif grown is not None:
                why = "name the steps' sql to tell rows apart" if grown.is_linear else "but not in proportion"
                said = f"{path} is that of this log's mixture of statements: its times grow by {grown} ({why})"
                remarks.append(f"{source}: {said}")
            found.append(Found(path, fit_law(times_ms, rng=rng, what=path), source))
    return found, remarks


def _names_sql(base: "Scenario", instance: str) -> bool:
    """Whether some step of an instance names its statement, so that the time of rows is a number of its own."""
    steps = [step for route in base.routes.values() for step, _ in expected_uses(route.steps)]
    return any(str(step.use).partition(".")[0] == instance and "sql" in step.parameters for step in steps)


def _from_runs(
    solver: Solver, base: "Scenario", runs: "Sequence[Result | str | Path]", *, zero: frozenset[str], rng: int
) -> Identified:
    """Identify what runs show, besides what the solver holds; return it with remarks and what objects do."""
    told, all_shown, whole = Identified(), [], []
    plain = without_turns(base)
    seen = columns(plain)
    for one in runs:
        if isinstance(one, str | Path) and Path(one).suffix != ".parquet":
            whole.append(latencies_of_trace(Path(one), base))
            continue
        result, name = _run(one, base)
        told.notes += _left_out(result, name)
        if not has_server_times(result):
            whole.append(latencies_of(result, run=name))
            continue
        objects = object_turns(result, plain, seen=seen, zero=zero, run=name)
        told.take(objects)
        all_shown += list(shown(result, plain, seen=seen, run=name, unfit=objects.unfit))
        told.notes += [f"{name}: {note}" for note in result.notes if note.startswith("INVALID")]
    told.take(from_totals(whole, base, held=solver.held, zero=zero, rng=rng))
    solver.found = {one.path: one for one in told.found} | solver.found
    solver.solve(all_shown)
    return told


def _left_out(result: "Result", name: str) -> list[str]:
    """Return how many requests say nothing, if any."""
    frame = result.steady().frame
    usual = (frame["outcome"] == "ok") & (frame["attempts"] <= 1) & (frame["client_ms"] == 0)
    lost = int((~usual).sum())
    return [f"{name}: {lost:,} of {len(frame):,} requests failed, or were retried, and are left out"] if lost else []


def _run(one: "Result | str | Path", base: "Scenario") -> "tuple[Result, str]":
    if isinstance(one, str | Path):
        return load_run(one, scenario=base), Path(one).name
    return one, one.on


def _nothing(refused: dict[str, str]) -> str:
    reasons = [f"{path}: {why}" for path, why in refused.items()]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else "the runs show no time of any distribution of the scenario"
