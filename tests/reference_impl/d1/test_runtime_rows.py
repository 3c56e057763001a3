"""Rows read and written: the reference against what the real runtime counted.

Goal: the reference's meter is the bill's. Method: every statement of the project on tables of 100 to 10,000 rows,
compared with scenarios/platform/runtime_rows.toml, which the runtime made (``python -m tests.runtime.rows``). Both
SQLite libraries must agree with it in every row.
"""

import sqlite3
import tomllib
from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from reference_impl.sqlite.engines import ApswEngine, Engine, StdlibEngine
from tests.runtime.rows import FILE, PLACES
from tests.runtime.statements import SIZES, setup, statements


def recorded() -> dict[str, list[list[int]]]:
    """The runtime's counts by the statement's name."""
    content: dict[str, Any] = tomllib.loads(FILE.read_text("utf-8"))
    return {one["name"]: one["counts"] for one in content["statement"]}


def engine_of(kind: str) -> Engine:
    """An empty database."""
    if kind == "apsw":
        return ApswEngine(apsw.Connection(":memory:"))
    return StdlibEngine(sqlite3.connect(":memory:", isolation_level=None))


def counted(kind: str) -> Iterator[tuple[str, list[int]]]:
    """What the reference counts: each statement's name with rows of the tables, read and written."""
    for rows in SIZES:
        for place in PLACES:
            engine = engine_of(kind)
            try:
                for text, params in setup(place, rows):
                    engine.execute(text, params)
                for one in statements(rows):
                    if one.place == place:
                        found = engine.execute(one.sql, one.params)
                        yield one.name, [rows, found.rows_read, found.rows_written]
            finally:
                engine.close()


@pytest.mark.parametrize("kind", ["stdlib", "apsw"])
def test_rows_are_those_of_the_runtime(kind: str) -> None:
    ours: dict[str, list[list[int]]] = {}
    for name, counts in counted(kind):
        ours.setdefault(name, []).append(counts)
    assert ours.keys() == recorded().keys()
    assert {name: ours[name] for name in recorded()} == recorded()


def test_every_statement_that_is_recorded_is_one_of_the_project() -> None:
    content: dict[str, Any] = tomllib.loads(FILE.read_text("utf-8"))
    texts = {one["name"]: one["sql"] for one in content["statement"]}
    assert texts == {one.name: " ".join(one.sql.split()) for one in statements(SIZES[0])}
