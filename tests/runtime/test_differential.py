"""The reference against the real runtime, on random sequences.

Goal: whatever sequence of requests, SQL or object calls a client makes, both answer alike, and end in the same state;
what differs stands in docs/CONFORMANCE.md. Method: sequences by Hypothesis, played on both.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from sim.runners import workerd
from tests.runtime import api_sequences
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
