"""Distributions from whole latencies, where a run attributes no time to components.

A latency alone is one sum. It identifies one delay if everything else is known, or one delay and the service of one
server that works in order of arrival (:mod:`sim.experiments.calibration.single_server`); of an object, also whether
requests share its turns (:mod:`sim.experiments.calibration.objects`). Anything more is refused. Runs of one route are
taken together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.found import Found
from sim.experiments.calibration.laws import Interval, Law, fit_law
from sim.experiments.calibration.objects import (
    TURN,
    Identified,
    add_collections,
    is_object,
    joined,
    objects_of,
    told_of_object,
    without_turns,
)
from sim.experiments.calibration.pauses import Pauses, long_ones, pauses_of
from sim.experiments.calibration.seen import Term, columns, draws
from sim.experiments.calibration.single_server import tell_apart
from sim.experiments.calibration.stalls import Stalls
from sim.flow import ELASTIC
from sim.foundation.errors import UsageError
from sim.models.component import Instance
from sim.randomness.distributions import AnyDistribution, Constant
from sim.scenario.recorded import read_trace

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

HOW = "no server times in it (record Server-Timing, give a log, or hold all but one: --hold PATH)"


@dataclass(frozen=True)
class Latencies:
    """Latencies of one run or trace, whole.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    routes : tuple of str
        Whose requests they are.
    sent_ms, latency_ms : ndarray, shape (n,)
        From the actual sending.
    resolution_ms : float
        Width of the stamps, when they are coarser than the traffic, else 0.
    keys : ndarray or None, shape (n,)
        What keyed instances are selected by; None where it is not known.
    """

    name: str
    routes: tuple[str, ...]
    sent_ms: Array
    latency_ms: Array
    resolution_ms: float = 0.0
    keys: NDArray[np.int64] | None = None

    def met(self, instance: Instance) -> int:
        """Return how many of an instance's queues the requests went to."""
        assert instance.station is not None, "only what has a station has a queue"
        return instance.station.instances if self.keys is None else len(np.unique(self.keys % objects_of(instance)))


def latencies_of(result: "Result", *, run: str) -> Latencies:
    """Return the latencies of a run's successes.

    Raises
    ------
    UsageError
        The load generator was late: its latencies are its own.
    """
    if not result.valid:
        why = "; ".join(note for note in result.notes if note.startswith("INVALID"))
        raise UsageError(f"{run}: the load generator was late, so its latencies calibrate nothing ({why})")
    frame = result.steady().frame
    frame = frame[(frame["outcome"] == "ok") & (frame["attempts"] <= 1)]
    sent_ms, latency_ms = frame["arrival_ms"].to_numpy(), frame["latency_ms"].to_numpy()
    if "send_lag_ms" in frame:
        sent_ms, latency_ms = sent_ms + frame["send_lag_ms"].to_numpy(), frame["service_latency_ms"].to_numpy()
    routes, keys = tuple(map(str, frame["route"].unique())), frame["key"].to_numpy()
    return Latencies(run, routes, sent_ms, latency_ms, keys=keys)


def latencies_of_trace(path: Path, scenario: "Scenario") -> Latencies:
    """Return the latencies of a trace's successes: a file with a column of latencies (:func:`sim.read_trace`).

    Raises
    ------
    UsageError
        It holds none.
    """
    trace = read_trace(path, scenario)
    if trace.latency_ms is None:
        raise UsageError(
            f"{path.name} has no column of latencies, so it calibrates nothing (headroom plan --trace plays it)"
        )
    good = np.isfinite(trace.latency_ms)
    if trace.status is not None:
        good &= trace.status < 400  # HTTP's errors
    codes = np.full(len(trace), -1) if trace.route_code is None else trace.route_code
    names = list(scenario.routes)
    shares = [name for name, route in scenario.routes.items() if route.share]
    routes = [names[code] for code in np.unique(codes[good]) if code >= 0] or shares
    keys = None if trace.key is None or (trace.key < 0).any() else trace.key[good]
    return Latencies(
        path.name, tuple(routes), trace.arrival_ms[good], trace.latency_ms[good], trace.resolution_ms, keys
    )


