"""What whole latencies say of an object: shared turns, collections of garbage, or that they do not tell.

An object is an instance whose table has ``coalesced_ms`` (:mod:`sim.models.durable_objects`). Turns are shared where
that predicts latencies which it was not fitted to better than turns of their own
(:mod:`sim.experiments.calibration.sharing`). Pauses are collections where they come with requests and not by the clock.
What is not told is refused, with the run that would tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.found import Found, Number
from sim.experiments.calibration.laws import SAMPLE_MIN, Interval, Law, empirical_law, fit_law
from sim.experiments.calibration.pauses import GAPS_MIN, Pauses
from sim.experiments.calibration.seen import Term
from sim.experiments.calibration.shared_turns import REQUESTS_MIN, SharedTurns, tell_turns_apart
from sim.experiments.calibration.sharing import Run, Sharing, compare_turns, fit_own
from sim.models.component import Instance
from sim.randomness.distributions import Constant

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

TURN, EVERY, COLLECTION = "coalesced_ms", "collection_every_requests", "collection_ms"
QUARTER = 0.25
"""Share of the capacity at which requests meet often enough, and the queue empties often enough."""
KEYS_MAX = 2**62
"""More keys than any run has."""
LENGTHS_MIN = 2
"""Pauses of which the quantiles make a distribution."""


@dataclass
class Identified:
    """What runs of one route identified, and what they did not.

    Attributes
    ----------
    found : list of Found
    refused : dict of str to str
        By path, why not, and the run that would do.
    notes : list of str
    turns : dict of str to SharedTurns
        Paths whose times all change by one factor from run to run, with what says by how much.
    """

    found: list[Found] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    turns: dict[str, SharedTurns] = field(default_factory=dict)

    def take(self, other: "Identified") -> None:
        """Add what others runs identified; what is there already stays, and a note says so."""
        known = {one.path for one in self.found}
        self.found += [one for one in other.found if one.path not in known]
        self.notes += [
            f"{one.path} is known from {next(mine.source for mine in self.found if mine.path == one.path)}, so that "
            f"{one.source} is left out"
            for one in other.found
            if one.path in known
        ]
        self.refused |= other.refused
        self.notes += other.notes
        self.turns |= {path: turns for path, turns in other.turns.items() if path not in known}


def is_object(instance: Instance) -> bool:
    """Whether requests may share the turns of an instance."""
    return TURN in type(instance.table).model_fields


def objects_of(instance: Instance) -> int:
    """Return how many instances of a station the keys of a run are divided among: its key modulo this is its object.

    With an object per key it is more than there are keys, since a run may have more of them than the scenario.
    """
    assert instance.station is not None, "only what has a station is held"
    is_per_key = getattr(instance.table, "shards", None) == "per_key"
    return KEYS_MAX if is_per_key else instance.station.instances


def without_turns(scenario: "Scenario") -> "Scenario":
    """Return the scenario without shared turns and collections, which a calibration looks for by itself."""
    given = {
        f"system.{one.name}.{key}": None
        for one in scenario.met
        if is_object(one)
        for key in (TURN, EVERY, COLLECTION)
        if getattr(one.table, key) is not None
    }
    return scenario.with_(**given) if given else scenario


def told_of_object(runs: Sequence[Run], service: Term, *, delays: Sequence[Term], what: str, rng: int) -> Identified:
    """Return what latencies say of one object; nothing is found where turns are not shared, or that is not told.

    Parameters
    ----------
    runs : sequence of (sent_ms, latency_ms)
        In order of sending.
    service : Term
        What holds the object.
    delays : sequence of Term
        What else is not known of a latency: one at most.
    what : str
        Name of the runs, for messages.
    rng : int
        Seed.

    Raises
    ------
    UsageError
        Turns are shared, and the object is too busy for their times to be told.
    """
    told, path = Identified(), f"system.{service.station}.{TURN}"
    n = sum(len(sent_ms) for sent_ms, _ in runs)
    if n < 2 * REQUESTS_MIN:  # Each half is fitted to, and the other asked for.
        told.refused[path] = (
            f"{what}: {n:,} requests cannot tell shared turns from turns of their own, must be >= {2 * REQUESTS_MIN:,} "
            "(play more: --requests, and on a deployment workload.live_s)"
        )
        return told
    each = runs if min(len(sent_ms) for sent_ms, _ in runs) >= REQUESTS_MIN else [joined(runs)]
    sharing = compare_turns(each)
    if sharing.is_own:
        told.notes.append(f"{what}: requests do not share the turns of {service.station} ({sharing})")
    elif not sharing.is_shared:
        told.refused[path] = f"{what}: {_undecided(sharing, each)}"
    else:
        _take(told, tell_turns_apart(each, rng=rng, what=what), sharing, service=service, delays=delays, what=what)
    return told


def joined(runs: Sequence[Run]) -> Run:
    """Return runs one after another, with an idle time between in which the last answers of each come."""
    sent, latencies, at_ms = [], [], 0.0
    for sent_ms, latency_ms in runs:
        since_ms = sent_ms - sent_ms[0]
        sent.append(at_ms + since_ms)
        latencies.append(latency_ms)
        at_ms += float((since_ms + latency_ms).max()) + float(np.median(latency_ms))
    return np.concatenate(sent), np.concatenate(latencies)


def _undecided(sharing: Sharing, runs: Sequence[Run]) -> str:
    """Return why shared turns are not told, and the run that would tell."""
    service_ms = fit_own(runs)
    rate = f"at {1000 * QUARTER / service_ms:.0f}/s, a quarter of capacity" if service_ms > 0 else "at a higher rate"
    return (
        f"shared turns and turns of their own predict the latencies equally well ({sharing}; they differ in "
        f"{sharing.differing_requests:,} of {sharing.n:,} requests; play {max(4 * sharing.n, 10_000):,} requests of "
        f"one key {rate})"
    )


def _take(
    told: Identified, turns: SharedTurns, sharing: Sharing, *, service: Term, delays: Sequence[Term], what: str
) -> None:
    """Write down what shared turns take."""
    place, scale = f"system.{service.station}", service.scale
    busy = turns.lone_ms.value * turns.rate_per_s / 1000
    at = f"waits in {what} at utilization {busy:.2f} (shared turns: {sharing})"
    lone = Interval(turns.lone_ms.value / scale, turns.lone_ms.low / scale, turns.lone_ms.high / scale)
    told.found.append(Found(service.path, Law(Constant(value=lone.value), {"value": lone}, turns.n), at))
    further = Number(turns.further_ms, turns.n)
    told.found.append(Found(f"{place}.{TURN}", further, at))
    if delays:
        told.found.append(Found(delays[0].path, turns.delay, f"latencies of {what} without a wait, less the lone turn"))
    add_collections(told, turns.pauses, place=place, what=what, of=turns.n)
    told.turns = {one.path: turns for one in told.found if one.path != f"{place}.{EVERY}"}
    told.notes += _remarks(turns, what=what)


def add_collections(told: Identified, pauses: Pauses, *, place: str, what: str, of: int) -> None:
    """Write down the collections that pauses are, or why they are none.

    Parameters
    ----------
    told : Identified
        Is added to.
    pauses : Pauses
    place : str
        Path of the object's table.
    what : str
        Name of the runs.
    of : int
        Their requests.
    """
    count, every = len(pauses.length_ms), pauses.every_requests
    if every is None or not count:
        told.notes.append(f"{what}: no pause of {place.removeprefix('system.')} in {of:,} requests")
        return
    typical_ms = float(np.median(pauses.length_ms))
    seen = f"{what}: {count} pauses of some {typical_ms:.3g} ms, one in {every.value:,.0f} requests,"
    if count <= GAPS_MIN:
        told.notes.append(
            f"{what}: {count} pause{'s'[: count - 1]} of some {typical_ms:.3g} ms in {of:,} requests, in no "
            f"distribution: {GAPS_MIN + 1} would say whether they come with requests (play more)"
        )
    elif pauses.come_with == "requests":
        source = f"{count} pauses in {what}, {'regular' if pauses.is_regular else 'roughly so'} in requests"
        lengths_ms = np.maximum(pauses.length_ms, 0.0)
        law = fit_law if count >= SAMPLE_MIN else _few
        told.found.append(Found(f"{place}.{EVERY}", Number(every, of, whole=True), source))
        told.found.append(Found(f"{place}.{COLLECTION}", law(lengths_ms, rng=0, what=COLLECTION), source))
    elif pauses.come_with == "time":
        told.notes.append(f"{seen} come by the clock, not with requests: they are in no distribution")
    else:
        told.refused[f"{place}.{EVERY}"] = told.refused[f"{place}.{COLLECTION}"] = (
            f"{seen} are as regular by the clock as by requests, or neither (add a run at half of the rate, and play "
            f"{max(10.0, 10 * every.value):,.0f} requests or more in each)"
        )


def _few(lengths_ms: Array, *, rng: int, what: str) -> Law:  # noqa: ARG001  # one signature for both
    """Return few lengths as their own quantiles."""
    return empirical_law(np.resize(lengths_ms, max(len(lengths_ms), LENGTHS_MIN)), np.random.default_rng(rng))


def _remarks(turns: SharedTurns, *, what: str) -> list[str]:
    """Return what was found beside, and is in no key of a scenario."""
    found, slope = [], turns.delay_slope_ms
    if slope.low > 0 or slope.high < 0:
        found.append(
            f"{what}: a lone latency changes by {1000 * slope.value:.3g} ms [{1000 * slope.low:.3g}, "
            f"{1000 * slope.high:.3g}] for each 1,000 requests/s more; no key of a scenario says so"
        )
    if len(turns.run_log_ratios) > 1:
        spread = float(np.expm1(turns.run_log_ratios.std(ddof=1)))
        found.append(
            f"{what}: lone latencies differ by {100 * spread:.2g} % from run to run; Calibration.drawn draws it"
        )
    return found
