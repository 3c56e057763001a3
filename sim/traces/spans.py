"""Spans of OpenTelemetry, as exporters write them to files: many in a line of JSON.

Sources
-------
OpenTelemetry: protocol specification (OTLP/JSON), semantic conventions of HTTP spans, today's and those before 1.23.
"""

from collections.abc import Iterator, Mapping
from typing import Any

ATTRIBUTES = {
    "method": ("http.request.method", "http.method"),
    "path": ("url.path", "http.target", "url.full", "http.url"),
    "http.route": ("http.route",),
    "status": ("http.response.status_code", "http.status_code"),
}
"""Where a span of a request says what was asked for, the newer name first."""

SERVER = ("2", "SPAN_KIND_SERVER")
"""How the kind of a span says that it is the side that answers."""

NS_PER_MS = 1_000_000


def spans_of(document: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what is taken of each span of one line."""
    for resource in document["resourceSpans"]:
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield _cells(span)


def _cells(span: Mapping[str, Any]) -> dict[str, str]:
    attributes = {entry["key"]: entry.get("value", {}) for entry in span.get("attributes", ())}
    start, end = int(span["startTimeUnixNano"]), int(span.get("endTimeUnixNano", 0))
    found = {
        "startTimeUnixNano": str(start),
        "latency_ms": str((end - start) / NS_PER_MS) if end else "",
        "kind": "server" if str(span.get("kind", "")) in SERVER else "",
    }
    for name, keys in ATTRIBUTES.items():
        value: Any = next((attributes[key] for key in keys if key in attributes), {})
        found[name] = str(next(iter(value.values()), "")) if isinstance(value, Mapping) else ""
    return found
