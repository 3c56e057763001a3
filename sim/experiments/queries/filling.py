"""Rows for tables that are empty: values that fit types, keys, references and simple checks.

Row *i* of a table is a function of *i*, the table's size and a seed: no row is drawn twice, a child finds its parent
without looking, and both databases of a comparison get the same rows. A column that is unique counts; one that refers
to another table goes through its rows evenly; one whose name says that it has few values has ten; a flag that queries
compare with a literal holds that literal in nine rows of ten. Whoever knows better says so (``--values``).
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sim.experiments.queries.schema import Column, TableSchema

Value = int | float | str | bytes | None
Maker = Callable[[int], Value]
"""The value of row *i*."""
Weights = tuple[tuple[Value, float], ...]
"""Values with their shares."""

FEW = 10
"""Distinct values of a column whose name says that there are few."""
FEW_NAMES = frozenset(
    "type kind status state role domain category country language lang locale region model plan version tag currency "
    "level source method channel platform gender priority color colour size brand provider tier genre".split()
)
FILLED_SHARE = 0.99
"""Fewer rows than this share of those asked for are worth a word."""
USUAL_SHARE = 0.9
"""Rows that hold what queries ask of a flag."""
FLAGS = ("is_", "has_", "can_")
SECONDS_PER_ROW = 60
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Habits:
    """What is known of values beside the schema.

    Attributes
    ----------
    chosen : mapping of (table, column) to int or weights
        Asked for: a number of distinct values, or values with their shares.
    asked : mapping of (table, column) to literals
        What the queries compare columns with.
    joined : mapping of (table, column) to str
        Columns that queries join without a reference between them, by the name that their values have in common.
    seed : int
    """

    chosen: Mapping[tuple[str, str], int | Weights] = field(default_factory=dict)
    asked: Mapping[tuple[str, str], Sequence[Value]] = field(default_factory=dict)
    joined: Mapping[tuple[str, str], str] = field(default_factory=dict)
    seed: int = 0


class Filler:
    """Makes rows of tables of given sizes.

    Parameters
    ----------
    tables : mapping of str to TableSchema
    sizes : mapping of str to int
        Rows of each table that is filled.
    habits : Habits
    """

    def __init__(self, tables: Mapping[str, TableSchema], sizes: Mapping[str, int], habits: Habits) -> None:
        self.tables = tables
        self.sizes = sizes
        self._habits = habits
        self._makers: dict[tuple[str, str], Maker] = {}
        self.assumed: dict[tuple[str, str], str] = {}
        """In words, what was assumed of a column."""
        self.unlike: set[tuple[str, str]] = set()
        """Columns taken to have as many values as rows, though nothing says that they are unique."""

    def row(self, table: str, number: int) -> tuple[Value, ...]:
        """Return row *number* of a table; those from its size on are new rows."""
        return tuple(self.value(table, column.name, number=number) for column in self.tables[table].columns)

    def rows(self, table: str) -> Iterator[tuple[Value, ...]]:
        """Yield all rows of a table."""
        makers = [self._maker(table, column.name) for column in self.tables[table].columns]
        for number in range(self.sizes[table]):
            yield tuple(maker(number) for maker in makers)

    def value(self, table: str, column: str, *, number: int) -> Value:
        """Return one value."""
        return self._maker(table, column)(number)

    def _maker(self, table: str, column: str) -> Maker:
        place = (table, column)
        if place not in self._makers:
            self._makers[place] = self._made(self.tables[table], self.tables[table].column(column))
        return self._makers[place]

    def _made(self, table: TableSchema, column: Column) -> Maker:
        place = (table.name, column.name)
        chosen = self._habits.chosen.get(place)
        if isinstance(chosen, tuple):
            return self._weighted(place, chosen)
        if column.name in table.parents:
            return self._referring(table, column)
        if chosen is not None:
            return self._repeated(place, column, chosen)
        if column.name == table.rowid:
            return lambda number: number + 1
        if self._is_counted(table, column):
            return self._typed(place, column)
        if place in self._habits.joined:
            count = max(self.sizes.get(table.name, 1) // FEW, 1)
            self.assumed[place] = f"{count:,} distinct values, as it is joined"
            return self._repeated(place, column, count)
        allowed = [literal(text) for text in column.allowed]
        if set(allowed) - {0, 1}:
            return self._cycled(place, allowed)
        return self._usual(place, column)

    def _usual(self, place: tuple[str, str], column: Column) -> Maker:
        asked = list(dict.fromkeys(self._habits.asked.get(place, ())))
        if _is_flag(column, asked):
            usual = asked[0] if asked else 1
            other = 0 if usual in (1, None) and column.affinity != "TEXT" else 1
            unusual: Value = _typed(column)(0) if usual is None else other
            return self._weighted(place, ((usual, USUAL_SHARE), (unusual, 1 - USUAL_SHARE)))
        if asked or set(column.name.lower().split("_")) & FEW_NAMES:
            self.assumed[place] = f"{FEW} distinct values"
            filled = [_typed(column)(number) for number in range(FEW - len(asked[:FEW]))]
            return self._cycled(place, [*asked[:FEW], *filled])
        self.unlike.add(place)
        if column.affinity in ("INTEGER", "REAL", "NUMERIC") and not _is_time(column):
            ranks, typed = self._ranks(place), _typed(column)
            return lambda number: typed(_at(ranks, number))
        return _typed(column)

    def _is_counted(self, table: TableSchema, column: Column) -> bool:
        """Whether this column alone makes a key unique: the first of it that neither refers nor is limited."""
        for key in table.keys:
            free = [name for name in key if name not in table.parents and not table.column(name).allowed]
            if free and free[0] == column.name:
                return True
        return False

    def _referring(self, table: TableSchema, column: Column) -> Maker:
        parent, target = table.parents[column.name]
        place = (table.name, column.name)
        if parent == table.name:
            own = self._target(parent, target)
            return lambda number: own((number - 1) // FEW) if number else (own(0) if column.is_required else None)
        count = max(self.sizes.get(parent, 1), 1)
        chosen = self._habits.chosen.get(place)
        count = min(count, chosen) if isinstance(chosen, int) else count
        value = self._target(parent, target)
        key = next((key for key in table.keys if column.name in key and set(key) <= set(table.parents)), None)
        group = table.referring(column.name)
        if key is None or set(key) == set(group):
            # One order for all columns that refer to a row together.
            ranks = self._ranks((table.name, group[0]))
            return lambda number: value(_at(ranks, number) % count)
        first = max(self.sizes.get(table.parents[key[0]][0], 1), 1)
        if column.name in table.referring(key[0]):
            return lambda number: value(number % count)
        # Down the diagonal: a pair is met again only when every pair was.
        return lambda number: value((number % first + number // first) % count)

    def _target(self, parent: str, column: str) -> Maker:
        if parent not in self.sizes:
            return _typed(self.tables[parent].column(column))
        return lambda number: self.value(parent, column, number=number)

    def _cycled(self, place: tuple[str, str], values: Sequence[Value]) -> Maker:
        ranks = self._ranks(place)
        return lambda number: values[_at(ranks, number) % len(values)]

    def _typed(self, place: tuple[str, str], column: Column) -> Maker:
        return _typed(replace(column, name=self._habits.joined.get(place, column.name)))

    def _repeated(self, place: tuple[str, str], column: Column, count: int) -> Maker:
        typed, ranks = self._typed(place, column), self._ranks(place)
        return lambda number: typed(_at(ranks, number) % count)

    def _weighted(self, place: tuple[str, str], weights: Weights) -> Maker:
        total = sum(share for _, share in weights)
        bounds = np.cumsum([share / total for _, share in weights])
        ranks, size = self._ranks(place), max(self.sizes.get(place[0], 1), 1)
        self.assumed[place] = ", ".join(
            f"{_said(value)} in {100 * share / total:.3g} %" for value, share in weights[:3]
        )

        def value(number: int) -> Value:
            at = int(np.searchsorted(bounds, (_at(ranks, number) % size + 0.5) / size))
            return weights[min(at, len(weights) - 1)][0]

        return value

    def _ranks(self, place: tuple[str, str]) -> NDArray[np.int64]:
        """Return a permutation of a table's rows, another one for each column."""
        words = [self._habits.seed, *"\0".join(place).encode()]
        return np.random.default_rng(words).permutation(max(self.sizes.get(place[0], 1), 1))


