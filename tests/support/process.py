"""Servers as processes of their own, known by the line with which they say that they are ready."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sim.runners.load.address import Deployment, read_ready_line


@contextmanager
def serving(module: str, asked: dict[str, Any]) -> Iterator[Deployment]:
    """A server of the tests in a process of its own: *module* runs with *asked* as JSON and prints a ready line."""
    command = [sys.executable, "-m", module, json.dumps(asked)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield read_ready_line(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def started(*arguments: str, errors: int | None = None) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """Start it; yield the process and its ready line, and ask it to stop in the end.

    Parameters
    ----------
    *arguments
        After ``python -m reference_impl``.
    errors
        Where its error stream goes, as :class:`subprocess.Popen` takes it.
    """
    command = [sys.executable, "-m", "reference_impl", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
