"""The reference against the real runtime, on random sequences.

Goal: whatever sequence of requests, SQL or object calls a client makes, both answer alike, and end in the same state;
what differs stands in docs/CONFORMANCE.md. Method: sequences by Hypothesis, played on both.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from sim.runners import workerd
from tests.runtime import api_sequences, binding_sequences, object_sequences, socket_sequences
from tests.runtime.outcomes import Side
from tests.runtime.probe import probing
from tests.runtime.sides import Reference, Runtime
from tests.support.process import started

SEQUENCES_MIN = 300


def examples() -> int:
    """How many sequences of each kind: at least 300, as many as a profile asks for if that is more."""
    return max(SEQUENCES_MIN, settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev")).max_examples)


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[api_sequences.Client, api_sequences.Client]]:
    """The brief's API on the reference and on the real runtime."""
    with started("--fsync", "off") as (_, ready), workerd.running() as running:
        ours, theirs = api_sequences.Client(str(ready["http"])), api_sequences.Client(running.deployment.http)
        try:
            yield ours, theirs
        finally:
            ours.close()
            theirs.close()


@settings(max_examples=examples(), suppress_health_check=list(HealthCheck), deadline=None)
@given(asked=api_sequences.sequences())
def test_the_api_answers_alike(
    clients: tuple[api_sequences.Client, api_sequences.Client], asked: list[api_sequences.Ask]
) -> None:
    assert api_sequences.differences(clients, asked) == []


@pytest.fixture(scope="module")
def seed_clients() -> Iterator[tuple[api_sequences.Client, api_sequences.Client]]:
    """The same with the ledger as the brief's code writes it."""
    deployment = {**workerd.BRIEF, "system": {"ledger": {"policy": "seed"}}}
    with started("--fsync", "off", "--policy", "seed") as (_, ready), workerd.serving(deployment) as running:
        ours, theirs = api_sequences.Client(str(ready["http"])), api_sequences.Client(running.deployment.http)
        try:
            yield ours, theirs
        finally:
            ours.close()
            theirs.close()


@settings(max_examples=examples() // 3, suppress_health_check=list(HealthCheck), deadline=None)
@given(asked=api_sequences.ledger_sequences)
def test_the_seed_policy_answers_alike(
    seed_clients: tuple[api_sequences.Client, api_sequences.Client], asked: list[api_sequences.Ask]
) -> None:
    assert api_sequences.differences(seed_clients, asked) == []


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    """Database, bucket, namespace and objects of the reference and of the real runtime."""
    with closing(Reference()) as reference, probing() as probe:
        yield reference, Runtime(probe)


@settings(max_examples=examples(), suppress_health_check=list(HealthCheck), deadline=None)
@given(calls=binding_sequences.d1_calls)
def test_sql_has_the_same_outcome(sides: tuple[Side, Side], calls: list[Any]) -> None:
    assert binding_sequences.sql_differences(sides, calls) == []


@settings(max_examples=examples(), suppress_health_check=list(HealthCheck), deadline=None)
@given(calls=binding_sequences.r2_calls)
def test_calls_of_a_bucket_have_the_same_outcome(sides: tuple[Side, Side], calls: list[Any]) -> None:
    assert binding_sequences.r2_differences(sides, calls) == []


@settings(max_examples=examples(), suppress_health_check=list(HealthCheck), deadline=None)
@given(calls=object_sequences.kv_calls)
def test_calls_of_a_kv_namespace_have_the_same_outcome(sides: tuple[Side, Side], calls: list[Any]) -> None:
    assert object_sequences.kv_differences(sides, calls) == []


@settings(max_examples=examples(), suppress_health_check=list(HealthCheck), deadline=None)
@given(steps=object_sequences.object_steps)
def test_events_of_an_object_have_the_same_outcome(sides: tuple[Side, Side], steps: list[Any]) -> None:
    assert object_sequences.object_differences(sides, steps, name=api_sequences.new_name()) == []


@settings(max_examples=examples(), suppress_health_check=list(HealthCheck), deadline=None)
@given(asked=socket_sequences.socket_steps)
def test_sockets_have_the_same_outcome(
    clients: tuple[api_sequences.Client, api_sequences.Client], asked: list[Any]
) -> None:
    assert socket_sequences.socket_differences([client.url for client in clients], asked) == []