def from_totals(
    seen: Sequence[Latencies],
    scenario: "Scenario",
    *,
    held: Mapping[str, AnyDistribution],
    zero: frozenset[str],
    rng: int,
) -> Identified:
    """Identify what latencies tell, runs of one route together.

    Raises
    ------
    UsageError
        They tell nothing by themselves, or a run is not fit for it.
    """
    by_route: dict[str, list[Latencies]] = {}
    for one in seen:
        if len(one.routes) != 1:
            raise UsageError(f"{one.name}: {len(one.routes)} routes share its latencies, must be one, with {HOW}")
        by_route.setdefault(one.routes[0], []).append(one)
    told = Identified()
    for route, runs in by_route.items():
        told.take(_of_route(route, runs, scenario, held=held, zero=zero, rng=rng))
    return told


def _of_route(
    route: str,
    runs: Sequence[Latencies],
    scenario: "Scenario",
    *,
    held: Mapping[str, AnyDistribution],
    zero: frozenset[str],
    rng: int,
) -> Identified:
    """Identify what the latencies of one route tell."""
    what = ", ".join(run.name for run in runs)
    slowest_ms = max(float(run.latency_ms.max(initial=0.0)) for run in runs)
    shift, unknown = _split(_terms(scenario, route, what, slowest_ms), what, held=held, zero=zero)
    services = [term for term in unknown if _is_served(scenario, term)]
    delays = [term for term in unknown if term not in services]
    if len(services) > 1 or len(delays) > 1 or not unknown:
        raise UsageError(f"{what}: {route} adds {_listed(unknown)}, with {HOW}")
    _refuse_shares(unknown, route, what)
    ordered = [_in_order(run, shift) for run in runs]
    if services:
        return _served(scenario, services[0], delays, runs, ordered, rng=rng)
    (delay,) = delays
    latency_ms = np.concatenate([latency_ms for _, latency_ms in ordered])
    law = fit_law(latency_ms / delay.scale, rng=rng, what=delay.path)
    return Identified([Found(delay.path, law, f"latencies of {what}")])


def _listed(terms: Sequence[Term]) -> str:
    """Return the paths of terms, each once, with how often a request draws it."""
    often = Counter(term.path for term in terms)
    return ", ".join(path if times == 1 else f"{times} draws of {path}" for path, times in often.items()) or "nothing"


def _refuse_shares(terms: Sequence[Term], route: str, what: str) -> None:
    """Refuse a term that only some requests have: their latencies do not say which."""
    for term in terms:
        if term.chance != 1:
            shares = ", ".join(path for path, _ in term.events)
            raise UsageError(f"{what}: only some requests of {route} have {term.path} ({shares}), with {HOW}")


def _in_order(run: Latencies, shift_ms: float) -> tuple[Array, Array]:
    """Return the times of sending, in order, with the latencies less what is held."""
    order = np.argsort(run.sent_ms, kind="stable")
    return run.sent_ms[order], np.maximum(run.latency_ms[order] - shift_ms, 0.0)


def _split(
    terms: list[Term], run: str, *, held: Mapping[str, AnyDistribution], zero: frozenset[str]
) -> tuple[float, list[Term]]:
    """Return what is held, in ms, and the terms that are not known."""
    shift, unknown = 0.0, []
    for term in terms:
        law = held.get(term.path)
        if term.path in zero:
            continue
        if law is None:
            unknown.append(term)
        elif isinstance(law, Constant) and term.chance == 1:
            shift += law.value * term.scale
        else:
            raise UsageError(
                f"{run}: {term.path} is held but varies; of whole latencies only constants can be taken off"
            )
    return shift, unknown


