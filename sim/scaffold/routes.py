"""Routes of a scenario, drafted: each with its request, its keys, and a guess at what it does.

Neither a configuration nor a log says which bindings a route uses. The guess follows from method, size and bindings,
and is marked as one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sim.models.registry import component
from sim.scaffold.grouping import replaced
from sim.scaffold.log import OTHER, Log, LogRoute
from sim.scaffold.migrations import Schema
from sim.scaffold.parts import Part, Parts, known, slug

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""Methods that a scenario's request may have; those of other routes are only matched."""

READS = ("GET", "HEAD", "")

LARGE_BYTES = 50_000
"""From this median size on, a body is taken for a stored object."""

MAJORITY = 0.5
"""Share of a route's answers from which on they say what it is."""


@dataclass(frozen=True)
class Draft:
    """A route, drafted.

    Attributes
    ----------
    name : str
    share : float
    match : str
        Rows of a log that are it; empty for none.
    method, path : str
        Its request, with ``{key}`` and ``{object}``; an empty method for one that cannot be sent.
    steps : tuple of str
        In TOML.
    said : tuple of str
        Comments above it.
    enter : str
        Instance that it comes in by, when that is not the network.
    population : tuple
        Number of keys of its own and their exponent, or nothing.
    size_bytes : tuple
        Median and 99th percentile of its bytes, or nothing.
    objects : int
        Stored objects that the bytes belong to; 0 for new ones.
    measured : bool
        Whether its share comes from a log.
    """

    name: str
    share: float
    match: str
    method: str
    path: str
    steps: tuple[str, ...]
    said: tuple[str, ...] = ()
    enter: str = ""
    population: tuple[int, float] | None = None
    size_bytes: tuple[float, float] | None = None
    objects: int = 0
    measured: bool = False


