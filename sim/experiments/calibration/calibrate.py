"""Calibrate a scenario: replace its assumptions about times by what runs and logs measured.

What the data do not identify is refused by name, with the run that would identify it. The result is a scenario whose
base is the given one; it holds only what was calibrated, each value with its interval, sample and source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.experiments.calibration.components import Found, Solver, has_server_times, shown
from sim.experiments.calibration.drawing import drawn
from sim.experiments.calibration.laws import fit_law
from sim.experiments.calibration.ramp import ramp_of
from sim.experiments.calibration.scalability import Scalability, fit_scalability
from sim.experiments.calibration.seen import distributions
from sim.experiments.calibration.sources import log_samples
from sim.experiments.calibration.text import written
from sim.experiments.calibration.totals import from_totals, latencies_of, latencies_of_trace
from sim.foundation.errors import UsageError
from sim.foundation.files import whole_file
from sim.foundation.views import Shown
from sim.randomness.distributions import Constant
from sim.randomness.streams import checked_seed
from sim.results.storage import load_run
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
        Distributions, by path.
    refused : dict of str to str
        By path, why it was not identified and what would do.
    scalability : Scalability or None
        Of the ramp, if one was given.
    notes : tuple of str
    """

    base: "Scenario"
    found: tuple[Found, ...]
    refused: dict[str, str]
    scalability: Scalability | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Calibration of {self.base.name}: {len(self.found)} identified, {len(self.refused)} refused>"

    @cached_property
    def scenario(self) -> "Scenario":
        """The calibrated scenario."""
        return self.base.with_(**self.changes)

    @property
    def changes(self) -> dict[str, Any]:
        """What the calibrated scenario says in place of its base, by path."""
        values = {one.path: one.law.distribution.model_dump() for one in self.found}
        reasons = {**self.base.assumptions, **{one.path: reason(one) for one in self.found}}
        kept = {
            path: text
            for path, text in reasons.items()
            if path in values
            or not any(f"{path}.".startswith(f"{new}.") or new.startswith(f"{path}.") for new in values)
        }
        return {"name": f"{self.base.name}-calibrated", **values, "assumptions": kept}

    def __getitem__(self, path: str) -> Found:
        """Return what was identified under a path."""
        return next(one for one in self.found if one.path == path)

    def drawn(self, rng: int) -> "Scenario":
        """Return the calibrated scenario with numbers drawn from their intervals, to predict with.

        Runs of many such scenarios differ by what the calibration leaves open and by chance, so that their quantiles
        are the interval of a prediction.

        Parameters
        ----------
        rng : int
            Seed of the draws.
        """
        generator = np.random.default_rng(checked_seed(rng))
        return self.scenario.with_(**{one.path: drawn(one.law, generator).model_dump() for one in self.found})


def reason(found: Found) -> str:
    """Return the provenance of a calibrated value, as an entry of ``[assumptions]``."""
    return f"{found.law}; from {found.source} [C]"


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
    solver = Solver({path: known[path] for path in hold}, _from_logs(base, logs, rng), zero=zero, rng=rng)
    notes = _from_runs(solver, base, runs, zero=zero, rng=rng)
    scalability = fit_scalability(*ramp_of([_run(one, base)[0] for one in ramp]), rng=rng) if ramp else None
    found = tuple(solver.found[path] for path in known if path in solver.found)
    if not found and scalability is None:
        raise UsageError(_nothing(solver.refused))
    calibration = Calibration(base, found, solver.refused, scalability, tuple(notes))
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
    found = [(one, reason(one)) for one in calibration.found]
    text = written(scenario, found, name=calibration.changes["name"], out=out)
    try:
        with whole_file(out) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"out={str(out)!r} cannot be written: {error.strerror or error}") from None


def _from_logs(base: "Scenario", logs: Sequence[str | Path], rng: int) -> list[Found]:
    found = []
    for log in logs:
        for path, sample in log_samples(Path(log), base).items():
            found.append(Found(path, fit_law(sample, rng=rng, what=path), f"log {Path(log).name}"))
    return found


def _from_runs(
    solver: Solver, base: "Scenario", runs: "Sequence[Result | str | Path]", *, zero: frozenset[str], rng: int
) -> list[str]:
    """Identify what runs show; return remarks on them."""
    all_shown, notes = [], []
    for one in runs:
        if isinstance(one, str | Path) and Path(one).suffix != ".parquet":
            seen = latencies_of_trace(Path(one), base)
        else:
            result, name = _run(one, base)
            if has_server_times(result):
                all_shown += list(shown(result, base, run=name))
                notes += [f"{name}: {note}" for note in result.notes if note.startswith("INVALID")]
                continue
            seen = latencies_of(result, run=name)
        laws, remarks = from_totals(seen, base, held=solver.held, zero=zero, rng=rng)
        solver.found = {law.path: law for law in laws} | solver.found
        notes += remarks
    solver.solve(all_shown)
    return notes


def _run(one: "Result | str | Path", base: "Scenario") -> "tuple[Result, str]":
    if isinstance(one, str | Path):
        return load_run(one, scenario=base), Path(one).name
    return one, one.on


def _nothing(refused: dict[str, str]) -> str:
    reasons = [f"{path}: {why}" for path, why in refused.items()]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else "the runs show no time of any distribution of the scenario"
