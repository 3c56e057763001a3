"""Distributions from the times that a run attributes to components (Server-Timing), where waits have their own column.

A category that is one draw shows its distribution. One that is a sum of draws shows only the sum, until the others are
known: from another route, from a log, or because they are held. So categories are solved one after another, and what is
left is refused, with what would tell its parts apart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.laws import SAMPLE_MIN, Law, fit_law
from sim.experiments.calibration.remainder import fit_remainder
from sim.experiments.calibration.seen import Column, Term, columns, draws
from sim.foundation.errors import UsageError
from sim.randomness.distributions import AnyDistribution, Constant
from sim.randomness.streams import stream_key

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

ROUNDING_MS = 1e-6

WARM_GAP_MS = 1_000.0
"""A key that was asked within this time has its object in memory: the platform keeps it for ten seconds."""


@dataclass(frozen=True)
class Shown:
    """One time category of one route in one run.

    Attributes
    ----------
    place : str
        ``search.d1``, for messages.
    always : tuple of Term
        Draws of every request.
    sometimes : tuple of Term
        Draws of some requests.
    sample : ndarray, shape (n,)
        Time without the transfer of bytes.
    run : str
    opaque : str
    """

    place: str
    always: tuple[Term, ...]
    sometimes: tuple[Term, ...]
    sample: Array
    run: str
    opaque: str


@dataclass(frozen=True)
class Found:
    """A distribution that was identified, and where."""

    path: str
    law: Law
    source: str


def has_server_times(result: "Result") -> bool:
    """Whether a run attributes times to components, more finely than in whole ms."""
    times = result.frame[list(result.time_columns)].to_numpy()
    spent = times[times > 0]
    return len(spent) > 0 and bool((spent != np.rint(spent)).any())


def shown(result: "Result", scenario: "Scenario", *, run: str) -> Iterator[Shown]:
    """Yield what each route of a run shows of each time category."""
    frame = result.steady().frame
    succeeded = frame[(frame["outcome"] == "ok") & (frame["attempts"] <= 1) & (frame["client_ms"] == 0)]
    for route, found in columns(scenario).items():
        rows = succeeded[succeeded["route"] == route]
        for category, column in found.items():
            if f"{category}_ms" in rows and len(rows):
                # CPU time has a column of its own, and is part of that of its Worker.
                inner = [name for name, outer in scenario.inner_columns.items() if outer == f"{category}_ms"]
                spent = rows[f"{category}_ms"] - rows[inner].sum(axis=1)
                yield _shown(rows.assign(spent_ms=spent), f"{route}.{category}", column, run=run)


def _shown(rows: "pd.DataFrame", place: str, column: Column, *, run: str) -> Shown:
    found = draws(column).values()
    always = tuple(term for term in found if term.chance == 1)
    sometimes = tuple(term for term in found if term.chance != 1 and term.chance != 0)
    if always and any(isnan(term.chance) for term in sometimes):
        # An object that was asked a moment ago is in memory: those requests have no cold start.
        rows = rows[rows.groupby("key")["arrival_ms"].diff() < WARM_GAP_MS]
        sometimes = tuple(term for term in sometimes if not isnan(term.chance))
    size = rows["size_bytes"].to_numpy(dtype=np.float64)
    transfer_ms = sum((size / speed * 1000 for speed in column.bytes_per_s), np.zeros(len(rows)))
    spent_ms = rows["spent_ms"].to_numpy() - transfer_ms
    # Sums of floating-point times differ by less than a millionth of a ms: that is none.
    return Shown(place, always, sometimes, np.where(spent_ms < ROUNDING_MS, 0.0, spent_ms), run, column.opaque)


class Solver:
    """Solves categories one after another.

    Parameters
    ----------
    held : mapping of str to Distribution
        Known by assumption, and not fitted.
    known : iterable of Found
        Known from logs.
    zero : set of str
        Paths whose distribution is always 0: there is none of it.
    rng : int
        Seed.
    """

    def __init__(
        self, held: Mapping[str, AnyDistribution], known: Iterable[Found], *, zero: frozenset[str], rng: int
    ) -> None:
        self.found: dict[str, Found] = {one.path: one for one in known}
        self.refused: dict[str, str] = {}
        self.held, self._zero, self._rng = held, zero, rng

    def solve(self, all_shown: list[Shown]) -> None:
        """Identify what can be, then say of the rest why it cannot."""
        self._direct([one for one in all_shown if not one.opaque])
        progress = True
        while progress:
            solved = [self._by_remainder(one) for one in all_shown if not one.opaque]
            progress = any(solved)
        for one in all_shown:
            self._refuse(one)
        self.refused = {path: why for path, why in self.refused.items() if path not in self.found}

    def _unknown(self, terms: Iterable[Term]) -> list[Term]:
        return [t for t in terms if t.path not in self._zero and t.path not in self.found and t.path not in self.held]

    def _others(self, one: Shown) -> list[tuple[AnyDistribution, float]]:
        laws = {path: found.law.distribution for path, found in self.found.items()} | dict(self.held)
        return [(laws[term.path], term.scale) for term in one.always if term.path in laws]

    def _direct(self, all_shown: list[Shown]) -> None:
        """Fit distributions that a category shows alone, with all their samples."""
        samples: dict[str, list[tuple[Array, Shown]]] = {}
        for one in all_shown:
            always = [term for term in one.always if term.path not in self._zero]
            sometimes = [term for term in one.sometimes if term.path not in self._zero]
            unknown = self._unknown(always or sometimes)
            if len(unknown) != 1 or (always and sometimes) or len(sometimes) > 1:
                continue
            others = [law for law, _ in self._others(one)]
            if len(others) + 1 != len(always or sometimes) or not all(isinstance(law, Constant) for law in others):
                continue
            shift = sum(law.expected() * scale for law, scale in self._others(one))
            values = one.sample if always else one.sample[one.sample > 0]
            values = np.maximum(values - shift, 0.0) / unknown[0].scale
            samples.setdefault(unknown[0].path, []).append((values, one))
        for path, pieces in samples.items():
            values = np.concatenate([sample for sample, _ in pieces])
            self._try(path, partial(fit_law, values), [one for _, one in pieces])

    def _by_remainder(self, one: Shown) -> bool:
        """Fit the one distribution of a sum that is not known yet; return whether it was."""
        unknown = self._unknown(one.always)
        if len(unknown) != 1 or one.sometimes or unknown[0].path in self.refused or unknown[0].scale != 1:
            return False
        path = unknown[0].path
        self._try(path, partial(fit_remainder, one.sample, self._others(one)), [one])
        return path in self.found

    def _try(self, path: str, fit: Callable[..., Law], places: list[Shown]) -> None:
        try:
            self.found[path] = Found(path, fit(rng=self._seed(path), what=path), _source(places))
        except UsageError as error:
            self.refused[path] = str(error).removeprefix(f"{path}: ")

    def _seed(self, path: str) -> int:
        return int(stream_key(self._rng, path)) % 2**32

    def _refuse(self, one: Shown) -> None:
        unknown = sorted({term.path for term in self._unknown((*one.always, *one.sometimes))})
        for path in unknown:
            if path in self.refused:
                continue
            if one.opaque:
                self.refused[path] = (
                    f"{one.place}: {one.opaque}, which is no plain sum (play a route that has it alone)"
                )
            elif len(unknown) > 1:
                others = ", ".join(other for other in unknown if other != path)
                self.refused[path] = (
                    f"{one.place} shows only its sum with {others} (give a log of one of them, or hold it: --hold PATH)"
                )
            elif len(one.sample) < SAMPLE_MIN:
                self.refused[path] = f"{one.place}: {len(one.sample)} requests, must be >= {SAMPLE_MIN} (play more)"
            else:
                self.refused[path] = (
                    f"{one.place} adds several draws of it, or some requests only (play a route with one)"
                )


def _source(places: list[Shown]) -> str:
    """Return where samples are from: ``d1 of low.parquet (search, upload)``."""
    routes: dict[tuple[str, str], list[str]] = {}
    for one in places:
        route, _, category = one.place.rpartition(".")
        routes.setdefault((category, one.run), []).append(route)
    return "; ".join(f"{category} of {run} ({', '.join(names)})" for (category, run), names in routes.items())
