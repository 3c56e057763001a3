"""Read replicas of a database: copies with a thread of their own, which apply a commit only when it is old enough.

::

    primary ── commits, with their times ──► pending of each replica ── older than the lag ──► its rows

A replica that is read at a time t with a lag L first applies what was committed until t - L. In a session a read may
carry a *bookmark*, the time of the last commit that the session knows of: the replica then makes it wait until it has
that commit. So a session reads its own writes, and another reader may find old rows.

The statements of routes are repeated on each copy, which is enough, since nothing else of a copy is read. The
platform copies pages.

Sources
-------
D1 read replication page: asynchronous copies, sessions with bookmarks, sequential consistency. D1 limits page: each
replica has its own queue. The lag has no published figure; each read draws one.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from reference_impl.d1 import route_rows
from reference_impl.d1.database import Site, Statement
from reference_impl.d1.settings import D1Settings
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Station, Stopwatch
from reference_impl.timing.tape import Tape

FIRST_PRIMARY, BOOKMARK = "first-primary", "bookmark"
AT_REPLICAS = ("first-unconstrained", BOOKMARK)
SESSIONS = ("", FIRST_PRIMARY, *AT_REPLICAS)
"""Constraints of a session; empty: the query belongs to none, and the primary executes it."""
PENDING_MAX = 100_000
"""Commits that a replica nobody reads keeps; of more, the oldest is applied."""
LONG_AGO_MS = -math.inf


@dataclass(frozen=True)
class Note:
    """What a route says of the statements that it runs.

    Parameters
    ----------
    key
        Key of the request, whose session it is.
    session
        Constraint of the session; empty: they belong to none.
    statements
        Those that change rows, which the replicas repeat.
    prepares
        Whether they only create the data that later requests need: every copy has them at once.
    is_named
        Whether they are statements that the route names, which concern the tables of the schema.
    """

    key: int
    session: str
    statements: Sequence[Statement] = ()
    prepares: bool = False
    is_named: bool = False


class Replica(Site):
    """One copy: the rows that it has, and the commits that it has not applied yet."""

    tables: Engine | None = None
    """Its copy of the schema's tables; None: the database has none."""

    def __init__(self, engine: Engine, thread: Station, rtt_ms: Tape) -> None:
        super().__init__(engine, thread, rtt_ms)
        self._pending: deque[tuple[float, Engine, Sequence[Statement]]] = deque()

    def hear(self, committed_ms: float, note: Note) -> None:
        """Keep a commit until it is old enough."""
        engine = self.tables if note.is_named and self.tables is not None else self.engine
        self._pending.append((committed_ms, engine, note.statements))
        if len(self._pending) > PENDING_MAX:
            self.apply(self._pending[0][0])

    def apply(self, until_ms: float) -> None:
        """Apply what was committed until *until_ms*."""
        while self._pending and self._pending[0][0] <= until_ms:
            _, engine, statements = self._pending.popleft()
            with engine.transaction():
                for statement in statements:
                    engine.execute(statement.sql, statement.params)


class Replicas:
    """All replicas of a database, and the bookmarks of its sessions.

    Parameters
    ----------
    primary
        The database whose rows they begin with.
    engines
        One for each region.
    clock
        The deployment's clock.
    settings
        Of the database; they say how far the replicas are, and how far behind.
    name
        Name of the database, to which the times are attributed.
    """

    def __init__(
        self, primary: Engine, engines: Sequence[Engine], *, clock: Clock, settings: D1Settings, name: str
    ) -> None:
        assert settings.replicas is not None, "the builder has looked"
        self._lag_ms = settings.replicas.lag_ms
        self._name = name
        self._newest_ms = LONG_AGO_MS
        self._bookmarks: dict[int, float] = {}
        self._replicas: list[Replica] = []
        for engine in engines:
            route_rows.copy(primary, engine)
            thread = Station(clock, f"{name}_replica", queue_limit=settings.queue_limit)
            self._replicas.append(Replica(engine, thread, settings.replicas.rtt_ms))

    def keep_tables(self, engines: Sequence[Engine]) -> None:
        """Give each replica a copy of the schema's tables."""
        for replica, engine in zip(self._replicas, engines, strict=True):
            replica.tables = engine

    def of(self, key: int) -> Replica:
        """Return the replica of a key's region."""
        return self._replicas[key % len(self._replicas)]

    def committed(self, at_ms: float, note: Note | None) -> None:
        """Hear of a commit; without a *note* it changed no rows of routes, and belongs to no session."""
        prepares = note is not None and note.prepares
        if note is not None:
            for replica in self._replicas:
                replica.hear(LONG_AGO_MS if prepares else at_ms, note)
        if prepares:
            return
        self._newest_ms = at_ms
        if note is not None and note.session:
            self._bookmarks[note.key] = at_ms

    def seen(self, key: int) -> None:
        """Move the bookmark of a session to the newest commit, which the primary has shown it."""
        self._bookmarks[key] = max(self._bookmarks.get(key, LONG_AGO_MS), self._newest_ms)

    async def admit(self, replica: Replica, note: Note, *, stopwatch: Stopwatch) -> None:
        """Let a query wait until a replica has what its session knows of, and apply what is old enough by then."""
        await stopwatch.catch_up()
        lag_ms = stopwatch.draw_ms(self._lag_ms)
        known_ms = self._bookmarks.get(note.key, LONG_AGO_MS) if note.session == BOOKMARK else LONG_AGO_MS
        stopwatch.delay(self._name, max(0.0, lag_ms - (stopwatch.planned_ms - known_ms)))
        await stopwatch.catch_up()
        replica.apply(max(known_ms, stopwatch.planned_ms - lag_ms))