def fill(connection: sqlite3.Connection, filler: Filler, *, order: Sequence[str]) -> dict[str, str]:
    """Put rows into tables; return for each table that has fewer than it should, why.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode, with the schema.
    filler : Filler
    order : sequence of str
        Tables, parents first.
    """
    troubles = {}
    for table in order:
        if filler.tables[table].content:
            connection.execute(rebuilding(filler.tables[table]))
            continue
        before = rows_in(connection, table)
        connection.execute("BEGIN")
        try:
            connection.executemany(insert_head(filler.tables[table], is_bound=True), filler.rows(table))
            trouble = ""
        except (sqlite3.Error, OverflowError) as error:
            trouble = str(error)
        if connection.in_transaction:
            connection.execute("COMMIT")
        added = rows_in(connection, table) - before
        if added < filler.sizes[table] * FILLED_SHARE:
            why = trouble or "the others break a UNIQUE or a CHECK"
            troubles[table] = f"{added:,} of {filler.sizes[table]:,} rows: {why}"
    return troubles


def insert_head(table: TableSchema, *, is_bound: bool) -> str:
    """Return the beginning of an insert of whole rows; *is_bound*: with a question mark for each value."""
    names = ", ".join(quoted(column.name) for column in table.columns)
    marks = f" ({', '.join('?' * len(table.columns))})" if is_bound else ""
    return f"INSERT OR IGNORE INTO {quoted(table.name)} ({names}) VALUES{marks}"


