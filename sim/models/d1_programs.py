"""What a statement's bytecode says of each row that it changes: the entries that it writes, the rows that it looks up.

Sources
-------
SQLite, "The SQLite Bytecode Engine" (``EXPLAIN``). Which instructions are counted, per row: rows of tables and entries
of indexes that are inserted, one for a row that is deleted, and look-ups by a row's number; counted on the open-source
runtime, ``tests/evidence/rows_of_runtime.json``.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TABLE = re.compile(r"\b(?:INTO|UPDATE(?:\s+OR\s+\w+)?|FROM)\s+[\"`\[]?(\w+)", re.IGNORECASE)
VERB = re.compile(r"\b(INSERT|REPLACE|UPDATE|DELETE)\b", re.IGNORECASE)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Program:
    """A statement's bytecode, in numbers.

    Attributes
    ----------
    writes : bool
        Whether it changes the database.
    verb, table : str
        ``INSERT``, ``REPLACE``, ``UPDATE`` or ``DELETE``, and the table; empty for a statement that reads.
    entries : int
        Rows and entries of indexes that it writes for each row.
    seeks : int
        Rows that it looks up by their number for each row: a parent, or whether a number is free.
    passes : int
        Reads of each row: 1; 2 if it is found again by its number; 3 if it is noted in a table before.
    """

    writes: bool
    verb: str
    table: str
    entries: int
    seeks: int
    passes: int


def program_of(database: sqlite3.Connection, sql: str) -> Program:
    """Read the bytecode of *sql*.

    Raises
    ------
    sqlite3.Error
        It does not fit the schema.
    """
    code = _code(database, sql)
    names = [row[1] for row in code]
    writes = any(row[1] == "Transaction" and row[3] for row in code)
    bare = QUOTED.sub(" ", sql)
    verb, table = VERB.search(bare), TABLE.search(sql)
    opened = {row[2] for row in code if row[1] == "OpenWrite"}
    passes = 1 + 2 * ("OpenEphemeral" in names) if "RowSetRead" not in names else 2
    return Program(
        writes=writes,
        verb=verb.group(1).upper() if writes and verb else "",
        table=table.group(1) if writes and table else "",
        entries=sum(row[1] in ("Insert", "IdxInsert") and row[2] in opened for row in code),
        seeks=sum(name in ("NotExists", "SeekRowid") for name in names),
        passes=passes,
    )


def _code(database: sqlite3.Connection, sql: str) -> Sequence[Sequence[Any]]:
    try:
        return database.execute(f"EXPLAIN {sql}").fetchall()
    except sqlite3.ProgrammingError as error:
        found = re.search(r"uses (\d+)", str(error))
        if found is None:
            raise
        return database.execute(f"EXPLAIN {sql}", (None,) * int(found.group(1))).fetchall()


def rows_given(sql: str) -> int:
    """Return the rows that an INSERT spells out.

    >>> rows_given("INSERT INTO t (a, b) VALUES (1, lower('X')), (?, ?) ON CONFLICT (a) DO NOTHING")
    2
    """
    after = re.split(r"\bVALUES\b", QUOTED.sub("''", sql), maxsplit=1, flags=re.IGNORECASE)
    if len(after) == 1:  # DEFAULT VALUES
        return 1
    depth = rows = 0
    for character in re.split(r"\b(?:ON|RETURNING)\b", after[1], maxsplit=1, flags=re.IGNORECASE)[0]:
        rows += character == "(" and depth == 0
        depth += (character == "(") - (character == ")")
    return max(rows, 1)
