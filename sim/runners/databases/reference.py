"""The reference's row counter, a process of its own beside this one: it walks a statement's bytecode.

The two share a folder of SQLite files and lines of JSON; like any run of the reference, it ends when this process does,
and the folder goes with it (:mod:`sim.runners.sitter`).
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from sim.foundation.errors import RunnerError
from sim.runners.databases.counting import Count, Value, shown
from sim.runners.lifetime import attended
from sim.runners.reference import PROCESS, stop

STEPS_MAX = 2_000_000
"""Instructions of one walk: some 200,000 rows, or a few seconds; more is extrapolated."""


class CounterProcess:
    """The process, and the folder of the databases that it counts on.

    Parameters
    ----------
    folder : Path
    process : subprocess.Popen
        With pipes.
    messages : file
        What it says on its standard error.
    """

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", messages: IO[bytes]) -> None:
        self.folder = folder
        self._process = process
        self._messages = messages

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request.

        Raises
        ------
        RunnerError
            The process ended.
        """
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pipe_in.write(json.dumps(asked).encode() + b"\n")
            pipe_in.flush()
            answer: dict[str, Any] = json.loads(pipe_out.readline())
        except (OSError, ValueError):
            self._messages.seek(0)
            said = self._messages.read().decode(errors="replace").strip().splitlines()
            raise RunnerError(f"the row counter ended: {said[-1] if said else 'it said nothing'}") from None
        return answer


class ReferenceCounter:
    """Counts rows on one SQLite file.

    Parameters
    ----------
    process : CounterProcess
    database : str
        Name of the file, in the process's folder.
    """

    name = "reference"

    def __init__(self, process: CounterProcess, database: str) -> None:
        self._process = process
        self._database = database

    def count(self, sql: str, params: Sequence[Value], *, steps: int) -> Count | None:
        """Return what one statement reads and writes; None if its bytecode cannot be walked."""
        asked = {"database": self._database, "sql": sql, "steps_max": STEPS_MAX}
        found = self._process.answer({**asked, "params": [shown(value) for value in params]})
        if "rows_read" not in found:
            return None
        if found["is_whole"]:
            return Count(found["rows_read"], found["rows_written"])
        scale = max(1.0, steps / max(found["steps"], 1))
        return Count(round(found["rows_read"] * scale), round(found["rows_written"] * scale), is_exact=False)

    def execute(self, sql: str) -> None:
        """Do nothing: it reads the file that was changed."""


@contextmanager
def counter_process() -> Iterator[CounterProcess]:
    """Start the process with an empty folder for databases; both are gone when the context ends, or this process."""
    with TemporaryDirectory(prefix="headroom-d1-", ignore_cleanup_errors=True) as scratch, TemporaryFile() as messages:
        folder = Path(scratch)
        command: list[str | Path] = [sys.executable, "-P", "-m", PROCESS, "--count-rows-in", folder]
        # A session of its own, so that a Ctrl-C meant for this process does not reach it.
        process = subprocess.Popen(
            attended(folder, command=command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            start_new_session=True,
        )
        try:
            yield CounterProcess(folder, process, messages)
        finally:
            assert process.stdin is not None
            with suppress(OSError):  # It may have ended with a request unread.
                process.stdin.close()
            stop(process)
