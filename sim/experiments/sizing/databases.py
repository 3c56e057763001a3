"""Over how many D1 databases the keys are split: until queries no longer wait, and none is full too soon.

A D1 database has one thread and a fixed size. The split gives each key to one database (key modulo n); everything else
is as before, so that the databases share what they really share. What a query costs does not change, and a statement
over all keys becomes n statements, which is not simulated.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from sim.engines.compiled_engine import simulate
from sim.experiments.sizing.choices import Option, Sizing, compared
from sim.experiments.sizing.runs import long_enough, month_usd, over_seeds, reached, requests_by_part, routes_through
from sim.flow import Flow, Hold, Serve, Station
from sim.foundation.errors import UsageError
from sim.judgement.cost import cost
from sim.judgement.cost.volume import course_of
from sim.models.d1 import query_ms
from sim.models.registry import uses
from sim.runners.simulated import result_of
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.injection import rewritten
from sim.statistics.quantiles import quantile

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

DATABASES = (1, 2, 4, 8, 16)


def d1_split(
    scenario: "Scenario",
    *,
    values: Sequence[int] | None = None,
    seeds: int,
    of: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare numbers of databases by the P99 of a query."""
    database = reached(scenario, "d1", what="d1_split", of=of)
    wanted = list(DATABASES if values is None else values)
    if any(one < 1 or one != int(one) for one in wanted):
        raise UsageError(f"values={wanted} must be whole numbers of databases >= 1")
    share = sum(scenario.shares[route] for route in routes_through(scenario, database.name))
    longer = long_enough(scenario, warm_up_s=0.0, share=share)
    plays = [partial(_play, longer, name=database.name, databases=one) for one in wanted]
    seen = over_seeds(plays, seed=scenario.seed, seeds=seeds, on_progress=on_progress)
    usd = month_usd(scenario)
    options = []
    for number, row in zip(wanted, seen, strict=True):
        fullest = fullest_share(scenario, database, databases=number)
        beside = {
            "busiest database, %": 100 * float(row["busiest"].mean()),
            "share of the fullest, %": 100 * fullest,
            "full on day": full_on_day(scenario, database.name, share=fullest),
        }
        options.append(Option(number, str(number), usd, row["p99_ms"], beside))
    choices, place = compared(options, unit="ms")
    return Sizing(
        scenario, "d1_split", f"Over how many databases are the keys of {database.name} split?", "D1 query P99, ms",
        "below", choices, place, seeds,
        falsified_by="a query P99 measured on split databases that is not lower than on one, at the same load",
        notes=(
            "every statement has a key, and goes to that key's database; one over all keys would go to all of them",
            "the bill counts rows and bytes: it does not change with the number of databases",
        ),
    )  # fmt: skip


def split(flow: Flow, name: str, *, databases: int) -> Flow:
    """Return *flow* with the one thread of station *name* replaced by *databases*, chosen by the request's key."""

    def change(step: Any) -> Flow:
        if isinstance(step, Serve | Hold) and step.station.name == name:
            return (replace(step, station=_split(step.station, databases)),)
        return (step,)

    return rewritten(flow, change)


def _split(station: Station, databases: int) -> Station:
    return replace(station, instances=databases)


def fullest_share(scenario: "Scenario", database: "Instance", *, databases: int) -> float:
    """Return the largest share of the requests that one of the databases gets, by the popularity of the keys."""
    by_database = requests_by_part(scenario, database.name, parts=databases)
    return float(by_database.max() / by_database.sum())


def full_on_day(scenario: "Scenario", name: str, *, share: float) -> float:
    """Return the day on which the fullest database is full, if nothing is deleted; infinite if that is far away."""
    requests = course_of(scenario)[1].requests * share
    limits = cost(scenario, requests_per_month=requests).limits
    mine = [one for one in limits if (one.kind, one.plan) == ("storage", "paid") and one.what.startswith(f"{name}:")]
    return min((one.day_number for one in mine), default=inf)


def _play(scenario: "Scenario", seed: int, *, name: str, databases: int) -> dict[str, float]:
    planned = schedule(scenario, seed)
    recording = simulate(split(deployment(scenario, faults=False), name, databases=databases), planned, seed=seed)
    if recording.interrupted:
        raise KeyboardInterrupt
    return _observe(result_of(scenario, planned, recording=recording, seed=seed, on="compiled"), name)


def _observe(result: "Result", name: str) -> dict[str, float]:
    scenario = result.scenario
    frame = result.steady().frame
    mine = [one for one in scenario.met if one.name == name]
    values = query_ms(frame[frame["outcome"] == "ok"], uses("d1", mine, operations=scenario.operations))
    busy = result.stations.set_index("station")["utilization_busiest"]
    return {"p99_ms": quantile(values, 0.99) if len(values) else inf, "busiest": float(busy[name])}
