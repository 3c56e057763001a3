"""Shared turns and collections of objects, seen in the times that a run attributes to components.

The first request of a shared turn does the work of all: the others waited, and took hardly any time of their own
(:mod:`sim.models.durable_objects`). With turns of their own, requests that waited do as much work as those that did
not; so a one-sided Kolmogorov-Smirnov test of the two tells shared turns, and the share of those that waited which its
distance is passed with another's turn. What the first ones of turns took the object beyond those that passed, over the
number of these, is the further time. A collection shows as a time of the object far beyond its others, after so many
requests. Both hold for many objects as for one. Requests that waited, and those that met a collection, then say nothing
of work and way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, log, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sim.experiments.calibration.found import Found, Number
from sim.experiments.calibration.laws import SAMPLE_MIN, Interval
from sim.experiments.calibration.objects import QUARTER, TURN, Identified, add_collections, is_object, objects_of
from sim.experiments.calibration.pauses import pauses_of
from sim.experiments.calibration.seen import Column, draws

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

NOTHING_MS = 1e-6
BLOCKS = 40
SIGNIFICANCE = 1e-3
"""Of the test that finds shared turns."""
MARGIN = 1.5
"""Requests that would have passed must be so many times those that the test could just see."""
FAR_RANGES, FAR_WORKS = 12.0, 5.0
"""A collection is beyond the median by so many interquartile ranges of the object's time, and by so many works."""


@dataclass
class ObjectTurns(Identified):
    """What server times of one run say of its objects.

    Attributes
    ----------
    unfit : dict of str to set of int
        By object's name, the requests whose times at it are not those of a lone request.
    """

    unfit: dict[str, set[int]] = field(default_factory=dict)


def object_turns(
    result: "Result", scenario: "Scenario", *, seen: Mapping[str, Mapping[str, Column]], zero: frozenset[str], run: str
) -> ObjectTurns:
    """Return what the server times of a run say of shared turns and collections.

    Parameters
    ----------
    result : Result
    scenario : Scenario
    seen : mapping
        What each time category consists of, by route and category.
    zero : set of str
        Paths whose distribution is always 0.
    run : str
        Its name, for messages.
    """
    told = ObjectTurns()
    frame = result.steady().frame
    frame = frame[frame["outcome"] == "ok"]
    for instance in scenario.met:
        if is_object(instance) and instance.station is not None:
            works, mixed = _works(instance.name, seen, zero)
            used = frame[frame["route"].isin([*works, *mixed])]
            if mixed and len(used):
                told.refused[f"system.{instance.name}.{TURN}"] = (
                    f"{run}: {mixed[0]} adds the work of {instance.name} to its way, so nobody is seen to pass with "
                    "another's turn (give whole latencies of one key: a CSV of time and latency)"
                )
            elif len(used):
                _of_object(told, used, instance.name, works, objects=objects_of(instance), run=run)
    return told


