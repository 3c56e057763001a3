"""The contract over HTTP on the real runtime: the very tests that judge the reference.

Goal: the Worker that is deployed answers as the reference does. Method: the same test functions, unchanged, against
the brief's Worker on workerd; ``url`` alone is another.
"""

from collections.abc import Iterator

import pytest

from sim.runners import workerd
from tests.reference_impl.test_contract import *  # noqa: F403  # every test of the contract


@pytest.fixture(scope="module")  # type: ignore[no-redef]  # in place of the reference's
def url() -> Iterator[str]:
    """The base URL of the brief's Worker on the real runtime."""
    with workerd.running() as running:
        yield running.deployment.http
