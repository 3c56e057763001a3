"""Stations and objects of a run.

Goal: n, utilization, queue, P50 and P99 of every station, and which objects had the requests. Method: constant times
and few keys, so that each number is known; percentiles are those of the frame.
"""

from typing import Any

import numpy as np
import pytest

from sim import run
from sim.foundation.errors import UsageError
from sim.results.stations import by_object, by_station
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, played


def test_every_station_of_a_run_has_its_row() -> None:
    result = run("social", rng=1, requests=3_000)
    found = by_station(result)
    assert found["station"].tolist() == result.stations["station"].tolist()
    assert {"served", "utilization", "queue_mean", "wait_p50_ms", "wait_p99_ms", "own_p50_ms", "own_p99_ms"} <= set(
        found
    )
    met = found[found["served"] > 0]
    assert len(met) >= 3
    background = met["own_p50_ms"].isna()
    assert background.sum() <= 1, "a station that works only behind an answer has no times of requests"
    assert (met["own_p50_ms"] <= met["own_p99_ms"])[~background].all()


def test_percentiles_are_those_of_the_requests_that_met_the_station() -> None:
    routes = {"a": {"share": 0.5, "steps": ["d1.read"]}, "b": {"share": 0.5, "steps": ["archive.read"]}}
    result = played(KNOWN_TIMES.with_(routes=routes, **at_rate(150.0, 3_000)), 3_000)
    rows = by_station(result).set_index("station")
    assert [rows.at["d1", column] for column in ("own_p50_ms", "own_p99_ms")] == [5.0, 5.0]
    waits = result.frame.loc[result.frame["route"] == "b", "archive_queue_ms"]
    assert rows.loc["archive", "wait_p99_ms"] == pytest.approx(np.quantile(waits, 0.99))


def test_objects_are_listed_with_what_they_had() -> None:
    changes: dict[str, Any] = {
        "system.durable_objects.shards": 4, "workload.keys": {"count": 40, "zipf": 1.5}, **at_rate(30.0, 2_000)
    }  # fmt: skip
    scenario = of_steps("ledger.balance", scenario=KNOWN_TIMES.with_(**changes))
    lost = {"instance": "durable_objects", "kind": "outage", "keys": [1], "at_s": 0, "duration_s": 20}
    result = played(scenario.vary("faults", [lost]), 2_000)
    found = by_object(result, "durable_objects")
    assert found["requests"].tolist() == sorted(found["requests"], reverse=True)
    assert found["requests"].sum() == 2_000
    assert found.loc[found["failed"] > 0, "object"].tolist() == [1]
    assert found["failed"].sum() == (result.frame["outcome"] != "ok").sum() > 0


def test_what_has_no_objects_is_refused() -> None:
    result = run("launch", rng=1, requests=100)
    with pytest.raises(UsageError, match="must be one with a queue"):
        by_object(result, "durable_object")