def _works(
    name: str, seen: Mapping[str, Mapping[str, Column]], zero: frozenset[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the category of the object's work by route, and the routes whose work is in one category with others."""
    works, mixed = {}, []
    for route, found in seen.items():
        for category, column in found.items():
            terms = [term for term in draws(column).values() if term.chance == 1 and term.path not in zero]
            held = [term for term in terms if term.station == name]
            if held and (len(held) < len(terms) or column.opaque):
                mixed.append(route)
            elif held:
                works[route] = f"{category}_ms"
    return works, mixed


def _of_object(
    told: ObjectTurns, used: pd.DataFrame, name: str, works: Mapping[str, str], *, objects: int, run: str
) -> None:
    """Find the turns and collections of the objects of one namespace."""
    rows = used.assign(
        object=used["key"].to_numpy() % objects,
        work_ms=np.select([used["route"] == route for route in works], [used[column] for column in works.values()]),
        waited_ms=used[f"{name}_queue_ms"],
        spent_ms=used[f"{name}_ms"],
    )
    rows = rows.sort_values("arrival_ms", kind="stable")
    waited = rows["waited_ms"] > NOTHING_MS
    own_ms = rows["spent_ms"] - rows.groupby("route", observed=True)["spent_ms"].transform("median")
    far = _far(rows, own_ms, ~waited)
    if far.any():
        _collections(told, rows[far], own_ms[far], rows, name=name, run=run)
    unfit = far if f"system.{name}.collection_ms" in {one.path for one in told.found} else far & False
    if _shared(told, rows[~unfit], waited[~unfit], f"system.{name}.{TURN}", name=name, run=run):
        unfit |= waited
    told.unfit[name] = set(rows.loc[unfit, "request"])


def _shared(
    told: ObjectTurns, rows: pd.DataFrame, waited: "pd.Series[bool]", path: str, *, name: str, run: str
) -> bool:
    """Find shared turns, or say why not; return whether there are any."""
    alone_ms, waited_ms = (np.sort(rows.loc[one, "work_ms"].to_numpy()) for one in (~waited, waited))
    behind = _behind(rows)
    # The number that must have passed for the test to see it: the distance at which its p-value is small enough.
    least = len(waited_ms) * sqrt(-log(SIGNIFICANCE) / 2 * (1 / max(len(alone_ms), 1) + 1 / max(len(waited_ms), 1)))
    least = max(MARGIN * least, float(SAMPLE_MIN))
    if behind < least:
        work_ms = float(rows["work_ms"].mean())
        rate = f" --rate {1000 * QUARTER / work_ms:.3g}" if work_ms > 0 else ""
        told.refused[path] = (
            f"{run}: {behind} requests waited behind one that waited, must be >= {ceil(least)} to tell shared turns "
            f"from turns of their own (play more, of one key: --set workload.keys.count=1{rate})"
        )
        return False
    test = stats.ks_2samp(waited_ms, alone_ms, alternative="greater", method="asymp")
    if test.pvalue >= SIGNIFICANCE:
        told.notes.append(
            f"{run}: requests do not share the turns of {name}: those that waited do as much work as others "
            f"(p = {test.pvalue:.2g}; {behind:,} waited behind another that waited)"
        )
        return False
    little_ms = float(test.statistic_location)
    usual = float((alone_ms <= little_ms).mean())
    has_little = rows["work_ms"].to_numpy() <= little_ms
    passed = np.asarray(waited * (has_little - usual) / (1 - usual), dtype=np.float64)
    further = _further(rows, waited, passed)
    source = f"some {passed.sum():,.0f} requests of {run} that passed with another's turn"
    told.found.append(Found(path, Number(further, len(rows)), source))
    return True


def _behind(rows: pd.DataFrame) -> int:
    """Return how many requests waited behind one that waited at the same object."""
    behind = 0
    for _, one in rows.groupby("object"):
        sent_ms, waited_ms = one["arrival_ms"].to_numpy(), one["waited_ms"].to_numpy()
        both = (waited_ms[1:] > NOTHING_MS) & (waited_ms[:-1] > NOTHING_MS)
        behind += int((both & (sent_ms[1:] < sent_ms[:-1] + waited_ms[:-1])).sum())
    return behind


def _further(rows: pd.DataFrame, waited: "pd.Series[bool]", passed: Array) -> Interval:
    """Return what a further request adds to a turn: what first ones of turns took more than those that passed.

    Parameters
    ----------
    rows : DataFrame
    waited : Series of bool
    passed : ndarray, shape (n,)
        Weights that add up to the number of requests that passed: sums of a time with them are those of such requests.
    """
    alone = rows[~waited]
    usual_ms = rows["route"].map(alone.groupby("route", observed=True)["spent_ms"].mean()).astype(np.float64)
    more_ms = (rows["spent_ms"] - usual_ms).to_numpy()
    first, count = waited.to_numpy(dtype=np.float64) - passed, float(passed.sum())
    # Who waited also has another way than who did not, so that first ones are held against those that passed. Where the
    # object's own time is the work, those have none of it: then lone requests are the measure.
    is_own = bool((rows["spent_ms"] == rows["work_ms"]).all())
    level_ms = 0.0 if is_own else float(passed @ more_ms) / count
    further_ms = float(first @ (more_ms - level_ms)) / count
    weight = first if is_own else first - passed * (first.sum() / count)
    usual = float(alone["spent_ms"].var()) / max(len(alone), 1) * float(first.sum()) ** 2 if is_own else 0.0
    starts = np.linspace(0, len(rows), min(BLOCKS, len(rows)) + 1).astype(np.int64)[:-1]
    left = np.add.reduceat(weight * (more_ms - level_ms) - further_ms * passed, starts)
    half = 1.96 * sqrt(float(left @ left) * len(left) / (len(left) - 1) + usual) / count
    return Interval(max(0.0, further_ms), max(0.0, further_ms - half), max(0.0, further_ms) + half)


def _far(rows: pd.DataFrame, own_ms: "pd.Series[float]", alone: "pd.Series[bool]") -> "pd.Series[bool]":
    """Return which requests took the object far longer than others did."""
    if not alone.any():
        return own_ms > np.inf
    low, high = np.quantile(own_ms[alone], [0.25, 0.75])
    return own_ms > max(FAR_RANGES * float(high - low), FAR_WORKS * float(rows["work_ms"].quantile(0.9)))


def _collections(
    told: ObjectTurns, far: pd.DataFrame, far_ms: "pd.Series[float]", rows: pd.DataFrame, *, name: str, run: str
) -> None:
    """Find collections: what is far beyond the others, after so many requests of one object."""
    number = rows.groupby("object").cumcount()
    groups = list(_by_object(far))
    places = [np.asarray(number[one.index], dtype=np.int64) for one in groups]
    starts = [one["arrival_ms"].to_numpy() for one in groups]
    lengths_ms = np.concatenate([far_ms[one.index].to_numpy() for one in groups])
    pauses = pauses_of(lengths_ms, starts, place=places, requests=len(rows))
    if pauses.come_with == "requests":
        add_collections(told, pauses, place=f"system.{name}", what=run, of=len(rows))


def _by_object(far: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for _, one in far.groupby("object"):
        yield one
