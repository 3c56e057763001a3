"""Where may a balance live: how many updates of one value are lost, by where it is read and written.

An update reads a value, adds to it and writes it back. If another update of the same value is executed between its read
and its write, it writes over that other's, which is lost. Three designs are played on the same requests: a read and a
write of D1 by a Worker, one UPDATE statement of D1, and an update inside a Durable Object, which handles one event at a
time. The last two lose none, so atomicity alone does not decide for the object.

Sources
-------
Gray and Reuter, "Transaction Processing", 1993, section 7.6 (lost updates). Hazard H8 (docs/HAZARDS.md) is the same
race around a call to another service. For Poisson updates of rate λ and a window of w between read and write the share
that writes over another's is 1 - E exp(-λ w), if the statements themselves take no time; else it is an upper bound,
since nobody else is executed meanwhile.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sim.engines.simpy_engine import simulate
from sim.experiments.replications import spawned_seeds
from sim.flow import Custom, Delay, Flow, Hold, Serve
from sim.foundation.errors import UsageError
from sim.models import durable_objects
from sim.scenario.generation import schedule
from sim.scenario.injection import rewritten
from sim.statistics.intervals import Estimate, mean_interval, proportion_interval

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

Design = Literal["read then write", "one statement", "object"]
DESIGNS: tuple[Design, ...] = get_args(Design)
UPDATES = 20_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LostUpdates:
    """The updates that one design loses.

    Attributes
    ----------
    design : str
    updates : int
        Played, of all keys and seeds.
    lost : Estimate
        Share of updates that are written over; of several seeds the interval is over them.
    predicted_share : float
        1 - E exp(-λ w) over the updates that were played, λ being the rate of each one's key; 0
        where both are executed at once.
    window_ms_mean : float
        Mean time between the read and the write of an update.
    """

    design: Design
    updates: int
    lost: Estimate
    predicted_share: float
    window_ms_mean: float


def lost_updates(
    scenario: "Scenario", design: Design, *, updates: int = UPDATES, rng: int | None = None, seeds: int = 1
) -> LostUpdates:
    """Play *updates* requests of *scenario*'s schedule, each an update of its key's value.

    Parameters
    ----------
    scenario : Scenario
        Its arrivals, its keys, its ``[system.d1]`` and ``[system.durable_objects]``; its routes do not matter.
    design : {"read then write", "one statement", "object"}
    updates : int
        The schedule may have fewer.
    rng : int, optional
        Seed; the scenario's own if None.
    seeds : int
        Replications, each of *updates* requests; with one the interval takes updates for independent, which those of
        one queue are not.

    Raises
    ------
    UsageError
        There is no such design, or *updates* or *seeds* is not positive.
    """
    if design not in DESIGNS:
        raise UsageError(f"design={design!r} must be one of {', '.join(DESIGNS)}")
    if updates < 1:
        raise UsageError(f"updates={updates} must be >= 1")
    seed = scenario.seed if rng is None else rng
    if seeds < 1:
        raise UsageError(f"seeds={seeds} must be >= 1")
    chosen = (seed,) if seeds == 1 else spawned_seeds(seed, seeds)
    runs = [_played(scenario, design, updates=updates, seed=one) for one in chosen]
    windows_ms = np.concatenate([run.window_ms[np.isfinite(run.window_ms)] for run in runs])
    return LostUpdates(
        design=design,
        updates=len(windows_ms),
        lost=_share([int(run.over.sum()) for run in runs], [int(np.isfinite(run.window_ms).sum()) for run in runs]),
        predicted_share=float(np.mean([run.predicted_share for run in runs])),
        window_ms_mean=float(windows_ms.mean()),
    )


@dataclass(frozen=True)
class _Run:
    """One replication: which updates wrote over another, and their windows; shape (updates,) each."""

    over: NDArray[np.bool_]
    window_ms: Array
    predicted_share: float


def _played(scenario: "Scenario", design: Design, *, updates: int, seed: int) -> _Run:
    planned = schedule(scenario, seed).head(updates)
    read_ms, written_ms = np.full(len(planned), np.nan), np.full(len(planned), np.nan)
    flow = _flow(scenario, design, read=_mark(read_ms), write=_mark(written_ms))
    simulate(flow, planned, seed=seed)
    window_ms = written_ms - read_ms
    predicted_share = _predicted(planned, window_ms) if design == "read then write" else 0.0
    return _Run(_written_over(planned.key, read_ms, written_ms), window_ms, predicted_share)


def _share(over: list[int], updates: list[int]) -> Estimate:
    """Return the share of updates that are lost; where none is, the bound is that of all updates together."""
    if len(over) == 1 or not any(over):
        return proportion_interval(sum(over), sum(updates))
    found = mean_interval([lost / of for lost, of in zip(over, updates, strict=True)], method="independent")
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def _mark(times_ms: Array) -> Custom:
    """Return a step that takes no time, and notes when it is reached."""

    def note(env: Any, request: Any) -> Iterator[Any]:
        times_ms[request.request] = env.now
        yield from ()

    process: Callable[..., Any] = note
    return Custom(process, "client")


def _flow(scenario: "Scenario", design: Design, *, read: Custom, write: Custom) -> Flow:
    """Return the way of one update, with its read and its write marked where they are executed."""
    if design == "object":
        objects = scenario.system.of("durable_objects")[0]
        work = (read, Delay(objects.table.write_ms, objects.stream("write")), write)
        return durable_objects.call(objects, work=work, writes=True)
    d1 = scenario.system.of("d1")[0]
    if design == "one statement":
        return _after_execution(d1.flow("write"), read, write)
    second = replace(d1, use_number=2)
    return (*_after_execution(d1.flow("read"), read), *_after_execution(second.flow("write"), write))


def _after_execution(flow: Flow, *marks: Custom) -> Flow:
    """Return *flow* with *marks* behind its execution by the database."""
    return rewritten(flow, lambda step: (step, *marks) if isinstance(step, Serve | Hold) else (step,))


def _written_over(key: NDArray[np.int64], read_ms: Array, written_ms: Array) -> NDArray[np.bool_]:
    """Return which updates wrote over another of their key, shape (n,): one that was written since their read."""
    over = np.zeros(len(key), dtype=bool)
    for value in np.unique(key):
        mine = np.flatnonzero((key == value) & np.isfinite(written_ms))
        order = np.sort(written_ms[mine])
        before_write = np.searchsorted(order, written_ms[mine], side="left")
        before_read = np.searchsorted(order, read_ms[mine], side="right")
        over[mine] = before_write > before_read
    return over


def _predicted(planned: "Schedule", window_ms: Array) -> float:
    """Return 1 - E exp(-λ w); λ is the rate of an update's key, without that update itself."""
    counts = np.bincount(planned.key)
    rate_per_ms = (counts[planned.key] - 1) / (planned.arrival_ms[-1] - planned.arrival_ms[0])
    return float(np.nanmean(-np.expm1(-rate_per_ms * window_ms)))
