"""The OpenAPI description: it names what the Worker routes, and every promise in it is kept.

Goal: a client made from the description works. Method: the description against the Worker's own
routing table; then schemathesis makes requests from it, sends them to the real process, and checks
every answer against it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from reference_impl import openapi, workers

ADAPTER_PATH = "/loras/{lora_id}/adapter.safetensors"
SCHEMA = schemathesis.openapi.from_dict(dict(openapi.DESCRIPTION))
OPERATIONS = [(path, method) for path, methods in openapi.PATHS.items() for method in methods]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Start a reference at full speed."""
    command = [sys.executable, "-m", "reference_impl", "--fsync", "off"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["http"])
        finally:
            process.terminate()


def test_every_route_is_described_and_nothing_else() -> None:
    routed = {path: set(methods) for path, methods in workers.ROUTES.items()}
    routed[ADAPTER_PATH] = set(workers.LORA_ROUTES)
    routed |= {f"/synapse/{{session_id}}/{last}": set(routes) for last, routes in workers.SYNAPSE_ROUTES.items()}
    described = {path: {m.upper() for m in methods} for path, methods in openapi.PATHS.items()}
    assert described == routed


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_keeps_the_promise_of_the_description(base_url: str, path: str, method: str) -> None:
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    # A well-formed event may still be more than the account may owe, a question come while another is answered, and
    # a WebSocket is asked for with headers that no description can demand.
    excluded = [positive_data_acceptance] if path == "/log" or path.startswith("/synapse") else []
    operation = SCHEMA[path][method.upper()]
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def fuzz(case: Any) -> None:
        case.call_and_validate(base_url=base_url, excluded_checks=excluded)

    fuzz()
