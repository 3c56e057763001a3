"""Distributions from whole latencies, where a run attributes no time to components.

A latency alone is one sum. It identifies one delay if everything else is known, or one delay and the service of one
server that works in order of arrival (:mod:`sim.experiments.calibration.single_server`). Anything more is refused.
"""

from collections.abc import Mapping
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

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

HOW = "no server times in it (record Server-Timing, give a log, or hold all but one: --hold PATH)"


def from_totals(
    result: "Result",
    scenario: "Scenario",
    *,
    held: Mapping[str, AnyDistribution],
    zero: frozenset[str],
    rng: int,
    run: str,
) -> list[Found]:
    """Identify what the latencies of one route tell.

    Raises
    ------
    UsageError
        They tell nothing by themselves, or the run is not fit for it.
    """
    if not result.valid:
        raise UsageError(
            f"{run}: the load generator was late, so its latencies calibrate nothing ({'; '.join(result.notes)})"
        )
    frame = result.steady().frame
    frame = frame[(frame["outcome"] == "ok") & (frame["attempts"] <= 1)]
    played = [str(route) for route in frame["route"].unique()]
    if len(played) != 1:
        raise UsageError(f"{run}: {len(played)} routes share its latencies, must be one, with {HOW}")
    (route,) = played
    terms = _terms(scenario, route, run)
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
    services = [term for term in unknown if _is_served(scenario, term)]
    delays = [term for term in unknown if term not in services]
    if len(services) > 1 or len(delays) > 1 or not unknown:
        names = ", ".join(term.path for term in unknown) or "nothing"
        raise UsageError(f"{run}: {route} adds {names}, with {HOW}")
    sent_ms, latency_ms = _times(frame)
    return _solved(scenario, services, delays, sent_ms, latency_ms - shift, rng=rng, run=run)


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


def _times(frame: "pd.DataFrame") -> tuple[Array, Array]:
    """Return times of sending and latencies from there, of a live run or of a simulated one."""
    if "send_lag_ms" in frame:
        return (frame["arrival_ms"] + frame["send_lag_ms"]).to_numpy(), frame["service_latency_ms"].to_numpy()
    return frame["arrival_ms"].to_numpy(), frame["latency_ms"].to_numpy()


def _solved(
    scenario: "Scenario",
    services: list[Term],
    delays: list[Term],
    sent_ms: Array,
    latency_ms: Array,
    *,
    rng: int,
    run: str,
) -> list[Found]:
    if not services:
        (delay,) = delays
        return [
            Found(
                delay.path,
                fit_law(np.maximum(latency_ms, 0.0) / delay.scale, rng=rng, what=delay.path),
                f"latencies of {run}",
            )
        ]
    (service,) = services
    station = scenario.system.instances[service.station].station
    assert station is not None, "only what holds a station is a service"
    if station.servers != 1 or station.instances != 1:
        raise UsageError(
            f"{run}: {service.station} has {station.instances} instances of {station.servers} servers; only one of one "
            "can be told from its latencies (play one key)"
        )
    found = tell_apart(sent_ms, np.maximum(latency_ms, 0.0), rng=rng, what=run)
    intervals = {"mean": _scaled(found.service_mean_ms, service.scale), "cv2": found.service_cv2}
    laws = [
        Found(
            service.path,
            Law(found.service, intervals, found.n),
            f"waits in {run} at utilization {found.utilization:.2f}",
        )
    ]
    if delays:
        laws.append(Found(delays[0].path, found.delay, f"latencies of {run} without a wait, less the service"))
    return laws


def _scaled(interval: Interval, scale: float) -> Interval:
    return Interval(interval.value / scale, interval.low / scale, interval.high / scale)