@dataclass
class Guess:
    """What routes do, as far as bindings, methods and sizes show; records what it could not infer."""

    parts: Parts
    schema: Schema | None = None
    lacking: list[str] = field(default_factory=list)

    def drafts(self, log: Log | None, crons: tuple[str, ...]) -> tuple[Draft, ...]:
        """Return the routes of a log, or examples without one, and one route a schedule."""
        found = [self._logged(route, log) for route in log.routes] if log else list(self._examples())
        taken = {draft.name for draft in found}
        if known("cron"):
            for number in range(len(crons)):
                name = "cron" if not number else f"cron_{number + 1}"
                route = name if name not in taken else f"{name}_run"
                said = (f"Runs by the schedule {crons[number]!r}; its steps are a guess.",)
                found.append(Draft(route, 1.0, "", "POST", f"/{route}", self._work(reads=False), said, enter=name))
        return tuple(found)

    def _logged(self, route: LogRoute, log: Log) -> Draft:
        reads = route.method in READS
        large = route.size_bytes_median >= LARGE_BYTES and bool(self.parts.of("r2"))
        own_keys = route.ids > 1 and not large and not log.key_column
        said = [f"{route.match or route.name}: {route.count:,} requests of the log ({route.share:.2%})."]
        if route.latency_ms_p99 == route.latency_ms_p99:
            said.append(f"Measured latency: P50 {route.latency_ms_p50:.4g} ms, P99 {route.latency_ms_p99:.4g} ms.")
        steps = self._steps(route, reads=reads, large=large, said=said)
        path = replaced(route.path, lambda place: self._place(place, large=large)) if "*" not in route.path else ""
        size = (route.size_bytes_median, route.size_bytes_p99) if large else None
        return Draft(
            route.name,
            round(route.share, 6),
            self._match(route, own_keys=own_keys),
            route.method if route.method in METHODS and path else "",
            path,
            steps,
            tuple(said),
            population=(route.ids, route.zipf) if own_keys else None,
            size_bytes=size,
            objects=max(route.distinct_paths or route.ids, 1) if large and reads else 0,
            measured=True,
        )

    @staticmethod
    def _match(route: LogRoute, *, own_keys: bool) -> str:
        """The pattern of a route's rows; its first id is the key if the route has keys of its own."""
        if not route.path:
            return ""
        path = route.path.replace(":id", "{key}", 1) if own_keys else route.path
        return f"{route.method} {path}".strip()

    @staticmethod
    def _place(place: int, *, large: bool) -> str:
        return "{object}" if large and place == 0 else "{key}" if place == 0 else "{request}"

    def _steps(self, route: LogRoute, *, reads: bool, large: bool, said: list[str]) -> tuple[str, ...]:
        if route.socket_share > MAJORITY:
            if known("websocket"):
                self.lacking.append(f"{route.match}: the messages in its WebSockets, which no log holds")
                said.append("The messages in its WebSockets are in no log: give them a route with websocket.message.")
                return ('"workers.compute"', self._use("websocket", "connect", "message"))
            self.lacking.append(f"{route.match}: WebSocket sessions (status 101); there is no component websocket yet")
            said.append("It opens WebSockets: only the request that does is simulated, not their messages.")
        if route.refused_share > MAJORITY or route.name == OTHER:
            said.append("Most answers refuse it (4xx)." if route.name != OTHER else "Paths too rare for one each.")
            return ('"workers.compute"',)
        if large:
            bucket = self.parts.of("r2")[0].name
            return ('"workers.compute"', f'"{bucket}.{"get" if reads else "put"}"')
        return self._work(reads=reads, path=route.path)

    def _work(self, *, reads: bool, path: str = "") -> tuple[str, ...]:
        """Compute, then what the nearest store does: an object whose class the path names, else the first of them."""
        objects = self._named_object(path)
        if objects is not None:
            return ('"workers.compute"', f'"{objects.name}.{"read" if reads else "write"}"')
        for part in sorted(self.parts.found, key=lambda part: len(self._plain(part)), reverse=True):
            operation = self._plain(part).get(reads)
            if operation is not None:
                return ('"workers.compute"', self._store(part, operation))
        return ('"workers.compute"',)

    @staticmethod
    def _plain(part: Part) -> dict[bool, str]:
        """The operations of a store that move no file: the first that reads, and the first that changes something."""
        found: dict[bool, str] = {}
        for name, operation in component(part.component).operations.items():
            if not operation.downloads and not operation.uploads:
                found.setdefault(operation.reads, name)
        return found

    def _store(self, part: Part, operation: str) -> str:
        if part.component == "d1" and operation == "write" and self.schema is not None:
            return f'{{ use = "{part.name}.write", rows_written = {self.schema.rows_written:.3g} }}'
        if part.component == "d1" and operation == "read":
            return f'{{ use = "{part.name}.read", rows_read = 20 }}'
        return f'"{part.name}.{operation}"'

    def _named_object(self, path: str) -> Part | None:
        words = {word.rstrip("s") for word in slug(path.replace("/", "_")).split("_") if len(word) > 2}
        for part in self.parts.of("durable_objects"):
            called = slug(f"{part.binding.target}_{part.binding.name}").split("_")
            if words & {word.rstrip("s") for word in (*called, slug(part.binding.target))}:
                return part
        return None

    @staticmethod
    def _use(name: str, *operations: str) -> str:
        there = component(name).operations
        return f'"{name}.{next((one for one in operations if one in there), next(iter(there)))}"'

    def _examples(self) -> Iterator[Draft]:
        """Without a log: a read, a write, and a file where there is a bucket."""
        said = ("An example: no log was given.",)
        yield Draft("read", 0.7, "", "GET", "/read/{key}", self._work(reads=True), said)
        yield Draft("write", 0.2, "", "POST", "/write/{key}", self._work(reads=False), said)
        for part in self.parts.of("r2")[:1]:
            steps = ('"workers.compute"', f'"{part.name}.get"')
            yield Draft(
                "file", 0.1, "", "GET", "/files/{object}", steps, said, size_bytes=(200_000, 2_000_000), objects=100
            )
