"""Simulate a scenario at every combination of some values, with replications: the effect of design changes.

All points use the same seeds (common random numbers), so they see the same requests, and a difference between two
points is the effect of the change. A run depends on its seed alone: the tables are the same, byte for byte, whichever
worker plays it and in whatever order the runs end.

>>> from sim.scenario.scenario import load_scenario
>>> found = sweep(load_scenario("launch"), vary={"system.durable_objects.shards": [1, "per_key"]}, seeds=2)
>>> found.points[["system.durable_objects.shards", "api_latency_ms_p99"]]  # doctest: +SKIP
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from math import inf, nan, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from sim.experiments.executors import executor_for, run_tasks
from sim.experiments.paired import paired_difference
from sim.experiments.replications import Replication, replicate, spawned_seeds
from sim.foundation.errors import UsageError
from sim.foundation.schema import shown
from sim.foundation.views import Shown
from sim.judgement.judge import worst
from sim.judgement.targets import Target, Verdict, decide, targets_of
from sim.results.metrics import UPTIME, estimate_of, statistic_of
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario

RUNS_MAX = 100_000
"""Upper limit on points times replications."""

ENGINES = ("compiled", "simpy")

ALWAYS = (("api_latency_ms", "p50"), ("api_latency_ms", "p99"))
"""Metrics and statistics that are always reported, beside those of the scenario's targets."""

Point = dict[str, Any]
"""Dotted paths and their values at one point."""


