"""The real runtime's counter: statements run on the SQLite storage of an object, which D1 is made of."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from sim.foundation.errors import RunnerError
from sim.runners import workerd
from sim.runners.databases.counting import Count, Value, shown

WAIT_S = 120.0
COUNTER = "runtime/counter.ts"
BATCH_BYTES_MAX = 2_000_000
"""Of the statements in one request."""


class Runtime:
    """Objects of a running counter.

    Parameters
    ----------
    url : str
        Of the Worker.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=WAIT_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def calls(self, name: str, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run statements on one object; each outcome has ``rows_read`` and ``rows_written``, or ``error``."""
        try:
            self._connection.request("POST", "/", json.dumps({"name": name, "calls": list(calls)}))
            answer = self._connection.getresponse()
            content = answer.read()
            found = json.loads(content)
        except (OSError, HTTPException, ValueError) as error:
            raise RunnerError(f"workerd did not answer: {str(error) or type(error).__name__}") from None
        outcomes: list[dict[str, Any]] = found
        return outcomes


class RuntimeCounter:
    """Counts rows on one object.

    Parameters
    ----------
    runtime : Runtime
    database : str
        Name of the object.
    """

    name = "workerd"

    def __init__(self, runtime: Runtime, database: str) -> None:
        self._runtime = runtime
        self._database = database

    def count(self, sql: str, params: Sequence[Value], *, steps: int) -> Count | None:
        """Return what one statement reads and writes; it is run, and undone."""
        call = {"sql": sql, "params": [shown(value) for value in params], "undo": True}
        (outcome,) = self._runtime.calls(self._database, [call])
        if "error" in outcome:
            raise RunnerError(f"workerd refuses {' '.join(sql.split())[:60]!r}: {outcome['error']}")
        return Count(outcome["rows_read"], outcome["rows_written"])

    def execute(self, sql: str) -> None:
        """Change the schema."""
        self.script([sql])

    def script(self, statements: Sequence[str]) -> list[str]:
        """Run statements for their effect, many in a request; return what went wrong."""
        troubles: list[str] = []
        batch: list[dict[str, Any]] = []
        size_bytes = 0
        for statement in [*statements, ""]:
            if batch and (not statement or size_bytes + len(statement) > BATCH_BYTES_MAX):
                outcomes = self._runtime.calls(self._database, batch)
                troubles += [outcome["error"] for outcome in outcomes if "error" in outcome]
                batch, size_bytes = [], 0
            batch.append({"sql": statement})
            size_bytes += len(statement)
        return troubles


@contextmanager
def counting_runtime() -> Iterator[Runtime]:
    """Start the real runtime with the counter, and stop it on every way out.

    Raises
    ------
    UsageError
        The runtime is not set up.
    """
    deployment: dict[str, Any] = {"system": {}, "routes": {}}
    with workerd.serving(deployment, worker=COUNTER) as running:
        runtime = Runtime(running.deployment.http)
        try:
            yield runtime
        finally:
            runtime.close()
