"""How many Durable Objects share the keys: few are busy, many are cold.

With n objects each serves 1/n of the keys. Few objects have long queues, since each does one thing at a time. Many
objects have few requests each, so that more of them come to an object that was evicted and must start. Between the two
the P99 has a valley.

Sources
-------
For Poisson visits of rate λ an object is cold with probability exp(-λ T), T being the idle time until it is evicted.
Visits of its own alarms keep it warm for longer, so the cold share that is given is an upper bound where there are any.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.sizing.choices import Option, Sizing, compared
from sim.experiments.sizing.runs import (
    latency_p99_ms,
    long_enough,
    month_usd,
    others_note,
    over_seeds,
    reached,
    requests_by_part,
    routes_through,
    run_once,
)
from sim.foundation.errors import UsageError
from sim.models.durable_objects import station

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

WARM_UP = 1.1
"""Times the eviction's idle time: from then on an object is cold exactly when it would be in the long run."""

CHOICES_MAX = 10
"""Powers of two from one object to all keys; wider ranges leave out every other."""


def shards(
    scenario: "Scenario",
    *,
    values: Sequence[int | str] | None = None,
    seeds: int,
    of: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare numbers of objects by the P99 of the requests that use them."""
    objects = reached(scenario, "durable_objects", what="shards", of=of)
    path, routes = f"system.{objects.name}.shards", routes_through(scenario, objects.name)
    wanted = _values(values, objects.keys)
    share = sum(scenario.shares[route] for route in routes)
    variants = [scenario.with_(**{path: one}) for one in wanted]
    longer = [long_enough(one, warm_up_s=WARM_UP * objects.table.evict_idle_ms / 1000, share=share) for one in variants]
    observe = partial(_observe, routes=tuple(routes), name=objects.name)
    plays = [partial(run_once, one, observe=observe) for one in longer]
    seen = over_seeds(plays, seed=scenario.seed, seeds=seeds, on_progress=on_progress)
    options = []
    for value, variant, row in zip(wanted, variants, seen, strict=True):
        beside = {
            "busiest object, %": 100 * float(row["busiest"].mean()),
            "cold, %": 100 * cold_share(variant, variant.system.instances[objects.name]),
        }
        options.append(Option(value, str(value), month_usd(variant), row["p99_ms"], beside))
    choices, place = compared(options, unit="ms")
    return Sizing(
        scenario, "shards", f"How many objects of {objects.name} share the keys?", "P99 of their requests, ms",
        "below", choices, place, seeds,
        falsified_by="a measured P99 of these routes that another number makes lower, by more than its interval",
        notes=(
            "cold: of all visits, by the closed form sum(p exp(-rate T)); alarms of an object keep it warm longer",
            *(others_note(scenario, objects) if of is None else ()),
        ),
    )  # fmt: skip


def cold_share(scenario: "Scenario", objects: "Instance") -> float:
    """Return the share of visits that find their object evicted, for Poisson arrivals at the mean rate.

    Parameters
    ----------
    scenario : Scenario
    objects : Instance
        Of the namespace, in *scenario*.
    """
    by_object = requests_by_part(scenario, objects.name, parts=station(objects).instances)
    cold = np.exp(-by_object * objects.table.evict_idle_ms / 1000)
    return float((by_object * cold).sum() / by_object.sum())


def _observe(result: "Result", *, routes: tuple[str, ...], name: str) -> dict[str, float]:
    frame = result.steady().frame
    busy = result.stations.set_index("station")["utilization_busiest"]
    return {"p99_ms": latency_p99_ms(frame[frame["route"].isin(routes)]), "busiest": float(busy.get(name, 0.0))}


def _values(values: Sequence[int | str] | None, keys: int) -> list[int | str]:
    if values is not None:
        return list(values)
    if keys < 2:
        raise UsageError("size: shards needs at least two keys (workload.keys.count)")
    powers = [2**step for step in range(keys.bit_length()) if 2**step < keys]
    step = 2 if len(powers) >= CHOICES_MAX else 1
    return [*powers[::step], "per_key"]