@dataclass(frozen=True)
class Sweep(Shown):
    """The results of a sweep: a table of runs and a table of points.

    Attributes
    ----------
    scenario : Scenario
        The base scenario.
    vary : dict of str to tuple
        Dotted paths and their values.
    seeds : tuple of int
        The same for every point.
    frame : DataFrame
        One row a run: ``point``, the varied paths, ``replication``, ``seed``, ``requests``, ``failed_share``, each
        statistic of that run (``api_latency_ms_p99``), ``busiest_station``, ``busiest_utilization``.
    points : DataFrame
        One row a point: the varied paths, ``replications``, each statistic over all its replications with its 95 %
        interval (``..._low``, ``..._high``), ``busiest_station``, ``busiest_utilization`` (means), ``verdict``.
    ended_early : str
        Why runs are missing; empty when none are.
    """

    scenario: "Scenario"
    vary: dict[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    frame: "pd.DataFrame"
    points: "pd.DataFrame"
    ended_early: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether runs are missing."""
        return bool(self.ended_early)

    def __repr__(self) -> str:
        mark = f", interrupted: {self.ended_early}" if self.ended_early else ""
        sizes = " x ".join(f"{len(values)} {path}" for path, values in self.vary.items())
        return f"<Sweep of {self.scenario.name} over {sizes}: {len(self.frame)} runs{mark}>"

    def changes(self, statistic: str = "api_latency_ms_p99", *, base: int = 0) -> "pd.DataFrame":
        """Return the paired differences between each point and the point *base*, seed by seed.

        Parameters
        ----------
        statistic : str
            A column of *frame*.
        base : int
            Number of the point to compare with.

        Returns
        -------
        DataFrame
            One row a point that shares at least two seeds of finite values with the base: the paths, ``change``,
            ``low``, ``high``, ``pairs``, and ``variance_ratio``: the variance with independent random numbers over
            that with common ones.

        Raises
        ------
        UsageError
            There is no such statistic, or no such point.
        """
        import pandas as pd

        if statistic not in _statistics(self.frame):
            known = ", ".join(_statistics(self.frame))
            raise UsageError(f"statistic={statistic!r} must be one of {known}")
        finite = self.frame[np.isfinite(self.frame[statistic])]
        table = finite.pivot_table(index="seed", columns="point", values=statistic, sort=False)
        if base not in table:
            raise UsageError(f"base={base} must be the number of a point that was played, 0 to {len(self.points) - 1}")
        rows = []
        for point in table:
            both = table[[base, point]].dropna() if point != base else table[[base]].dropna()
            if len(both) < 2:
                continue
            found = paired_difference(both[base].to_numpy(), both[point].to_numpy())
            one = found.estimate
            rows.append((point, one.value, one.low, one.high, one.n, found.variance_ratio))
        columns = ["point", "change", "low", "high", "pairs", "variance_ratio"]
        changed = pd.DataFrame(rows, columns=columns)
        return self.points[["point", *self.vary]].merge(changed, on="point")


def sweep(
    scenario: "Scenario",
    *,
    vary: Mapping[str, Sequence[Any]],
    engine: str = "compiled",
    seeds: int = 5,
    executor: Executor | None = None,
    cluster: str | None = None,
    progress: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Simulate *scenario* at every combination of the values in *vary*.

    Parameters
    ----------
    scenario : Scenario
    vary : mapping of str to sequence
        Dotted paths and their values: ``{"system.durable_objects.shards": [1, 2, 4]}``. The last path changes fastest.
    engine : {"compiled", "simpy"}
    seeds : int
        Replications of each point; 1 gives intervals by batch means, more give better ones.
    executor : Executor, optional
        What plays the runs; by default threads of this machine, or processes for the SimPy engine.
    cluster : str, optional
        Address of a Dask scheduler instead: ``"tcp://127.0.0.1:8786"``. Its workers need this version of the package.
    progress : bool
        Show a bar on standard error, unless it is piped.
    on_progress : callable, optional
        Called as ``on_progress(done, all)`` after each run.

    Returns
    -------
    Sweep
        After Ctrl-C, or when workers died, with the runs that were finished.

    Raises
    ------
    UsageError
        Nothing to vary, values that are not a list, an unknown engine, too many runs.
    ScenarioError
        A path that does not exist, or a value that breaks its rule; raised before anything runs.
    """
    wanted = _checked(vary, engine=engine, seeds=seeds)
    places = [dict(zip(wanted, values, strict=True)) for values in product(*wanted.values())]
    variants = [scenario.with_(**place) for place in places]
    lines = [line for line in targets_of(scenario) if line.metric != UPTIME]
    chosen = spawned_seeds(scenario.seed, seeds)
    table = _Table(places, chosen, lines=lines)
    metrics = tuple(dict.fromkeys(metric for metric, _ in table.statistics))
    tasks = [
        partial(replicate, variant, seed, engine=engine, metrics=metrics, lines=tuple(lines))
        for variant in variants
        for seed in chosen
    ]
    done = count(1)
    with (
        executor_for(engine, executor=executor, cluster=cluster) as workers,
        _bar(len(tasks), shown=progress) as bar,
    ):

        def keep(number: int, found: Replication | None) -> None:
            table.keep(number, found)
            bar.update()
            if on_progress is not None:
                on_progress(next(done), len(tasks))

        reason = run_tasks(workers, tasks, keep=keep)
    return Sweep(scenario, wanted, chosen, *table.frames(), ended_early=reason)


class _Table:
    """Collects results, which arrive in any order, into the frames."""

    def __init__(self, places: Sequence[Point], seeds: Sequence[int], *, lines: Sequence[Target]) -> None:
        self.places, self.seeds, self.lines = places, seeds, lines
        judged = [(line.measure, line.statistic) for line in lines]
        self.statistics = list(dict.fromkeys([*ALWAYS, *judged]))
        self.runs: dict[int, dict[str, Any]] = {}
        self.points: dict[int, dict[str, Any]] = {}
        self.open: dict[int, dict[int, Replication]] = {}

    def keep(self, number: int, found: Replication | None) -> None:
        """Record a finished run; its raw values are dropped once its point is complete."""
        if found is None:
            return
        assert number not in self.runs, "a run came back twice"
        point, replication = divmod(number, len(self.seeds))
        self.open.setdefault(point, {})[replication] = found
        statistics = {
            f"{metric}_{statistic}": statistic_of(found.metrics[metric], statistic)
            for metric, statistic in self.statistics
        }
        self.runs[number] = {
            "point": point,
            **self._place(point),
            "replication": replication,
            "seed": found.seed,
            "requests": found.requests,
            "failed_share": found.failed_share,
            **statistics,
            "busiest_station": found.busiest_station,
            "busiest_utilization": found.busiest_utilization,
        }
        if len(self.open[point]) == len(self.seeds):
            self._close(point)

    def frames(self) -> "tuple[pd.DataFrame, pd.DataFrame]":
        """Return runs and points in order of their numbers, including points that were played in part."""
        import pandas as pd

        for point in list(self.open):
            self._close(point)
        runs = pd.DataFrame([self.runs[number] for number in sorted(self.runs)])
        return runs, pd.DataFrame([self.points[point] for point in sorted(self.points)])

    def _close(self, point: int) -> None:
        played = [run for _, run in sorted(self.open.pop(point).items())]
        estimates = {
            (metric, statistic): estimate_of([run.metrics[metric] for run in played], statistic=statistic)
            for metric, statistic in self.statistics
        }
        row: dict[str, Any] = {"point": point, **self._place(point), "replications": len(played)}
        for (metric, statistic), found in estimates.items():
            name = f"{metric}_{statistic}"
            row[name], row[f"{name}_low"], row[f"{name}_high"] = (
                (found.value, found.low, found.high) if found else (nan, -inf, inf)
            )
        stations = [run.busiest_station for run in played]
        row["busiest_station"] = max(dict.fromkeys(stations), key=stations.count)
        row["busiest_utilization"] = sum(run.busiest_utilization for run in played) / len(played)
        row["verdict"] = worst(_verdict(estimates[line.measure, line.statistic], line) for line in self.lines)
        self.points[point] = row

    def _place(self, point: int) -> Point:
        return {path: _cell(value) for path, value in self.places[point].items()}


def _verdict(found: Estimate | None, line: Target) -> Verdict:
    return decide(found.low, found.high, line=line) if found else decide(-inf, inf, line=line)


def _cell(value: Any) -> Any:
    """Return a value as a table cell: a distribution or a list becomes JSON text."""
    return json.dumps(value) if isinstance(value, dict | list | tuple) else value


def _statistics(frame: "pd.DataFrame") -> list[str]:
    """Return the columns of the table of runs that hold a statistic."""
    if frame.empty:
        return []
    names = list(frame.columns)
    return names[names.index("failed_share") : names.index("busiest_station")]


def _checked(vary: Mapping[str, Sequence[Any]], *, engine: str, seeds: int) -> dict[str, tuple[Any, ...]]:
    """Return the values to vary as tuples; raise UsageError where they make no sense."""
    if not vary:
        raise UsageError('vary={} must name at least one path: {"system.durable_objects.shards": [1, 2, 4]}')
    if engine not in ENGINES:
        raise UsageError(f"engine={engine!r} must be one of {', '.join(ENGINES)}")
    for path, values in vary.items():
        if path == "seed":
            raise UsageError("vary: seed must not be varied; seeds= says how many each point has")
        if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
            raise UsageError(f"vary: {path}{shown(values)} must be a list of values")
        if not tuple(values):
            raise UsageError(f"vary: {path}=[] must hold at least one value")
    wanted = {path: tuple(values) for path, values in vary.items()}
    runs = prod(len(values) for values in wanted.values()) * max(seeds, 1)
    if runs > RUNS_MAX:
        raise UsageError(f"vary: {runs:,} runs must be <= {RUNS_MAX:,} (fewer values, or fewer seeds)")
    for path, values in wanted.items():
        known = set[str]()
        for cell in (json.dumps(value, default=str) for value in values):
            if cell in known:
                raise UsageError(f"vary: {path} holds {cell} twice; name each value once")
            known.add(cell)
    return wanted


def _bar(runs: int, *, shown: bool) -> "tqdm[Any]":
    """Return a progress bar over *runs*."""
    # ``disable=None`` hides tqdm's bar when standard error is piped.
    return tqdm(total=runs, desc="sweep", unit="run", leave=False, disable=None if shown else True)
