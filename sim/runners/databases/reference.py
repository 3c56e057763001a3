"""The reference's row counter, a process of its own beside this one: it walks a statement's bytecode.

The two share a SQLite file and lines of JSON; like any run of the reference, it ends when this process does
(:mod:`sim.runners.leash`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from sim.foundation.errors import RunnerError
from sim.runners.databases.counting import Count, Value, shown
from sim.runners.reference import LEASH, stop

STEPS_MAX = 2_000_000
"""Instructions of one walk: some 200,000 rows, or a few seconds; more is extrapolated."""


class ReferenceCounter:
    """Counts rows on a SQLite file.

    Parameters
    ----------
    process : subprocess.Popen
        The counter, with pipes.
    messages : file
        What it says on its standard error.
    """

    name = "reference"

    def __init__(self, process: "subprocess.Popen[bytes]", messages: IO[bytes]) -> None:
        self._process = process
        self._messages = messages

    def count(self, sql: str, params: Sequence[Value], *, steps: int) -> Count | None:
        """Return what one statement reads and writes; None if its bytecode cannot be walked."""
        asked = {"sql": sql, "params": [shown(value) for value in params], "steps_max": STEPS_MAX}
        found = self._answer(json.dumps(asked))
        if "rows_read" not in found:
            return None
        if found["is_whole"]:
            return Count(found["rows_read"], found["rows_written"])
        scale = max(1.0, steps / max(found["steps"], 1))
        return Count(round(found["rows_read"] * scale), round(found["rows_written"] * scale), is_exact=False)

    def execute(self, sql: str) -> None:
        """Do nothing: it reads the file that was changed."""

    def _answer(self, line: str) -> dict[str, Any]:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write(line.encode() + b"\n")
            pipe_in.flush()
            answer: dict[str, Any] = json.loads(pipe_out.readline())
        except (OSError, ValueError):
            self._messages.seek(0)
            said = self._messages.read().decode(errors="replace").strip().splitlines()
            raise RunnerError(f"the row counter ended: {said[-1] if said else 'it said nothing'}") from None
        return answer


@contextmanager
def reference_counter(database: Path, folder: Path) -> Iterator[ReferenceCounter]:
    """Count rows on a SQLite file for as long as the context lasts.

    Parameters
    ----------
    database : Path
        The file, which may change meanwhile.
    folder : Path
        Removed by the counter if this process is killed.
    """
    command: list[str | Path] = [
        sys.executable,
        "-P",
        "-m",
        LEASH,
        str(os.getpid()),
        folder,
        "--count-rows-of",
        database,
    ]
    with TemporaryFile() as messages:
        # A session of its own, so that a Ctrl-C meant for this process does not reach it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, start_new_session=True
        )
        try:
            yield ReferenceCounter(process, messages)
        finally:
            stop(process)
