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

STORED = "stored_bytes"

EVERY_S, SESSION_S = 20.0, 300.0
"""Assumed seconds between two messages of a client, and of a session where no log says its length."""

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
    messages : tuple
        Seconds between messages on its WebSockets, and of a session, or nothing.
    rooms : str
        Instance whose objects hold its WebSockets; empty for none that is known.
    hints : tuple of str
        Comments beside its steps.
    latency : LogRoute or None
        The route of the log whose latencies are its own; None where the log has none, or other times.
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
    messages: tuple[float, float] | None = None
    rooms: str = ""
    hints: tuple[str, ...] = ()
    latency: LogRoute | None = None


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
                steps, hints = self._work(reads=False), tuple(self._hints(reads=False))
                found.append(Draft(route, 1.0, "", "POST", f"/{route}", steps, said, enter=name, hints=hints))
        return tuple(found)

    def _logged(self, route: LogRoute, log: Log) -> Draft:
        reads = route.method in READS
        large = route.size_bytes_median >= LARGE_BYTES and bool(self.parts.of("r2"))
        opens = route.socket_share > MAJORITY
        objects = self._named_object(route.path)
        in_path = opens or objects is not None  # Its object is the one that its path names, whoever asks.
        ids, zipf = (route.path_ids, route.path_zipf) if in_path and log.key_column else (route.ids, route.zipf)
        own_keys = ids > 1 and not large and (in_path or not log.key_column)
        said = [f"{route.match or route.name}: {route.count:,} requests of the log ({route.share:.2%})."]
        sessions = route.socket_share > MAJORITY
        partial = log.first_byte and large and reads
        if route.latencies and (sessions or partial):
            times = f"Its times in the log (P50 {route.latency_ms_p50:.4g} ms, P99 {route.latency_ms_p99:.4g} ms)"
            whole = sessions and not log.first_byte
            why = "may be whole sessions'" if whole else "end with the first byte"
            said.append(f"{times} {why}: they stand beside no latency of the model.")
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
            population=(ids, zipf) if own_keys else None,
            size_bytes=size,
            objects=max(route.distinct_paths or route.ids, 1) if large and reads else 0,
            measured=True,
            messages=_messages(route) if opens else None,
            rooms=self._rooms(objects) if opens else "",
            hints=() if opens or large else tuple(self._hints(reads=reads, path=route.path)),
            latency=route if route.latencies and not (sessions or partial) else None,
        )

    def _rooms(self, named: Part | None) -> str:
        """The namespace of the objects that hold WebSockets: that whose class the path names, or the only one."""
        all_of = self.parts.of("durable_objects")
        return named.name if named is not None else all_of[0].name if len(all_of) == 1 else ""

    def _hints(self, *, reads: bool, path: str = "") -> Iterator[str]:
        """What is worth knowing beside the steps: the arithmetic of what stays, and a cache in front of a database."""
        plain = self._work(reads=reads, path=path)[-1]
        caches, database = self.parts.of("kv"), self.parts.of("d1")
        if not reads and self.schema is not None and STORED in plain:
            table = self.schema.table_of(path)
            tables = [table] if table else list(self.schema.values_bytes)
            yield f"ASSUMED stored_bytes, by the columns of {'its table' if table else 'all tables, on average'}:"
            yield from (f"  {self.schema.arithmetic(name)}" for name in tables)
        if reads and caches and database and f'"{database[0].name}.' in plain:
            cache = caches[0]
            fill = f'{{ use = "{cache.name}.put", new_fraction = 0, spawn = true }}'
            yield f"If {cache.binding.name} is a cache before it, each miss fills it: half a bill may be such writes."
            yield "chance is the share of misses; size_bytes of the route are then those of the value:"
            yield f'  steps = ["workers.compute", "{cache.name}.get", {{ chance = 0.2, steps = [{plain}, {fill}] }}]'

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
                if route.sessions:
                    said.append(
                        f"MEASURED: {route.sessions:,} sessions, mean {route.session_s_mean:,.4g} s, median "
                        f"{route.session_s_median:,.4g} s; messages follow from the mean."
                    )
                    said.append(f"ASSUMED: a client sends a message every {EVERY_S:g} s. No log holds them: put yours.")
                else:
                    self.lacking.append(f"{route.match}: the messages in its WebSockets, which no log holds")
                    said.append(
                        "The messages in its WebSockets are in no log, nor is the length of its sessions. State:"
                    )
                    said.append(f"  messages = {{ every_s = {EVERY_S:g}, session_s = {SESSION_S:g} }}")
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
                return ('"workers.compute"', self._store(part, operation, path))
        return ('"workers.compute"',)

    @staticmethod
    def _plain(part: Part) -> dict[bool, str]:
        """The operations of a store that move no file: the first that reads, and the first that changes something."""
        found: dict[bool, str] = {}
        for name, operation in component(part.component).operations.items():
            if not operation.downloads and not operation.uploads:
                found.setdefault(operation.reads, name)
        return found

    def _store(self, part: Part, operation: str, path: str) -> str:
        if part.component == "d1" and operation == "write" and self.schema is not None:
            table = self.schema.table_of(path)
            rows, stored = self.schema.rows_written(table), self.schema.stored_bytes(table)
            return f'{{ use = "{part.name}.write", rows_written = {rows:.3g}, {STORED} = {stored:.0f} }}'
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
        for name, share, method in (("read", 0.7, "GET"), ("write", 0.2, "POST")):
            reads = method == "GET"
            steps, hints = self._work(reads=reads), tuple(self._hints(reads=reads))
            yield Draft(name, share, "", method, f"/{name}/{{key}}", steps, said, hints=hints)
        for part in self.parts.of("r2")[:1]:
            steps = ('"workers.compute"', f'"{part.name}.get"')
            yield Draft(
                "file", 0.1, "", "GET", "/files/{object}", steps, said, size_bytes=(200_000, 2_000_000), objects=100
            )


def _messages(route: LogRoute) -> tuple[float, float] | None:
    """Seconds between messages, assumed, and of a session, measured; nothing without the latter."""
    return (EVERY_S, float(f"{route.session_s_mean:.4g}")) if route.sessions and known("websocket") else None
