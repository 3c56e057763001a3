"""In which parts to upload to R2, and how many at a time.

Each part waits one round trip before the next takes its place, so small parts one by one leave the bandwidth unused,
while large ones, or many at once, need memory and lose more when one fails. Every part is a billed operation.

Sources
-------
Throughput of p parts of c bytes at a time: min(bandwidth, p c / (RTT + c / bandwidth)), which the model's is compared
with (:func:`sim.models.r2.upload_mb_per_s_max`). Parts of at least 5 MiB; 128 MB of memory and six connections of one
Worker (facts of the platform file).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sim.experiments.sizing.choices import Option, Sizing, compared
from sim.experiments.sizing.runs import long_enough, month_usd, over_seeds, reached, run_once
from sim.foundation.errors import UsageError
from sim.judgement.cost.usage import number
from sim.models.r2 import upload_mb_per_s_max
from sim.results.metrics import metric_values, statistic_of
from sim.scenario.generation import mean_rate_per_s, schedule

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

MIB = 2**20
PARTS_MIB = (5, 8, 16, 32, 64)
PARALLEL = (1, 2, 4, 6)
METRIC = "r2_upload_mb_per_s"
MEMORY_FACT, CONNECTIONS_FACT = "workers.limits.memory_bytes_isolate", "workers.limits.connections_waiting_for_headers"


def part_size(
    scenario: "Scenario",
    *,
    values: Sequence[float] | None = None,
    seeds: int,
    of: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare part sizes (MiB), each with several parts at a time, by the median throughput of an upload."""
    bucket = reached(scenario, "r2", what="part_size", of=of)
    routes = [name for name, used in scenario.operations.items() if f"{bucket.name}.put" in used]
    if not routes:
        raise UsageError(f"size: part_size needs a route that uses {bucket.name}.put, and {scenario.name} has none")
    alone = scenario.with_shares(**{route: scenario.shares[route] for route in routes})
    alone = long_enough(
        alone.at_rate(mean_rate_per_s(scenario) * sum(scenario.shares[route] for route in routes)), warm_up_s=0.0
    )
    largest = int(schedule(alone).size_bytes.max())
    chosen = list(_choices(scenario, bucket, PARTS_MIB if values is None else values, largest=largest))
    changes = [
        {f"system.{bucket.name}.part_bytes": size, f"system.{bucket.name}.parallel_parts": parallel}
        for size, parallel in chosen
    ]
    observe = partial(_observe, scenario=alone)
    plays = [partial(run_once, alone.with_(**one), observe=observe) for one in changes]
    seen = over_seeds(plays, seed=scenario.seed, seeds=seeds, on_progress=on_progress)
    options = []
    for (size, parallel), change, row in zip(chosen, changes, seen, strict=True):
        variant = scenario.with_(**change)
        beside = {
            "closed form, MB/s": upload_mb_per_s_max(variant.system.instances[bucket.name].table),
            "in memory, MiB": size * parallel / MIB,
        }
        options.append(Option((size, parallel), _name(size, parallel), month_usd(variant), row["mb_per_s"], beside))
    choices, place = compared(options, unit="MB/s", direction="above")
    return Sizing(
        scenario, "part_size", "In which parts, and how many at a time?", "upload rate P50, MB/s", "above", choices,
        place, seeds,
        falsified_by="uploads of the same file to the real bucket whose order by throughput differs from this one",
        notes=(
            (
                f"a part waits {bucket.table.part_rtt_ms:g} ms of round trip; one transfer has "
                f"{bucket.table.bandwidth_bytes_per_s / 1e6:g} MB/s; failed parts are not simulated"
            ),
            (
                f"the largest upload has {largest / 1e6:,.0f} MB; one body may have "
                f"{(scenario.system.of('workers')[0].table.body_bytes_max or float('inf')) / 1e6:,.0f} MB"
            ),
            "closed form: without the operation's own time (put_ms), so it is above the simulated rate",
        ),
    )  # fmt: skip


def _choices(
    scenario: "Scenario", bucket: "Instance", sizes_mib: Sequence[float], *, largest: int
) -> Iterator[tuple[int, int]]:
    """Yield the whole upload, if a body may be so large, and each size with each number that fits into memory."""
    memory_bytes = _fact(scenario, MEMORY_FACT, float("inf"))
    connections = _fact(scenario, CONNECTIONS_FACT, float("inf"))
    (worker,) = scenario.system.of("workers")[:1]
    if largest <= (worker.table.body_bytes_max or float("inf")):
        yield 0, 1
    for size in sizes_mib:
        size_bytes = round(size * MIB)
        if size_bytes < bucket.table.part_bytes_min:
            least = bucket.table.part_bytes_min / MIB
            raise UsageError(f"values: a part of {size:g} MiB must be >= {least:g} MiB, the store's smallest part")
        for parallel in PARALLEL:
            if size_bytes * parallel <= memory_bytes and parallel <= connections:
                yield size_bytes, parallel


def _fact(scenario: "Scenario", key: str, otherwise: float) -> float:
    return number(scenario.facts, key) if key in scenario.facts.facts else otherwise


def _name(size_bytes: int, parallel: int) -> str:
    return f"{size_bytes / MIB:g} MiB x {parallel}" if size_bytes else "whole"


def _observe(result: "Result", *, scenario: "Scenario") -> dict[str, float]:
    return {"mb_per_s": statistic_of(metric_values(result.steady().frame, METRIC, scenario=scenario), "p50")}
