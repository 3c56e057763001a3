"""The tables of a database as rows need them: columns, keys, and what refers to what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reference_impl.sqlite.engines import Engine

OWN = ("sqlite_", "_cf_", "d1_migrations", "headroom_rows")
ALLOWED = r"""\bCHECK\s*\(\s*["`\[]?{name}["`\]]?\s+IN\s*\(([^)]*)\)"""
LITERAL = re.compile(r"'(?:[^']|'')*'|-?\d+(?:\.\d+)?")
Value = int | float | str | bytes | None
Place = tuple[str, str]
"""A table and its column."""


@dataclass(frozen=True)
class Column:
    """A column.

    Parameters
    ----------
    name, declared
        Its name, and its type as it is written, in capitals.
    is_required
        It must be given a value.
    allowed
        Values of ``CHECK (name IN (...))``.
    """

    name: str
    declared: str
    is_required: bool
    allowed: tuple[Value, ...] = ()

    def value(self, number: int) -> Value:
        """Return value *number* of the column: distinct, and in the order of its numbers; a text before all for < 0."""
        if self.allowed:
            return self.allowed[number % len(self.allowed)]
        if "INT" in self.declared:
            return number
        if any(word in self.declared for word in ("CHAR", "CLOB", "TEXT")) or not self.declared:
            return f"{self.name}-{number:09d}" if number >= 0 else ""
        if "BLOB" in self.declared:
            return max(number, 0).to_bytes(8, "big")
        return float(number) if any(word in self.declared for word in ("REAL", "FLOA", "DOUB")) else number


@dataclass(frozen=True)
class TableSchema:
    """A table.

    Parameters
    ----------
    columns
        By name; computed ones are left out.
    keys
        Columns of the primary key and of each unique index.
    rowid
        The column that is the number of the row; empty if none is.
    parents
        What its columns refer to.
    """

    name: str
    columns: Mapping[str, Column]
    keys: tuple[tuple[str, ...], ...]
    rowid: str
    parents: Mapping[str, Place]

    def is_unique(self, column: str) -> bool:
        """Whether a column has no value twice."""
        return column == self.rowid or (column,) in self.keys


def literal(text: str) -> Value:
    """Return the value of a number or a text of SQL."""
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return float(text) if "." in text else int(text)


def read_tables(engine: Engine) -> dict[str, TableSchema]:
    """Return the tables of a database by name, without the platform's own."""
    rows = engine.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY rowid").values
    return {name: _table(engine, name, sql=sql or "") for name, sql in rows if not name.startswith(OWN)}


def _table(engine: Engine, name: str, *, sql: str) -> TableSchema:
    info = engine.execute(
        'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?) WHERE NOT hidden', (name,)
    ).values
    primary = tuple(row[0] for row in sorted((row for row in info if row[4]), key=lambda row: row[4]))
    indexes = engine.execute(
        'SELECT name, origin FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (name,)
    ).values
    unique = [
        tuple(row[0] for row in engine.execute("SELECT name FROM pragma_index_info(?)", (index,)).values)
        for index, _ in indexes
    ]
    has_index = any(origin == "pk" for _, origin in indexes)
    parents = engine.execute(
        'SELECT "table", "from", "to" FROM pragma_foreign_key_list(?) WHERE seq = 0', (name,)
    ).values
    columns = {
        column: Column(column, (kind or "").upper(), bool(required) and default is None, _allowed(column, sql))
        for column, kind, required, default, _ in info
    }
    return TableSchema(
        name,
        columns,
        tuple(dict.fromkeys(key for key in (primary, *unique) if key)),
        primary[0] if len(primary) == 1 and not has_index else "",
        {column: (parent, target or _key_of(engine, parent)) for parent, column, target in parents},
    )


def _allowed(column: str, sql: str) -> tuple[Value, ...]:
    found = re.search(ALLOWED.format(name=re.escape(column)), sql, re.IGNORECASE)
    return tuple(literal(text) for text in LITERAL.findall(found.group(1))) if found else ()


def _key_of(engine: Engine, table: str) -> str:
    """Return the primary key that a reference without a column means."""
    rows = engine.execute("SELECT name FROM pragma_table_xinfo(?) WHERE pk = 1", (table,)).values
    return str(rows[0][0]) if rows else ""
