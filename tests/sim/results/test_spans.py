"""Spans of a simulated run.

Goal: what a simulation writes is what a deployment's exporter would, and holds no id of a request. Method: the file is
read back as traffic by the reader of such files, and its lines are looked at.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from sim import read_trace, run
from sim.foundation.errors import UsageError
from sim.results.spans import IN_A_LINE, write_spans
from sim.scenario.scenario import load_scenario
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, played


def spans(path: Path) -> list[dict[str, object]]:
    """All spans of a file."""
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    return [span for one in documents for span in one["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def test_spans_are_read_back_as_the_traffic_of_the_run(tmp_path: Path) -> None:
    result = run("feed", rng=1, requests=1_200)
    path = tmp_path / "spans.jsonl"
    assert write_spans(result, path, start_time_ms=1_760_000_000_000) == 1_200
    assert len(path.read_text().splitlines()) == -(-1_200 // IN_A_LINE)
    trace = read_trace(path, load_scenario("feed"))
    assert len(trace) == 1_200
    gaps_ms = np.diff(result.frame["arrival_ms"])
    assert np.allclose(np.diff(trace.arrival_ms), gaps_ms, atol=1e-3)
    assert len({span["spanId"] for span in spans(path)}) == len({span["traceId"] for span in spans(path)}) == 1_200


def test_a_failure_is_an_error_and_no_address_holds_an_id(tmp_path: Path) -> None:
    changes = {"system.d1.error_chance": 0.3, "system.d1.read_retries": 0, **at_rate(50.0, 1_000)}
    request = {"method": "GET", "path": "/users/{key}/posts"}
    scenario = of_steps("d1.read", scenario=KNOWN_TIMES.with_(**changes), request=request)
    result = played(scenario, 1_000)
    path = tmp_path / "spans.jsonl"
    write_spans(result, path)
    written = spans(path)
    failed = [span["status"] == {"code": 2} for span in written]
    assert failed == (result.frame["outcome"] == "error").tolist()
    assert {span["name"] for span in written} == {"http_request"}
    values = {str(attribute["value"]) for span in written for attribute in span["attributes"]}  # type: ignore[attr-defined]  # JSON
    assert values == {str({"stringValue": text}) for text in ("GET", "/users/{key}/posts")} | {
        str({"intValue": text}) for text in ("200", "500")
    }


def test_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    result = run("feed", rng=1, requests=10)
    with pytest.raises(UsageError, match="must exist"):
        write_spans(result, tmp_path / "none" / "spans.jsonl")
