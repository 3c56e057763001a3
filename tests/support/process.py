"""The reference as its users start it: a process of its own, known by the line with which it says that it is ready."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
