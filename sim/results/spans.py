"""Write the requests of a run as spans of OpenTelemetry, as a deployment's exporter would: a line of JSON for many.

A span is named ``http_request``. Its address is the route's template, so no id and no secret of a request is in it, and
its status is an error from 500 on. The times are the run's, counted from a given instant.

Sources
-------
OpenTelemetry: protocol specification (OTLP/JSON), semantic conventions of HTTP spans.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.foundation.files import check_place, whole_file
from sim.randomness.streams import stream_key
from sim.results.exposition import STATUS

if TYPE_CHECKING:
    from sim.results.result import Result

SCOPE = "superinstance"
"""Name of the tracer."""

IN_A_LINE = 500
"""Spans of one line."""

SERVER, UNSET, ERROR = 2, 0, 2
"""Kind of a span, and codes of its status."""

NS_PER_MS = 1_000_000


def write_spans(result: "Result", path: str | Path, *, start_time_ms: int = 0) -> int:
    """Write a run's requests to a file of spans, and return their number.

    Parameters
    ----------
    result : Result
        Requests that were not sent are left out.
    path : str or Path
        Replaced whole.
    start_time_ms : int
        Unix time of the start of the run.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    spans = list(_spans(result, start_time_ms * NS_PER_MS))
    resource = {"attributes": [_text("service.name", result.scenario.name)]}
    lines = []
    for first in range(0, len(spans), IN_A_LINE):
        scope = {"scope": {"name": SCOPE}, "spans": spans[first : first + IN_A_LINE]}
        lines.append(json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}) + "\n")
    check_place(path, what="path")
    with whole_file(Path(path)) as file:
        file.writelines(line.encode() for line in lines)
    return len(spans)


def _spans(result: "Result", start_ns: int) -> Iterator[dict[str, Any]]:
    frame = result.frame[result.frame["outcome"].isin(STATUS)]
    asked = {name: result.scenario.request(name) for name in result.scenario.routes}
    columns = (frame[name] for name in ("request", "route", "arrival_ms", "latency_ms", "outcome"))
    for number, route, arrival_ms, latency_ms, outcome in zip(*columns, strict=True):
        request, status = asked[str(route)], STATUS[str(outcome)]
        begun_ns = start_ns + round(arrival_ms * NS_PER_MS)
        yield {
            "traceId": f"{stream_key(result.seed, f'trace.{number}'):016x}{number:016x}",
            "spanId": f"{stream_key(result.seed, f'span.{number}'):016x}",
            "name": "http_request",
            "kind": SERVER,
            "startTimeUnixNano": str(begun_ns),
            "endTimeUnixNano": str(begun_ns + round(latency_ms * NS_PER_MS)),
            "attributes": [
                _text("http.request.method", request.method),
                _text("http.route", request.path),
                _text("url.path", request.path),
                {"key": "http.response.status_code", "value": {"intValue": status}},
            ],
            "status": {"code": ERROR if int(status) >= 500 else UNSET},
        }


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
