"""Run a scenario on any runner: a model, the working reference, a real deployment, or a recorded run.

>>> from sim import run
>>> run("launch", on="simpy", rng=1, requests=2000)  # doctest: +ELLIPSIS
<Result launch on simpy: 2000 requests in ... s, ... ok, P50 ... ms, P99 ... ms, seed 1>
"""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any

from sim.foundation.errors import UsageError
from sim.randomness.streams import checked_seed
from sim.results.result import Result
from sim.scenario.faults import CLOCK
from sim.scenario.generation import schedule
from sim.scenario.injection import AT_ENTRY
from sim.scenario.notes import scenario_notes
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule

RUNNERS = ("simpy", "compiled", "reference", "workerd")
"""Runners known by name; beside them a URL, the ready line of a server, and the file of a recorded run."""


def run(
    scenario: Scenario | str | Path,
    on: str = "compiled",
    *,
    rng: int | None = None,
    requests: int | None = None,
    rate_per_s: float | None = None,
    trace: str | Path | None = None,
    progress: bool = False,
) -> Result:
    """Play *scenario* once.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
    on : str
        ``"simpy"``, ``"compiled"``, ``"reference"``, ``"workerd"`` (the real runtime), ``"http://127.0.0.1:PORT"``,
        ``"server.json"`` (what ``headroom serve`` printed: with its tunnel), or ``"run.parquet"``. A deployment gets
        the scenario's live part (``workload.live_s``), a model the whole schedule.
    rng : int or None
        Seed; None takes the scenario's own. The seed used is ``Result.seed``.
    requests : int or None
        Play only the first *requests* requests.
    rate_per_s : float or None
        Arrival rate in place of the scenario's.
    trace : path or None
        CSV of real arrivals in place of the scenario's arrival process.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    Result

    Raises
    ------
    SimError
        One line: the value, the rule, and how to fix it.
    """
    asked = prepare(scenario, rate_per_s=rate_per_s, trace=trace)
    seed = asked.seed if rng is None else checked_seed(rng)
    check_runner(on)
    if on.endswith(".parquet"):
        from sim.results import storage as recorded

        return recorded.play(asked, Path(on))
    planned = schedule(asked, seed=seed)
    whole = len(planned)
    if requests is not None:
        planned = planned.head(requests)
    played = play(asked, planned, on=on, seed=seed, progress=progress)
    notes = (
        *scenario_notes(asked),
        *_fewer(requests, whole),
        *_uncut(asked, planned),
        *_live(requests, planned, played),
    )
    return replace(played, notes=(*notes, *played.notes))


def _fewer(asked: int | None, whole: int) -> tuple[str, ...]:
    """A sentence, if more requests were asked for than there are."""
    if asked is None or asked <= whole:
        return ()
    way_out = "a longer workload.duration_s or a higher rate gives more"
    return (f"requests={asked:,} were asked for, the schedule has {whole:,} ({way_out})",)


def _live(asked: int | None, planned: Schedule, played: Result) -> tuple[str, ...]:
    """A sentence, if more requests were asked for than the live part holds."""
    count, live_s = len(played.frame), played.scenario.workload.live_s
    if asked is None or played.on in ("simpy", "compiled") or played.interrupted or count >= len(planned):
        return ()
    way_out = "a longer workload.live_s, or a higher workload.live_rate_max_per_s, plays more"
    return (f"requests={len(planned):,} were asked for, a deployment played {count:,} in {live_s:g} s ({way_out})",)


def _uncut(scenario: Scenario, planned: Schedule) -> tuple[str, ...]:
    """Return a note if so few requests were asked for that all of them arrive within the warm-up."""
    warm_up_s = scenario.workload.warm_up_s
    if planned.warm_up_ms or planned.duration_ms > warm_up_s * 1000:
        return ()
    return (f"all {len(planned):,} requests come within the warm-up of {warm_up_s:g} s, so it was not cut",)


def play(scenario: Scenario, planned: Schedule, *, on: str, seed: int, progress: bool = False) -> Result:
    """Play a given schedule on a given runner; a deployment gets only its live part."""
    seed = checked_seed(seed)
    if on in ("simpy", "compiled"):
        from sim.runners import simulated

        return simulated.play(scenario, planned, seed=seed, engine=on)
    refuse_faults(scenario, on)
    live_part = live_part_of(scenario, planned)
    if on == "reference":
        from sim.runners import reference

        return reference.play(scenario, live_part, seed=seed, progress=progress)
    if on == "workerd":
        from sim.runners import workerd

        return workerd.play(scenario, live_part, seed=seed, progress=progress)
    from sim.runners import live
    from sim.runners.load.address import Deployment, read_ready_file

    to = read_ready_file(Path(on)) if on.endswith(".json") else Deployment(on)
    return live.play(scenario, live_part, seed=seed, url=to.http, tunnel=to.tunnel, progress=progress)


