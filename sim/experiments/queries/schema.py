"""The tables that migrations make: columns, keys, references, and what a check allows."""

import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from operator import itemgetter
from pathlib import Path

from sim.experiments.queries.tokens import split, tokens
from sim.foundation.errors import UsageError

FILES_MAX = 1_000
BYTES_MAX = 10_000_000
"""Of one file."""
WRAPPING = ("BEGIN", "COMMIT", "END")
"""How the statements begin that a dump is wrapped in; the platform runs a file as a transaction anyway."""
GENERATED = (2, 3)
"""What SQLite calls a computed column: virtual, stored."""
OWN_TABLES = ("sqlite_", "_cf_", "d1_migrations")
IN_LIST = r"""\bCHECK\s*\(\s*["`\[]?{name}["`\]]?\s+IN\s*\(([^)]*)\)"""
BOUND = r"""["`\[]?\b{name}\b["`\]]?\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)"""
CONTENT = r"""\bcontent\s*=\s*["'`\[]?(\w+)"""
"""The table whose text a full-text index is of, in the words of FTS5 and FTS4."""
Reference = tuple[str, tuple[str, ...], tuple[str | None, ...]]
"""A table, the columns that refer to it, and those that they refer to; None for its key."""
BETWEEN = r"""["`\[]?\b{name}\b["`\]]?\s+BETWEEN\s+(-?\d+)\s+AND\s+(-?\d+)"""


@dataclass(frozen=True)
class Column:
    """A column that a row gives a value.

    Attributes
    ----------
    name, declared : str
        Its name, and its type as it is written, in capitals.
    is_required : bool
        Not null, and without a default.
    default : str
        As it is written; empty for none.
    allowed : tuple of str
        Literals of ``CHECK (name IN (...))``.
    low, high : float, optional
        Bounds of a simple check.
    """

    name: str
    declared: str
    is_required: bool
    default: str
    allowed: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def affinity(self) -> str:
        """``INTEGER``, ``TEXT``, ``BLOB``, ``REAL`` or ``NUMERIC``, by SQLite's rules."""
        for parts, affinity in (
            ("INT", "INTEGER"),
            ("CHAR CLOB TEXT", "TEXT"),
            ("BLOB", "BLOB"),
            ("REAL FLOA DOUB", "REAL"),
        ):
            if any(part in self.declared for part in parts.split()):
                return affinity
        return "NUMERIC" if self.declared else "TEXT"


@dataclass(frozen=True)
class TableSchema:
    """A table.

    Attributes
    ----------
    name : str
    columns : tuple of Column
        Without generated ones.
    keys : tuple of tuple of str
        Columns of the primary key, then of each unique index.
    rowid : str
        The column that is the number of the row; empty if none is.
    parents : mapping of str to (table, column)
        What columns refer to, declared or by their name (``user_id`` and a table ``users``).
    declared : frozenset of str
        The columns among them whose reference is declared, so that SQLite enforces it.
    is_virtual : bool
    generated : tuple of str
        Columns that are computed; queries may use them, rows do not give them.
    together : mapping of str to tuple of str
        Columns that refer to one row of another table together, each with all of them.
    content : str
        Of a full-text index that holds no text: the table whose text it is of.
    """

    name: str
    columns: tuple[Column, ...]
    keys: tuple[tuple[str, ...], ...]
    rowid: str
    parents: Mapping[str, tuple[str, str]]
    declared: frozenset[str]
    is_virtual: bool = False
    generated: tuple[str, ...] = ()
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    content: str = ""

    @property
    def column_names(self) -> list[str]:
        """Names of all columns, the generated ones last."""
        return [*(one.name for one in self.columns), *self.generated]

    def referring(self, column: str) -> tuple[str, ...]:
        """Return the columns that refer to a row together with this one, and it."""
        return self.together.get(column, (column,))

    def column(self, name: str) -> Column:
        """Return one column."""
        return next(one for one in self.columns if one.name == name)


def read_files(place: Path) -> dict[str, str]:
    """Return the text of each migration by name, in order.

    Raises
    ------
    UsageError
        There are none, or one cannot be read.
    """
    files = sorted(place.glob("*.sql"))[:FILES_MAX] if place.is_dir() else [place]
    if not files:
        raise UsageError(f"migrations={str(place)!r} holds no *.sql file (docs/D1.md)")
    return {file.name: read_sql(file, what="migrations") for file in files}


def read_sql(file: Path, *, what: str) -> str:
    """Return the text of an SQL file.

    Raises
    ------
    UsageError
        It is missing, too large, or no text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{what}={str(file)!r} cannot be read: {error.strerror} (docs/D1.md)") from None
    if len(content) > BYTES_MAX:
        raise UsageError(f"{what}={str(file)!r} has {len(content):,} bytes, must have at most {BYTES_MAX:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}={str(file)!r} is not UTF-8 text, at byte {error.start}") from None
    if "\0" in text:
        raise UsageError(f"{what}={str(file)!r} is not an SQL text: it holds a zero byte")
    return text


def migration_statements(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each statement with the name of its file, without what a dump is wrapped in."""
    found = [(name, text) for name, script in files.items() for text in split(script)]
    return [(name, text) for name, text in found if not tokens(text)[0].says(*WRAPPING)]


def apply(connection: sqlite3.Connection, files: Mapping[str, str]) -> None:
    """Run the migrations.

    Raises
    ------
    UsageError
        A statement fails, or reaches for another database.
    """
    connection.set_authorizer(_authorized)
    try:
        for name, statement in migration_statements(files):
            try:
                connection.execute(statement)
            except (sqlite3.Error, sqlite3.Warning) as error:
                text = " ".join(statement.split())[:60]
                raise UsageError(f"{name}: {text!r} fails: {error} (docs/D1.md)") from None
    finally:
        connection.set_authorizer(None)


