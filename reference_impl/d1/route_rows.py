"""The rows that a route's queries visit and write: a real table, with rows for every key.

Row *n* of a key is visited by each query of more than *n* rows. A write increments the row's version, which is
thus the number of times that it was written.
"""

from reference_impl.d1.database import Statement, insert_rows
from reference_impl.sqlite.engines import Engine

TABLE = """
CREATE TABLE IF NOT EXISTS headroom_rows (
    key INTEGER NOT NULL,
    position INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, position)
) WITHOUT ROWID
"""
INSERT = "INSERT INTO headroom_rows (key, position, version)"
READ = "SELECT position, version FROM headroom_rows WHERE key = ? AND position >= 0 ORDER BY position LIMIT ?"
"""With a limit and not an upper bound, which would read one row beyond it."""
WRITE_NONE = "UPDATE headroom_rows SET version = version + 1 WHERE key = ? AND 0"


def create(engine: Engine) -> None:
    """Make the table, if it is not there."""
    engine.execute(TABLE)


def ensure(engine: Engine, key: int, *, rows: int) -> None:
    """Put in place the rows of *key* that a query of *rows* rows visits, where they are missing."""
    found = engine.execute("SELECT count(*) FROM headroom_rows WHERE key = ? AND position < ?", (key, rows))
    if found.values[0][0] == rows:
        return
    missing = [(key, position, 0) for position in range(rows)]
    with engine.transaction():
        for sql, params in insert_rows(INSERT, missing, tail="ON CONFLICT DO NOTHING"):
            engine.execute(sql, params)


def reading(key: int, *, rows: int) -> list[Statement]:
    """Return the query that visits *rows* rows of *key*."""
    return [Statement(READ, (key, rows))]


def writing(key: int, *, rows_read: int, rows_written: int) -> list[Statement]:
    """Return the statements of one transaction that visits rows of *key*, then writes some."""
    written = [(key, position, 1) for position in range(rows_written)]
    tail = "ON CONFLICT (key, position) DO UPDATE SET version = version + 1"
    inserts = [Statement(sql, params) for sql, params in insert_rows(INSERT, written, tail=tail)]
    first = reading(key, rows=rows_read) if rows_read else []
    return [*first, *(inserts or [Statement(WRITE_NONE, (key,))])]


def copy(source: Engine, target: Engine) -> None:
    """Make *target* have the rows of *source*, and no others."""
    create(source)
    create(target)
    rows = source.execute("SELECT key, position, version FROM headroom_rows").values
    with target.transaction():
        target.execute("DELETE FROM headroom_rows")
        for sql, params in insert_rows(INSERT, rows):
            target.execute(sql, params)
