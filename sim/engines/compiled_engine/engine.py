"""Execute a Flow in a compiled event loop, with the same latency for every request as the SimPy engine.

The Flow becomes a list of instructions (:mod:`sim.engines.compiled_engine.lowering`), its state a few tables
(:mod:`sim.engines.compiled_engine.placement`), and one machine (:mod:`sim.engines.compiled_engine.kernel`), compiled
once and cached on disk, runs them all. The machine does not hold the interpreter lock, so replications run in threads,
and it returns often, so Ctrl-C takes effect.
"""

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from sim import flow as f
from sim.engines.checks import check_ended, check_little, check_memory, check_schedule
from sim.engines.compiled_engine.kernel.loop import DONE
from sim.engines.compiled_engine.lowering import lower
from sim.engines.compiled_engine.placement import Placement
from sim.engines.compiled_engine.world import World
from sim.engines.recording import UNFINISHED, FollowerUse, Recording, StationUse, follower_uses
from sim.flow.numbering import numbered
from sim.flow.validation import check
from sim.randomness.streams import checked_seed

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

TURNS = 1_000_000
"""Flows and events between two checks for Ctrl-C: one or two tenths of a second."""

BYTES_PER_INSTANCE = 350
"""Memory of an instance: a row of the server table, its waiting lists and their construction (measured, rounded up)."""


def simulate(flow: f.Flow, schedule: "Schedule", *, seed: int) -> Recording:
    """Play *schedule* on *flow*.

    Parameters
    ----------
    flow : Flow
    schedule : Schedule
        n requests.
    seed : int
        Chooses every random number.

    Returns
    -------
    Recording
        Arrays of shape (n,); byte-equal for equal arguments. Interrupted by Ctrl-C, it holds the finished part.

    Raises
    ------
    ModelError
        The flow cannot be executed.
    UsageError
        No valid seed, too little memory for the record, or a schedule with values that are no times or sizes.
    """
    seed = checked_seed(seed)
    check(flow)
    check_schedule(flow, schedule)
    flow = f.settled(numbered(flow), seed)
    categories = f.categories(flow)
    check_memory(len(schedule), len(categories), instances=f.instances(flow), bytes_per_instance=BYTES_PER_INSTANCE)
    program = lower(flow, schedule.routes, seed=seed)
    world = World(program, schedule, categories=len(categories))
    interrupted = False
    try:
        while world.go_on(TURNS) != DONE:
            pass
    except KeyboardInterrupt:
        interrupted = True
    uses = _uses(program.placement, world)
    end_ms = float(max(world.get("now_ms"), world.get("end_ms")))
    if not interrupted and world.get("events_count") > 0:
        end_ms = inf  # What is set for infinity never happens.
    if interrupted:
        _blank_unfinished(world)
    else:
        check_ended(world.tables["outcome"], end_ms)
        check_little(uses)
    return Recording(
        arrival_ms=world.tables["arrival_ms"],
        latency_ms=world.tables["latency_ms"],
        outcome=world.tables["outcome"],
        attempts=world.tables["attempts"],
        categories=dict(zip(categories, world.tables["attributed_ms"], strict=True)),
        stations=uses,
        end_ms=end_ms,
        horizon_ms=float(world.get("horizon_ms")) if world.get("horizon_ms") < inf else end_ms,
        followers=_followers(program.followers, world),
        interrupted=interrupted,
    )


def _uses(placement: Placement, world: World) -> tuple[StationUse, ...]:
    """Return the usage of each station, then of each shared link, over all instances."""
    uses = []
    declared: tuple[f.Station | f.Link, ...] = (*placement.stations, *placement.links)
    for station in declared:
        first = placement.of(station)["first"]
        meters = world.tables["servers"][first : first + station.instances]
        use = StationUse(
            name=station.name,
            servers=int(meters["servers"][0]),
            instances=station.instances,
            served=int(meters["served"].sum()),
            refused=int(meters["refused"].sum()),
            busy_ms=float(meters["busy_ms"].sum()),
            queue_ms=float(meters["queue_ms"].sum()),
            waited_ms=float(meters["waited_ms"].sum()),
            queue_total_ms=float(meters["queue_total_ms"].sum()),
            busiest_ms=float(meters["busy_ms"].max()),
            offered_ms=float(
                (meters["busy_total_ms"] * (1 + meters["refused"] / np.maximum(meters["served"], 1))).max()
            ),
        )
        uses.append(use)
    return tuple(uses)


def _followers(names: tuple[str, ...], world: World) -> tuple[FollowerUse, ...]:
    """Return how the background flows of each step ended."""
    counts = world.tables["followers"].reshape(-1, len(f.OUTCOMES))
    return follower_uses(dict(zip(names, counts.tolist(), strict=False)))


def _blank_unfinished(world: World) -> None:
    """Clear what an interrupted run recorded of requests that had not ended."""
    tables = world.tables
    unfinished = tables["outcome"] == UNFINISHED
    tables["arrival_ms"] = np.where(unfinished, np.nan, tables["arrival_ms"])
    tables["latency_ms"][unfinished] = np.nan
    tables["attributed_ms"][:, unfinished] = 0.0
