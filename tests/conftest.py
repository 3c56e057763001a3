"""Settings that every test shares.

Property tests run 50 examples, 500 in CI, that never change: the same commit passes or fails everywhere. New examples
are drawn with ``HYPOTHESIS_PROFILE=explore`` (500) and ``nightly`` (10,000); what they find becomes a test of its own.
No example has a deadline: a busy machine is not a wrong result.
"""

import os
import signal

import pytest
from hypothesis import settings

from tests.support.watched_databases import watch

settings.register_profile("dev", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=500, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=500, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# A script that starts the tests in the background has Ctrl-C ignored, and so would all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Make a database that nobody closed an error on every version of Python."""
    patch = pytest.MonkeyPatch()
    watch(patch)
    config.add_cleanup(patch.undo)
