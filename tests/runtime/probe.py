"""The bindings of the real runtime, called from a test: SQL on D1 and on objects, calls of R2."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sim.runners import workerd

WAIT_S = 60.0
"""A bound on the test's own time."""
SYSTEM: Mapping[str, Any] = {"d1": {}, "r2": {}, "kv": {}}


class Probe:
    """Calls what the probe Worker is bound to."""

    def __init__(self, url: str) -> None:
        self.url = url
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=WAIT_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def calls(self, target: str, binding: str, *, calls: Sequence[Any], name: str = "probe") -> list[dict[str, Any]]:
        """Make calls in order; each outcome has a ``value`` or an ``error``."""
        outcomes: list[dict[str, Any]] = self._asked(target=target, binding=binding, name=name, calls=list(calls))
        return outcomes

    def events(self, name: str, events: Sequence[Sequence[Any]]) -> list[list[dict[str, Any]]]:
        """Send events to an object, all at once; return the outcomes of the calls of each."""
        outcomes: list[list[dict[str, Any]]] = self._asked(
            target="object", binding="ROUTE_OBJECTS", name=name, calls=[list(calls) for calls in events]
        )
        return outcomes

    def _asked(self, **asked: Any) -> Any:
        body = json.dumps(asked)
        self._connection.request("POST", "/", body)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)

    def rows(self, sql: str, *params: Any, binding: str = "d1") -> list[list[Any]]:
        """Return the rows of one query of a database."""
        (outcome,) = self.calls("d1", binding, calls=[{"sql": sql, "params": params}])
        return [list(row.values()) for row in outcome["value"]["results"]]

    def object_values(self, name: str) -> dict[str, Any]:
        """Return what an object of routes keeps under keys."""
        (outcome,) = self.calls("object", "ROUTE_OBJECTS", calls=[{"list": True}], name=name)
        values: dict[str, Any] = outcome["value"]
        return values


@contextmanager
def probing(system: Mapping[str, Any] = SYSTEM, *, state: Path | None = None) -> Iterator[Probe]:
    """Start the probe on a system's bindings, perhaps on the state that another Worker left."""
    deployment = {"system": system, "routes": {}}
    with workerd.serving(deployment, state=state, worker="runtime/probe.ts") as running:
        probe = Probe(running.deployment.http)
        try:
            yield probe
        finally:
            probe.close()
