"""What is refused before anything is filled: statements that D1 does not take, and those that read no rows."""

import sqlite3
from collections.abc import Sequence

from sim.experiments.queries.tokens import Statement, tokens
from sim.foundation.errors import UsageError

ALLOWED = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
BEGINNINGS = ("SELECT", "WITH", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE")


def used_tables(connection: sqlite3.Connection, statement: Statement) -> list[str]:
    """Return the tables that a statement touches, those of its views and triggers too, in order.

    Raises
    ------
    UsageError
        It is not SQL, does not fit the schema, or is not for D1 to run.
    """
    text = " ".join(statement.sql.split())
    said = f"{statement.name}: {text if len(text) <= 60 else f'{text[:57]}...'}"
    found = tokens(statement.sql)
    if not found or not found[0].says(*BEGINNINGS):
        word = found[0].text[:20] if found else ""
        raise UsageError(f"{said}: {word} reads and writes no rows that D1 would bill; {_advice(word)} (docs/D1.md)")
    used: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action not in ALLOWED:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_DENY if (second or "").lower() == "load_extension" else sqlite3.SQLITE_OK
        if first and action != sqlite3.SQLITE_SELECT and first.lower().startswith("_cf_"):
            return sqlite3.SQLITE_DENY
        if first and action in (
            sqlite3.SQLITE_READ,
            sqlite3.SQLITE_INSERT,
            sqlite3.SQLITE_UPDATE,
            sqlite3.SQLITE_DELETE,
        ):
            used.append(first)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    try:
        connection.execute(f"EXPLAIN {statement.sql}", (None,) * len(statement.params)).close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise UsageError(f"{said}: {error} (docs/D1.md)") from None
    finally:
        connection.set_authorizer(None)
    return list(dict.fromkeys(used))


def _advice(word: str) -> str:
    if word.upper() in ("CREATE", "DROP", "ALTER"):
        return "changes of the schema belong in the migrations"
    return "give SELECT, INSERT, UPDATE or DELETE"


def check_any(statements: Sequence[Statement], *, what: str) -> None:
    """Refuse a file without a statement."""
    if not statements:
        raise UsageError(f"query={what!r} holds no statement (docs/D1.md)")