def _terms(scenario: "Scenario", route: str, run: str, slowest_ms: float) -> list[Term]:
    terms = []
    for category, column in columns(without_turns(scenario))[route].items():
        hedged = [one for one in column.hedges if slowest_ms >= one.after_ms]
        why = column.opaque or ("the request's bytes take time" if column.bytes_per_s else "")
        if hedged:
            why = f"{hedged[0].step} is hedged after {hedged[0].after_ms:g} ms, and some requests took longer"
        if why:
            raise UsageError(f"{run}: {route}.{category}: {why}, with {HOW}")
        terms += [term for term in draws(column).values() if term.chance == 1 or 0 < term.chance < 1]
    return terms


def _is_served(scenario: "Scenario", term: Term) -> bool:
    """Whether the term holds one server that works in order of arrival."""
    if not term.station:
        return False
    station = scenario.system.instances[term.station].station
    return station is not None and station.servers != ELASTIC


def _served(
    scenario: "Scenario",
    service: Term,
    delays: list[Term],
    runs: Sequence[Latencies],
    ordered: Sequence[tuple[Array, Array]],
    *,
    rng: int,
) -> Identified:
    """Tell the service of one server from the delay; of an object, first whether its turns are shared."""
    instance, what = scenario.system.instances[service.station], ", ".join(run.name for run in runs)
    assert instance.station is not None, "only what holds a station is a service"
    _check_station(instance, runs, servers=instance.station.servers)
    told = Identified()
    if is_object(instance):
        told = told_of_object(ordered, service, delays=delays, what=what, rng=rng)
        if told.found:
            return told
        if getattr(instance.table, TURN) is not None:
            raise UsageError(
                f"{what}: {told.refused.get(f'system.{service.station}.{TURN}') or told.notes[-1]}, but the scenario "
                f"has system.{service.station}.{TURN} (take it out, or give runs that tell)"
            )
    sent_ms, latency_ms = joined(ordered) if len(ordered) > 1 else ordered[0]
    found = tell_apart(sent_ms, latency_ms, rng=rng, what=what)
    intervals = {"mean": _scaled(found.service_mean_ms, service.scale), "cv2": found.service_cv2}
    at = f"waits in {what} at utilization {found.utilization:.2f}"
    told.found.append(Found(service.path, Law(found.service, intervals, found.n), at))
    if delays:
        told.found.append(Found(delays[0].path, found.delay, f"latencies of {what} without a wait, less the service"))
    if is_object(instance):
        place = f"system.{service.station}"
        add_collections(told, _pauses(sent_ms, latency_ms, found.stalls), place=place, what=what, of=found.n)
    elif len(found.stalls.length_ms):
        stalls = found.stalls
        told.notes.append(
            f"{what}: {len(stalls.length_ms)} stalls ({stalls.per_s:.2g} a second, up to "
            f"{stalls.length_ms.max():.3g} ms) are in no distribution: they come by the clock, not with a request"
        )
    return told


def _pauses(sent_ms: Array, latency_ms: Array, stalls: Stalls) -> Pauses:
    """Return the long stalls as pauses."""
    (is_long,) = long_ones([stalls.length_ms])
    start_ms = stalls.start_ms[is_long]
    place = np.searchsorted(sent_ms, start_ms)
    length_ms = latency_ms[place] - float(np.median(latency_ms))
    return pauses_of(length_ms, [start_ms], place=[place], requests=len(sent_ms))


def _check_station(instance: Instance, runs: Sequence[Latencies], *, servers: int) -> None:
    """Refuse runs from which one server cannot be told."""
    for run in runs:
        met = run.met(instance)
        if servers != 1 or met != 1:
            raise UsageError(
                f"{run.name}: {instance.name} has {met} instances of {servers} servers; only one of one can be told "
                "from its latencies (play one key: --set workload.keys.count=1)"
            )
        if run.resolution_ms:
            raise UsageError(
                f"{run.name}: stamps in steps of {run.resolution_ms:g} ms do not say who waited for whom, so service "
                "and delay are confounded (log times in ms, or record Server-Timing)"
            )


def _scaled(interval: Interval, scale: float) -> Interval:
    return Interval(interval.value / scale, interval.low / scale, interval.high / scale)
