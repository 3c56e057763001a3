"""Tests on the real runtime: ``make test-runtime`` runs them. Elsewhere they are skipped, and say so.

With ``HEADROOM_RUNTIME=1`` a runtime that is not set up is a failure, not a reason to skip.
"""

import os

import pytest

from sim.foundation.errors import UsageError
from sim.runners.runtime import find


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder unless they were asked for."""
    if os.environ.get("HEADROOM_RUNTIME") == "1":
        return
    skip = pytest.mark.skip(reason="not tested on the real runtime (make test-runtime)")
    for item in items:
        if "tests/runtime/" in item.path.as_posix():
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def runtime_is_set_up() -> None:
    """One clear failure in place of many."""
    try:
        find()
    except UsageError as error:
        pytest.exit(str(error), returncode=2)
