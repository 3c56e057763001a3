"""Migrations: numbered SQL files, which are the only source of D1's schema.

Files run in the order of their names, each in one transaction together with its row in
``d1_migrations``, the table that the platform's own tool maintains. A recorded file is not run again.
A recorded file that is missing, or a new file that sorts before a recorded one, is an error,
because the schema would then depend on the order in which a database was migrated.

Sources
-------
The platform's tool records migrations as ``d1_migrations(id, name, applied_at)``, and leaves out the ``BEGIN
TRANSACTION`` and ``COMMIT`` of a dump.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping

from reference_impl.errors import ConfigError
from reference_impl.sqlite.engines import Engine
from reference_impl.sqlite.rules import bare_sql

RECORD_TABLE = """
CREATE TABLE IF NOT EXISTS d1_migrations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,
    applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)
"""


def applied(engine: Engine) -> list[str]:
    """Return the names of the applied migrations, in the order in which they ran."""
    engine.execute(RECORD_TABLE)
    return [row[0] for row in engine.execute("SELECT name FROM d1_migrations ORDER BY id").values]


def plan(engine: Engine, files: Mapping[str, str]) -> list[str]:
    """Return the names in *files* (name to SQL) that have not been applied yet, in order; run nothing.

    Raises
    ------
    ConfigError
        If the applied migrations are not the first of *files*.
    """
    done = applied(engine)
    names = sorted(files)
    if names[: len(done)] != done:
        raise ConfigError(
            f"migrations {', '.join(done)} were applied but the folder begins with "
            f"{', '.join(names[: len(done)])}; add new files at the end, never remove or rename"
        )
    return names[len(done) :]


def migrate(engine: Engine, files: Mapping[str, str]) -> list[str]:
    """Apply the pending migrations and return their names.

    Raises
    ------
    ConfigError
        See :func:`plan`; or a file's SQL failed, and that file was rolled back.
    """
    ran = []
    for name in plan(engine, files):
        try:
            with engine.transaction():
                for statement in statements(files[name]):
                    engine.execute(statement)
                engine.execute("INSERT INTO d1_migrations (name) VALUES (?)", (name,))
        except engine.errors as error:
            raise ConfigError(f"migration {name} failed and was undone: {error}") from None
        ran.append(name)
    return ran


def statements(script: str) -> list[str]:
    """Return the statements of *script* in order, each as it is written.

    A semicolon ends a statement unless it is inside a text, a comment or the body of a trigger; SQLite itself
    decides which (``sqlite3_complete``). The one ``BEGIN TRANSACTION`` and ``COMMIT`` that a dump is wrapped in are
    left out, because the platform runs a file as a transaction anyway.

    Raises
    ------
    ConfigError
        If the script has transactions of its own beside that wrapping.
    """
    found = [part for part in _cut(script) if bare_sql(part).strip("; ")]
    first = next((place for place, part in enumerate(found) if not _is_pragma(part)), 0)
    if len(found) > first + 1 and _opens(found[first]) and _commits(found[-1]):
        found = found[:first] + found[first + 1 : -1]
    for statement in found:
        if _opens(statement) or _commits(statement):
            text = statement.strip()[:40]
            raise ConfigError(f"{text!r} must not stand inside a migration: each file is one transaction already")
    return found


def _cut(script: str) -> Iterator[str]:
    start = 0
    for end in re.finditer(";", script):
        part = script[start : end.end()]
        if sqlite3.complete_statement(part):
            yield part
            start = end.end()
    yield script[start:]


def _is_pragma(statement: str) -> bool:
    return bare_sql(statement).upper().startswith("PRAGMA")


def _opens(statement: str) -> bool:
    return bare_sql(statement).upper().rstrip("; ") in ("BEGIN", "BEGIN TRANSACTION", "BEGIN IMMEDIATE")


def _commits(statement: str) -> bool:
    return bare_sql(statement).upper().rstrip("; ") in ("COMMIT", "COMMIT TRANSACTION", "END", "END TRANSACTION")
