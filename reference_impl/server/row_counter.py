"""Counts the rows of statements for another process: lines of JSON on standard input and output.

Asked ``{"database": NAME, "sql": …, "params": […], "steps_max": …}``, it answers with what the statement would read
and write on that database as it is: ``{"rows_read": …, "rows_written": …, "steps": …, "is_whole": …}``;
``{"unknown": true}`` where only the real runtime knows; ``{"error": …}`` where SQLite refuses the statement. Nothing is
run and nothing is changed. A parameter that is a blob is ``{"blob": "hex"}``.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reference_impl.sqlite.row_count.meter import STEPS_MAX, RowMeter


def answer_lines(folder: Path, lines: Iterable[str], *, answer: Callable[[str], None]) -> None:
    """Answer each line until there are no more.

    Parameters
    ----------
    folder
        Of SQLite files; another process may change them between two lines.
    lines
        Requests.
    answer
        Takes each answer, without its end of line.
    """
    for line in lines:
        answer(json.dumps(_counted(folder, json.loads(line))))


def _counted(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request, from a connection of its own: the other process may have changed the schema."""
    params = [bytes.fromhex(value["blob"]) if isinstance(value, dict) else value for value in asked["params"]]
    # Not mode=ro: of a database that cannot be written SQLite reads no CHECK, whose lookups count.
    address = f"{(folder.absolute() / asked['database']).as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            meter = RowMeter(lambda sql, *values: connection.execute(sql, values).fetchall())
            found = meter.count(asked["sql"], params, steps_max=asked.get("steps_max", STEPS_MAX))
    except sqlite3.Error as error:
        return {"error": str(error)}
    return {"unknown": True} if found is None else asdict(found)