def _authorized(action: int, *_: str | None) -> int:
    refused = action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def read_tables(connection: sqlite3.Connection) -> dict[str, TableSchema]:
    """Return the tables of a database by name; views, shadows and the platform's own are left out."""
    rows = connection.execute(
        "SELECT l.name, l.type, s.sql FROM pragma_table_list AS l JOIN sqlite_schema AS s ON s.name = l.name "
        "WHERE l.schema = 'main' AND l.type IN ('table', 'virtual') ORDER BY s.rowid"
    ).fetchall()
    tables = {
        name: _table(connection, name, sql=sql or "", is_virtual=kind == "virtual")
        for name, kind, sql in rows
        if not name.startswith(OWN_TABLES)
    }
    return {name: _with_parents(connection, table, tables) for name, table in tables.items()}


def read_views(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the text of each view by name."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall())


def children(tables: Mapping[str, TableSchema], parents: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
    """Return, by table, the columns by which tables refer to *parents*, as declared: a delete there looks for them."""
    found: dict[str, list[tuple[str, ...]]] = {}
    wanted = set(parents)
    for child in tables.values():
        columns = [one for one in child.parents if one in child.declared and child.parents[one][0] in wanted]
        if columns:
            found[child.name] = list(dict.fromkeys(child.referring(column) for column in columns))
    return found


def _table(connection: sqlite3.Connection, name: str, *, sql: str, is_virtual: bool) -> TableSchema:
    info = connection.execute(
        'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', (name,)
    ).fetchall()
    primary = tuple(row[0] for row in sorted((row for row in info if row[4]), key=lambda row: row[4]))
    unique = [
        tuple(row[0] for row in connection.execute("SELECT name FROM pragma_index_info(?)", (index,)))
        for (index,) in connection.execute(
            'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (name,)
        ).fetchall()
    ]
    keys = tuple(dict.fromkeys(key for key in (primary, *unique) if key and None not in key))
    has_index = connection.execute("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", (name,)).fetchone()
    is_rowid = len(primary) == 1 and not has_index
    columns = tuple(
        _column(column, declared=kind, is_required=bool(required), default=default, sql=sql)
        for column, kind, required, default, _, hidden in info
        if not hidden
    )
    generated = tuple(row[0] for row in info if row[5] in GENERATED)
    rowid = primary[0] if is_rowid else ""
    content = re.search(CONTENT, sql, re.IGNORECASE) if is_virtual else None
    return TableSchema(
        name, columns, keys, rowid, {}, frozenset(), is_virtual, generated, content=content.group(1) if content else ""
    )


def _column(name: str, *, declared: str, is_required: bool, default: str | None, sql: str) -> Column:
    low = high = None
    for sign, number in re.findall(BOUND.format(name=re.escape(name)), sql, re.IGNORECASE):
        low = float(number) + (sign == ">") if sign[0] == ">" else low
        high = float(number) - (sign == "<") if sign[0] == "<" else high
    between = re.search(BETWEEN.format(name=re.escape(name)), sql, re.IGNORECASE)
    if between:
        low, high = float(between.group(1)), float(between.group(2))
    listed = re.search(IN_LIST.format(name=re.escape(name)), sql, re.IGNORECASE)
    allowed = [token.text for token in tokens(listed.group(1)) if token.kind in ("text", "number")] if listed else []
    return Column(name, declared.upper(), is_required and default is None, default or "", tuple(allowed), low, high)


def _with_parents(connection: sqlite3.Connection, table: TableSchema, tables: Mapping[str, TableSchema]) -> TableSchema:
    by_name = {name.lower(): name for name in tables}
    parents: dict[str, tuple[str, str]] = {}
    together: dict[str, tuple[str, ...]] = {}
    for parent, columns, targets in _references(connection, table.name):
        known = by_name.get(parent.lower())
        key = tables[known].keys[0] if known and tables[known].keys else ()
        pointed = tuple(given or own for given, own in zip_longest(targets, key[: len(targets)]))
        if known and all(pointed) and len(pointed) == len(columns):
            parents |= {column: (known, target) for column, target in zip(columns, pointed, strict=True)}
            together |= dict.fromkeys(columns, columns) if len(columns) > 1 else {}
    declared = frozenset(parents)
    for column in table.columns:
        stem = column.name.lower().removesuffix("_id")
        if column.name in parents or stem == column.name.lower() or column.name == table.rowid:
            continue
        for guess in (stem, f"{stem}s", f"{stem}es", f"{stem.removesuffix('y')}ies"):
            known = by_name.get(guess)
            if known and known != table.name and tables[known].keys and len(tables[known].keys[0]) == 1:
                parents[column.name] = (known, tables[known].keys[0][0])
                break
    content = by_name.get(table.content.lower(), "") or table.content
    return replace(table, parents=parents, declared=declared, together=together, content=content)


def _references(connection: sqlite3.Connection, table: str) -> list[Reference]:
    """Return the declared references; those of several columns come last, since they rule."""
    rows = connection.execute(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (table,)
    ).fetchall()
    found = [
        (some[0][1], tuple(row[2] for row in some), tuple(row[3] for row in some))
        for some in (list(group) for _, group in groupby(rows, key=itemgetter(0)))
    ]
    return sorted(found, key=lambda one: len(one[1]))