def live_part_of(scenario: Scenario, planned: Schedule) -> Schedule:
    """Return the part of a schedule that is played in real time; with faults its beginning, at its own times.

    Raises
    ------
    UsageError
        No fault falls into the part, or its times cannot be kept.
    """
    workload = scenario.workload
    if not scenario.faults:
        return planned.live(workload.live_s, workload.live_rate_max_per_s)
    part = planned.opening(workload.live_s, workload.live_rate_max_per_s)
    first_s = min(fault.at_s or 0.0 for fault in scenario.faults)
    if first_s * 1_000 >= part.duration_ms:
        rule = f"must be > {first_s:g}, when the first fault begins, to play it on a deployment"
        raise UsageError(f"workload.live_s={workload.live_s:g} {rule}")
    return part


def refuse_faults(scenario: Scenario, on: str) -> None:
    """Refuse faults that nothing can bring about: on a deployment that is not ours, or those of a clock.

    Raises
    ------
    UsageError
        The scenario has such faults.
    """
    if not scenario.faults:
        return
    way_out = "simulate it (compiled, simpy), or leave the faults out"
    if on != "reference":
        raise UsageError(f"on={on!r} cannot have the {len(scenario.faults)} faults of {scenario.name!r}; {way_out}")
    if any(fault.kind == CLOCK for fault in scenario.faults):
        raise UsageError(f"on={on!r} runs on this machine's clock, which no fault of kind clock can put on; {way_out}")
    entries = {route.enter for route in scenario.routes.values()}
    if scenario.api and any(one.fault.kind in AT_ENTRY and one.name not in entries for one in scenario.injected):
        rule = f"of api={scenario.api!r} are code that meets no fault of kind {', '.join(AT_ENTRY)}"
        raise UsageError(f"on={on!r}: the routes {rule}; play them step by step (api=''), or simulate")


def play_whole(scenario: Scenario, planned: Schedule, *, on: str, seed: int) -> Result:
    """Play a whole schedule: as :func:`play`, but Ctrl-C raises instead of returning a partial run.

    Raises
    ------
    KeyboardInterrupt
        The run was interrupted.
    """
    played = play(scenario, planned, on=on, seed=seed)
    if played.interrupted:
        raise KeyboardInterrupt
    return played


def prepare(
    scenario: Scenario | str | Path,
    *,
    rate_per_s: float | None = None,
    trace: str | Path | None = None,
    how: Mapping[str, Any] | None = None,
) -> Scenario:
    """Load a scenario, with another rate or a trace (read as *how* says) in place of its arrivals if given."""
    asked = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    if trace is not None:
        asked = asked.with_(
            **{
                "name": f"{asked.name}-{Path(trace).stem}",
                "question": f"Does the deployment keep its targets under the recorded traffic of {Path(trace).name}?",
                "workload.arrivals": {"kind": "trace", "file": str(trace)},
                "workload.trace": dict(how) if how else None,
            }
        )
    elif how:
        asked = asked.with_(**{"workload.trace": dict(how)})
    if rate_per_s is not None:
        before_per_s = getattr(asked.workload.arrivals, "rate_per_s", 0.0)
        volume = {}
        if asked.demand is not None and before_per_s and 0 < rate_per_s < inf:
            volume = {"demand": asked.demand.times(rate_per_s / before_per_s)}
        asked = asked.with_(**{"workload.arrivals.rate_per_s": rate_per_s, **volume})
    return asked


def check_runner(on: str) -> None:
    """Refuse a runner that does not exist, naming the nearest one that does.

    Raises
    ------
    UsageError
        *on* is neither a known name, a URL, a ready line, nor a recorded run.
    """
    if on in RUNNERS or on.startswith(("http://", "https://")) or on.endswith((".parquet", ".json")):
        return
    near = get_close_matches(on, RUNNERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"on={on!r} must be one of {', '.join(RUNNERS)}, a URL, the .json of a server, or a .parquet run{hint}"
    )
