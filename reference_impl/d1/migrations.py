"""Migrations: numbered SQL files, which are the only source of D1's schema.

Files run in the order of their names, each in one transaction together with its row in
``d1_migrations``, the table that the platform's own tool maintains. A recorded file is not run again.
A recorded file that is missing, or a new file that sorts before a recorded one, is an error,
because the schema would then depend on the order in which a database was migrated.

Sources
-------
The platform's tool records migrations as ``d1_migrations(id, name, applied_at)``.
"""

from collections.abc import Mapping

from reference_impl.errors import ConfigError
from reference_impl.sqlite.engines import Engine

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
                for statement in split(files[name]):
                    engine.execute(statement)
                engine.execute("INSERT INTO d1_migrations (name) VALUES (?)", (name,))
        except engine.errors as error:
            raise ConfigError(f"migration {name} failed and was undone: {error}") from None
        ran.append(name)
    return ran


def split(script: str) -> list[str]:
    """Return the statements of *script*, without its comment lines.

    A semicolon ends a statement only at the end of a line; triggers are not supported.
    """
    lines = [line.split("--", 1)[0].rstrip() for line in script.splitlines()]
    statements = "\n".join(line for line in lines if line).split(";\n")
    return [statement.strip().rstrip(";") for statement in statements if statement.strip()]