def rebuilding(table: TableSchema) -> str:
    """Return the statement that indexes the text of another table; rows put in by hand would not fit it."""
    return f"INSERT INTO {quoted(table.name)} ({quoted(table.name)}) VALUES ('rebuild')"  # noqa: S608  # quoted


def quoted(name: str) -> str:
    """Return a name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> Value:
    """Return the value of a literal of SQL."""
    if text.startswith(("'", '"')):
        return text[1:-1].replace("''", "'")
    if text[:1] in "xX":
        return bytes.fromhex(text[2:-1])
    if text.upper() in ("NULL", "TRUE", "FALSE"):
        return {"NULL": None, "TRUE": 1, "FALSE": 0}[text.upper()]
    try:
        return int(text)
    except ValueError:
        return float(text)


def rows_in(connection: sqlite3.Connection, table: str) -> int:
    """Return the rows of a table; 0 if they cannot be counted."""
    try:
        return int(connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])  # noqa: S608  # quoted
    except sqlite3.Error:
        return 0


def _said(value: Value) -> str:
    return "NULL" if value is None else repr(value)


def _at(ranks: NDArray[np.int64], number: int) -> int:
    """The rank of a row; a new row's is its number, so that it meets no other's."""
    return int(ranks[number]) if number < len(ranks) else number


def _is_flag(column: Column, asked: Sequence[Value]) -> bool:
    if column.low is not None or column.high is not None:
        return False
    if (
        "BOOL" in column.declared
        or column.name.lower().startswith(FLAGS)
        or column.default.lower() in ("true", "false")
    ):
        return True
    return bool(asked) and all(value in (0, 1, None) for value in asked)


def _is_time(column: Column) -> bool:
    if column.low is not None or column.high is not None:
        return False
    name = column.name.lower()
    return name.endswith(("_at", "_time", "_date", "date", "timestamp", "_on", "created", "updated", "_ms")) or any(
        word in column.declared for word in ("DATE", "TIME")
    )


def _typed(column: Column) -> Maker:
    """Return distinct values of a column's type, in ascending order where it is a number or a time."""
    if _is_time(column):
        return _timed(column)
    low = column.low if column.low is not None else 0
    width = None if column.high is None else max(int(column.high - low) + 1, 1)
    if column.affinity in ("INTEGER", "NUMERIC"):
        return lambda number: int(low) + (number if width is None else number % width)
    if column.affinity == "REAL":
        return lambda number: float(low) + (number if width is None else number % width)
    if column.affinity == "BLOB":
        return lambda number: number.to_bytes(8, "big")
    if column.default.strip("'\"()") == "[]":
        return lambda number: f"[{number}]"
    if "json" in column.name.lower() or "JSON" in column.declared or column.default.strip("'\"()") == "{}":
        return lambda number: f'{{"n": {number}}}'
    if "email" in column.name.lower():
        return lambda number: f"{number}@mail.invalid"
    # No underscore, which LIKE takes for any character.
    stem = column.name.replace("_", "-")
    return lambda number: f"{stem}-{number}"


def _timed(column: Column) -> Maker:
    if column.affinity in ("INTEGER", "REAL") or (column.affinity == "NUMERIC" and column.declared == "NUMERIC"):
        scale = 1_000 if column.name.lower().endswith("_ms") else 1
        begin_s = int(BEGIN.timestamp())
        return lambda number: (begin_s + number * SECONDS_PER_ROW) * scale
    if column.declared == "DATE":
        return lambda number: (BEGIN + timedelta(days=number)).strftime("%Y-%m-%d")
    return lambda number: (BEGIN + timedelta(seconds=number * SECONDS_PER_ROW)).strftime("%Y-%m-%d %H:%M:%S")
