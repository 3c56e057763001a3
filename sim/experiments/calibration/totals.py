"""Distributions from whole latencies, where a run attributes no time to components.

A latency alone is one sum. It identifies one delay if everything else is known, or one delay and the service of one
server that works in order of arrival (:mod:`sim.experiments.calibration.single_server`). Anything more is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.components import Found
from sim.experiments.calibration.laws import Interval, Law, fit_law
from sim.experiments.calibration.seen import Term, columns, draws
from sim.experiments.calibration.single_server import tell_apart
from sim.flow import ELASTIC
from sim.foundation.errors import UsageError
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
    """

    name: str
    routes: tuple[str, ...]
    sent_ms: Array
    latency_ms: Array
    resolution_ms: float = 0.0


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
    return Latencies(run, tuple(map(str, frame["route"].unique())), sent_ms, latency_ms)


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
    return Latencies(path.name, tuple(routes), trace.arrival_ms[good], trace.latency_ms[good], trace.resolution_ms)


def from_totals(
    seen: Latencies, scenario: "Scenario", *, held: Mapping[str, AnyDistribution], zero: frozenset[str], rng: int
) -> tuple[list[Found], list[str]]:
    """Identify what the latencies of one route tell; return it with remarks.

    Raises
    ------
    UsageError
        They tell nothing by themselves, or the run is not fit for it.
    """
    if len(seen.routes) != 1:
        raise UsageError(f"{seen.name}: {len(seen.routes)} routes share its latencies, must be one, with {HOW}")
    (route,) = seen.routes
    shift, unknown = _split(_terms(scenario, route, seen.name), seen.name, held=held, zero=zero)
    services = [term for term in unknown if _is_served(scenario, term)]
    delays = [term for term in unknown if term not in services]
    if len(services) > 1 or len(delays) > 1 or not unknown:
        names = ", ".join(term.path for term in unknown) or "nothing"
        raise UsageError(f"{seen.name}: {route} adds {names}, with {HOW}")
    latency_ms = np.maximum(seen.latency_ms - shift, 0.0)
    if not services:
        (delay,) = delays
        law = fit_law(latency_ms / delay.scale, rng=rng, what=delay.path)
        return [Found(delay.path, law, f"latencies of {seen.name}")], []
    return _served(scenario, services[0], delays, replace(seen, latency_ms=latency_ms), rng=rng)


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
        elif isinstance(law, Constant):
            shift += law.value * term.scale
        else:
            raise UsageError(
                f"{run}: {term.path} is held but varies; of whole latencies only constants can be taken off"
            )
    return shift, unknown


def _terms(scenario: "Scenario", route: str, run: str) -> list[Term]:
    terms = []
    for category, column in columns(scenario)[route].items():
        if column.opaque or column.bytes_per_s:
            why = column.opaque or "the request's bytes take time"
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
    scenario: "Scenario", service: Term, delays: list[Term], seen: Latencies, *, rng: int
) -> tuple[list[Found], list[str]]:
    """Tell the service of one server from the delay."""
    station = scenario.system.instances[service.station].station
    assert station is not None, "only what holds a station is a service"
    if station.servers != 1 or station.instances != 1:
        raise UsageError(
            f"{seen.name}: {service.station} has {station.instances} instances of {station.servers} servers; only one "
            "of one can be told from its latencies (play one key)"
        )
    if seen.resolution_ms:
        raise UsageError(
            f"{seen.name}: stamps in steps of {seen.resolution_ms:g} ms do not say who waited for whom, so service and "
            "delay are confounded (log times in ms, or record Server-Timing)"
        )
    found = tell_apart(seen.sent_ms, seen.latency_ms, rng=rng, what=seen.name)
    intervals = {"mean": _scaled(found.service_mean_ms, service.scale), "cv2": found.service_cv2}
    at = f"waits in {seen.name} at utilization {found.utilization:.2f}"
    laws = [Found(service.path, Law(found.service, intervals, found.n), at)]
    if delays:
        laws.append(Found(delays[0].path, found.delay, f"latencies of {seen.name} without a wait, less the service"))
    stalls, notes = found.stalls, []
    if len(stalls.length_ms):
        notes.append(
            f"{seen.name}: {len(stalls.length_ms)} stalls ({stalls.per_s:.2g} a second, up to "
            f"{stalls.length_ms.max():.3g} ms) are in no distribution: they come by the clock, not with a request"
        )
    return laws, notes


def _scaled(interval: Interval, scale: float) -> Interval:
    return Interval(interval.value / scale, interval.low / scale, interval.high / scale)
