"""Distributions from the times that a run attributes to components (Server-Timing), where waits have their own column.

A category that is one draw shows its distribution. One that is a sum of draws shows only the sum, until the others are
known: from another route, from a log, or because they are held; several draws of one distribution are its sum. Where
only a share of the requests has a category at all, those show its distribution, and their number the share. So
categories are solved one after another, and what is left is refused, with what would tell its parts apart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.found import Found, Number
from sim.experiments.calibration.laws import SAMPLE_MIN, Interval, Law, fit_law
from sim.experiments.calibration.remainder import fit_remainder
from sim.experiments.calibration.seen import Column, Hedged, Term, draws
from sim.experiments.calibration.steps import chances
from sim.foundation.errors import UsageError
from sim.randomness.distributions import AnyDistribution, Constant
from sim.randomness.streams import stream_key
from sim.statistics.intervals import proportion_interval

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

ROUNDING_MS = 1e-6

WARM_GAP_MS = 1_000.0
"""A key that was asked within this time has its object in memory: the platform keeps it for ten seconds."""


@dataclass(frozen=True)
class Taken:
    """How many requests of a run had what a share of them has.

    Attributes
    ----------
    path : str
        Of the share.
    hits, requests : int
    """

    path: str
    hits: int
    requests: int


@dataclass(frozen=True)
class Shown:
    """One time category of one route in one run.

    Attributes
    ----------
    place : str
        ``search.d1``, for messages.
    always : tuple of Term
        Draws of every request of the sample.
    sometimes : tuple of Term
        Draws of some of them.
    sample : ndarray, shape (n,)
        Time without the transfer of bytes.
    run : str
    opaque : str
    taken : Taken or None
        The share of requests that are in the sample, if it is known whose it is.
    """

    place: str
    always: tuple[Term, ...]
    sometimes: tuple[Term, ...]
    sample: Array
    run: str
    opaque: str
    taken: Taken | None = None


def has_server_times(result: "Result") -> bool:
    """Whether a run attributes times to components, more finely than in whole ms."""
    times = result.frame[list(result.time_columns)].to_numpy()
    spent = times[times > 0]
    return len(spent) > 0 and bool((spent != np.rint(spent)).any())


def shown(
    result: "Result",
    scenario: "Scenario",
    *,
    seen: Mapping[str, Mapping[str, Column]],
    run: str,
    unfit: Mapping[str, set[int]],
) -> Iterator[Shown]:
    """Yield what each route of a run shows of each time category.

    Parameters
    ----------
    result : Result
    scenario : Scenario
    seen : mapping
        What each time category consists of, by route and category.
    run : str
        Its name, for messages.
    unfit : mapping of str to set of int
        By station, requests whose times at it are not those of a request alone.
    """
    frame = result.steady().frame
    ended = frame[(frame["outcome"] == "ok") & (frame["attempts"] <= 1)]
    known = chances(scenario)
    for route, found in seen.items():
        whole = ended[ended["route"] == route]
        alone = whole[whole["client_ms"] == 0]
        for category, column in found.items():
            left_out = {number for name in (category, *_stations(column)) for number in unfit.get(name, ())}
            rows = alone[~alone["request"].isin(left_out)] if left_out else alone
            if f"{category}_ms" in rows and len(rows):
                # CPU time has a column of its own, and is part of that of its Worker.
                inner = [name for name, outer in scenario.inner_columns.items() if outer == f"{category}_ms"]
                spent = rows[f"{category}_ms"] - rows[inner].sum(axis=1)
                opaque = column.opaque or _hedged(column.hedges, whole, scenario)
                place = f"{route}.{category}"
                yield _shown(rows.assign(spent_ms=spent), column, place=place, run=run, opaque=opaque, known=known)


def _stations(column: Column) -> set[str]:
    return {term.station for term in column.terms}


def _hedged(hedges: list[Hedged], rows: "pd.DataFrame", scenario: "Scenario") -> str:
    """Return which hedged step had a second copy started, by how many requests; empty if none had."""
    for one in hedges:
        outer = {scenario.inner_columns.get(f"{name}_ms", f"{name}_ms") for name in one.categories} & set(rows)
        late = (rows[sorted(outer)].sum(axis=1) >= one.after_ms) | (rows["client_ms"] > 0)
        if late.any():
            path = one.step.partition(" ")[0]
            return (
                f"{one.step} is hedged after {one.after_ms:g} ms, which {int(late.sum()):,} of {len(rows):,} requests "
                f"reached, so that times are those of the faster copy (play it without: --set {path}.hedge_ms=1e6)"
            )
    return ""


def _shown(
    rows: "pd.DataFrame", column: Column, *, place: str, run: str, opaque: str, known: Mapping[str, float]
) -> Shown:
    found = draws(column).values()
    always = tuple(term for term in found if term.chance == 1)
    some = tuple(term for term in found if 0 < term.chance < 1)
    by_state = tuple(term for term in found if isnan(term.chance))
    taken = None
    if not always and len({term.events for term in some}) == 1:
        # All that the category consists of comes together: who has none of its time did not take the step.
        hit = rows["spent_ms"] > ROUNDING_MS
        taken = _taken(some[0].events, int(hit.sum()), len(rows), known)
        rows, always, some = rows[hit], some, ()
    if always and by_state:
        # An object that was asked a moment ago is in memory: those requests have no cold start.
        rows, by_state = rows[rows.groupby("key")["arrival_ms"].diff() < WARM_GAP_MS], ()
    size = rows["size_bytes"].to_numpy(dtype=np.float64)
    transfer_ms = sum((size / speed * 1000 for speed in column.bytes_per_s), np.zeros(len(rows)))
    spent_ms = rows["spent_ms"].to_numpy() - transfer_ms
    # Sums of floating-point times differ by less than a millionth of a ms: that is none.
    sample = np.where(spent_ms < ROUNDING_MS, 0.0, spent_ms)
    return Shown(place, always, (*some, *by_state), sample, run, opaque, taken)


def _taken(events: tuple[tuple[str, bool], ...], hits: int, of: int, known: Mapping[str, float]) -> Taken | None:
    """Return the share that is counted, if one alone decides and a scenario has a key for it."""
    ((path, is_counted), *others) = events
    return Taken(path, hits if is_counted else of - hits, of) if path in known and not others else None


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
        self._count(all_shown)
        for one in all_shown:
            self._refuse(one)
        self.refused = {path: why for path, why in self.refused.items() if path not in self.found}

    def _unknown(self, terms: Iterable[Term]) -> list[Term]:
        return [t for t in terms if t.path not in self._zero and t.path not in self.found and t.path not in self.held]

    def _others(self, one: Shown) -> list[tuple[AnyDistribution, float]]:
        fitted = {path: found.law for path, found in self.found.items()}
        laws = {path: law.distribution for path, law in fitted.items() if isinstance(law, Law)} | dict(self.held)
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
        """Fit the one distribution of a sum that is not known yet, drawn once or more; return whether it was."""
        unknown = self._unknown(one.always)
        if one.sometimes or len({term.path for term in unknown}) != 1 or any(term.scale != 1 for term in unknown):
            return False
        path = unknown[0].path
        if path in self.refused:
            return False
        self._try(path, partial(fit_remainder, one.sample, self._others(one), copies=len(unknown)), [one])
        return path in self.found

    def _try(self, path: str, fit: Callable[..., Law], places: list[Shown]) -> None:
        try:
            self.found[path] = Found(path, fit(rng=self._seed(path), what=path), _source(places))
        except UsageError as error:
            self.refused[path] = str(error).removeprefix(f"{path}: ")

    def _count(self, all_shown: list[Shown]) -> None:
        """Estimate the shares of requests that have what not all have."""
        counted: dict[str, dict[tuple[str, str], tuple[Taken, Shown]]] = {}
        for one in all_shown:
            if one.taken is None or one.opaque or all(term.path in self._zero for term in one.always):
                continue
            # Several categories of a route show one share: that of the step of which they all are.
            counted.setdefault(one.taken.path, {})[one.run, one.place.partition(".")[0]] = (one.taken, one)
        for path, places in counted.items():
            hits, of = (sum(getattr(taken, what) for taken, _ in places.values()) for what in ("hits", "requests"))
            source = _source([one for _, one in places.values()])
            if hits < SAMPLE_MIN:
                self.refused[path] = f"{source}: {hits} of {of:,} requests had it, must be >= {SAMPLE_MIN} (play more)"
                continue
            share = proportion_interval(hits, of)
            self.found[path] = Found(
                path, Number(Interval(share.value, share.low, share.high), of, is_share=True), source
            )

    def _seed(self, path: str) -> int:
        return int(stream_key(self._rng, path)) % 2**32

    def _refuse(self, one: Shown) -> None:
        unknown = sorted({term.path for term in self._unknown((*one.always, *one.sometimes))})
        for path in unknown:
            if path in self.refused:
                continue
            if one.opaque:
                way_out = "" if one.opaque.endswith(")") else " (play a route that has it alone)"
                self.refused[path] = f"{one.place}: {one.opaque}{way_out}"
            elif len(unknown) > 1:
                others = ", ".join(other for other in unknown if other != path)
                self.refused[path] = (
                    f"{one.place} shows only its sum with {others} (give a log of one of them, or hold it: --hold PATH)"
                )
            elif len(one.sample) < SAMPLE_MIN:
                self.refused[path] = f"{one.place}: {len(one.sample)} requests, must be >= {SAMPLE_MIN} (play more)"
            else:
                self.refused[path] = f"{one.place} {_mixture(one)}"


def _mixture(one: Shown) -> str:
    """Return why a category of draws that only some requests have is no sum."""
    shares = list(dict.fromkeys(path for term in one.sometimes for path, _ in term.events))
    if not shares:
        return "adds several draws of it, of one scale each (play a route with one)"
    return (
        f"adds what only some requests have ({', '.join(shares)}) to what others have too (play a route that has it "
        "alone, or report its time under a name of its own in Server-Timing)"
    )


def _source(places: list[Shown]) -> str:
    """Return where samples are from: ``d1 of low.parquet (search, upload)``."""
    routes: dict[tuple[str, str], list[str]] = {}
    for one in places:
        route, _, category = one.place.rpartition(".")
        routes.setdefault((category, one.run), []).append(route)
    return "; ".join(f"{category} of {run} ({', '.join(names)})" for (category, run), names in routes.items())
