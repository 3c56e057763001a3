"""The OpenAPI description: it names what the Worker routes, and every promise in it is kept.

Goal: a client made from the description works. Method: the description against the Worker's own
routing table; then schemathesis makes requests from it, sends them to the real process, and checks
every answer against it. That it would find a promise that is not kept is shown by descriptions that lie and by a
server with a defect.
"""

import copy
import json
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from reference_impl.ledger import events
from reference_impl.workers import openapi
from reference_impl.workers import worker as workers
from tests.support.process import started

ADAPTER_PATH = "/loras/{lora_id}/adapter.safetensors"
DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000
DESCRIPTION = openapi.description(NOW_MS)
# The description promises a little less than is taken, since time goes on between reading it and sending. What lies
# outside of these bounds must be refused whenever it is sent; the exact ones are tested in test_event_dates.py.
EVENT = DESCRIPTION["paths"]["/log"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
EVENT["event_time_ms"] |= {
    "minimum": NOW_MS - events.DATE_BACK_MS_MAX - DAY_MS,
    "maximum": NOW_MS + events.DATE_AHEAD_MS_MAX + DAY_MS,
}
SCHEMA = schemathesis.openapi.from_dict(dict(DESCRIPTION))
OPERATIONS = [(path, method) for path, methods in openapi.PATHS.items() for method in methods]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Start a reference at full speed."""
    with started("--fsync", "off") as (_, ready):
        yield str(ready["http"])


def test_every_route_is_described_and_nothing_else() -> None:
    routed = {path: set(methods) for path, methods in workers.ROUTES.items()}
    routed[ADAPTER_PATH] = set(workers.LORA_ROUTES)
    routed |= {f"/synapse/{{session_id}}/{last}": set(routes) for last, routes in workers.SYNAPSE_ROUTES.items()}
    described = {path: {m.upper() for m in methods} for path, methods in openapi.PATHS.items()}
    assert described == routed


def lie(path: str, method: str, *, about: str) -> Any:
    """Return the description with one promise that the deployment does not keep."""
    description = copy.deepcopy(dict(DESCRIPTION))
    responses = description["paths"][path][method]["responses"]
    if about == "status":
        del responses["400"]
    elif about == "schema":
        responses["200"]["content"]["application/json"]["schema"]["required"].append("never there")
    else:
        responses["200"]["content"] = {"text/plain": {"schema": {}}}
    return schemathesis.openapi.from_dict(description)[path][method.upper()]


@pytest.mark.parametrize(("path", "method"), [("/balance", "get"), ("/log", "post"), ("/flush", "post")])
@pytest.mark.parametrize("about", ["status", "schema", "content type"])
def test_a_promise_that_is_not_kept_is_found(base_url: str, path: str, method: str, about: str) -> None:
    with pytest.raises((FailureGroup, Failure)):
        fuzz(lie(path, method, about=about), base_url, phases=[Phase.generate])


class Broken(BaseHTTPRequestHandler):
    """Answers as the last door of a deployment does that has a defect."""

    def do_GET(self) -> None:
        body = json.dumps({"success": False, "error": {"code": "internal", "message": "a defect"}}).encode()
        self.send_response(500)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def test_a_defect_behind_a_route_is_found() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises((FailureGroup, Failure), match="Server error"):
                fuzz(SCHEMA["/balance"]["GET"], f"http://127.0.0.1:{server.server_port}", phases=[Phase.generate])
        finally:
            server.shutdown()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_keeps_the_promise_of_the_description(base_url: str, path: str, method: str) -> None:
    fuzz(SCHEMA[path][method.upper()], base_url)


def fuzz(operation: Any, base_url: str, *, phases: Sequence[Phase] = tuple(Phase)) -> None:
    """Send good and bad requests of an operation; check every answer."""
    path = operation.path
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    # A well-formed event may still be more than the account may owe, a question come while another is answered, and
    # a WebSocket is asked for with headers that no description can demand.
    excluded = [positive_data_acceptance] if path == "/log" or path.startswith("/synapse") else []
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=phases)
    @given(case=cases)
    def send(case: Any) -> None:
        case.call_and_validate(base_url=base_url, excluded_checks=excluded)

    send()
