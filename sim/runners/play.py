"""One call that plays a scenario on anything: a model, the working reference, a real deployment, or a recording.

>>> from sim import run
>>> run("launch", on="simpy", rng=1, requests=2000)  # doctest: +ELLIPSIS
<Result launch on simpy: 2000 requests in ... s, ... ok, P50 ... ms, P99 ... ms, seed 1>
"""

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from sim.errors import UsageError
from sim.randomness.streams import checked_seed
from sim.results.result import Result
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule

RUNNERS = ("simpy", "compiled", "reference", "workerd")
"""Runners known by name; beside them a URL and the file of a recorded run."""


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
        ``"simpy"``, ``"compiled"``, ``"reference"``, ``"workerd"``, ``"http://127.0.0.1:PORT"``, or ``"run.parquet"``.
        The reference, the real runtime and a URL get the scenario's live part (``workload.live_s``), a model all of it.
    rng : int or None
        Seed; None takes the scenario's own. The seed used is ``Result.seed``.
    requests : int or None
        Play only so many requests.
    rate_per_s : float or None
        Another arrival rate than the scenario's.
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
        One line: the value, the rule, the way out.
    """
    asked = prepare(scenario, rate_per_s=rate_per_s, trace=trace)
    seed = asked.seed if rng is None else checked_seed(rng)
    check_runner(on)
    if on.endswith(".parquet"):
        from sim.results import storage as recorded

        return recorded.play(asked, Path(on))
    planned = schedule(asked, seed=seed)
    if requests is not None:
        planned = planned.head(requests)
    played = play(asked, planned, on=on, seed=seed, progress=progress)
    return replace(played, notes=(*_uncut(asked, planned), *played.notes))


def _uncut(scenario: Scenario, planned: Schedule) -> tuple[str, ...]:
    """A sentence, if so few requests were asked for that all of them come within the warm-up."""
    warm_up_s = scenario.workload.warm_up_s
    if planned.warm_up_ms or planned.duration_ms > warm_up_s * 1000:
        return ()
    return (f"all {len(planned):,} requests come within the warm-up of {warm_up_s:g} s, so it was not cut",)


def play(scenario: Scenario, planned: Schedule, *, on: str, seed: int, progress: bool = False) -> Result:
    """Play a given schedule on a given runner; what is no model gets its live part."""
    seed = checked_seed(seed)
    if on in ("simpy", "compiled"):
        from sim.runners import simulated

        return simulated.play(scenario, planned, seed=seed, engine=on)
    workload = scenario.workload
    live_part = planned.live(workload.live_s, workload.live_rate_max_per_s)
    if on == "reference":
        from sim.runners import reference

        return reference.play(scenario, live_part, seed=seed, progress=progress)
    if on == "workerd":
        from sim.runners import workerd

        return workerd.play(scenario, live_part, seed=seed, progress=progress)
    from sim.runners import live

    return live.play(scenario, live_part, seed=seed, url=on, progress=progress)


def play_whole(scenario: Scenario, planned: Schedule, *, on: str, seed: int) -> Result:
    """As :func:`play`, for whom half a run says nothing: Ctrl-C goes on to the caller.

    Raises
    ------
    KeyboardInterrupt
        Somebody interrupted the run.
    """
    played = play(scenario, planned, on=on, seed=seed)
    if played.interrupted:
        raise KeyboardInterrupt
    return played


def prepare(
    scenario: Scenario | str | Path, *, rate_per_s: float | None = None, trace: str | Path | None = None
) -> Scenario:
    """The scenario as asked: loaded, with another rate or with a trace in place of its arrivals."""
    asked = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    if trace is not None:
        asked = asked.with_(
            **{
                "name": f"{asked.name}-{Path(trace).stem}",
                "question": f"Does the deployment keep its targets under the recorded traffic of {Path(trace).name}?",
                "workload.arrivals": {"kind": "trace", "file": str(trace)},
            }
        )
    if rate_per_s is not None:
        asked = asked.vary("workload.arrivals.rate_per_s", rate_per_s)
    return asked


def check_runner(on: str) -> None:
    """Refuse a runner that does not exist, naming the nearest one that does.

    Raises
    ------
    UsageError
        *on* is neither a known name, a URL, nor a recorded run.
    """
    if on in RUNNERS or on.startswith(("http://", "https://")) or on.endswith(".parquet"):
        return
    near = get_close_matches(on, RUNNERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"on={on!r} must be one of {', '.join(RUNNERS)}, a URL, or a .parquet run{hint}")
