"""Rows for empty tables.

Goal: they fit the schema, whatever it asks for: types, keys, references, simple checks; and say where they do not.
Method: schemas drawn by Hypothesis, filled, and checked by SQLite itself.
"""

import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.experiments.queries.filling import Filler, Habits, Value, fill, literal, quoted
from sim.experiments.queries.schema import read_tables
from sim.experiments.queries.sizes import parents_first

TYPES = ("INTEGER", "TEXT", "REAL", "BLOB", "BOOLEAN", "TIMESTAMP", "DATE", "DECIMAL(10,2)", "VARCHAR(20)", "JSON", "")
NAMES = ("status", "email", "created_at", "score", "is_open", "data", "name", "Order", "updated_ms")


@st.composite
def columns(draw: st.DrawFn) -> list[str]:
    """Definitions of columns beside the key."""
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5)):
        kind = draw(st.sampled_from(TYPES))
        check = ""
        if kind == "INTEGER":
            check = draw(st.sampled_from(["", f'CHECK ("{name}" > 3)', f'CHECK ("{name}" BETWEEN 2 AND 9)']))
        if kind == "TEXT":
            check = draw(st.sampled_from(["", f"CHECK (\"{name}\" IN ('a', 'b;', 'it''s'))"]))
        unique = "" if check else draw(st.sampled_from(["", "", "UNIQUE"]))
        unique = "" if kind == "BOOLEAN" or name == "is_open" else unique
        found.append(f'"{name}" {kind} {draw(st.sampled_from(["", "NOT NULL"]))} {unique} {check}')
    return found


@st.composite
def schemas(draw: st.DrawFn) -> str:
    """A parent, a child, and a table of pairs."""
    key = draw(st.sampled_from(["id INTEGER PRIMARY KEY", "id TEXT PRIMARY KEY", "id BLOB PRIMARY KEY NOT NULL"]))
    kind = key.split()[1]
    rowid = draw(st.sampled_from(["", "WITHOUT ROWID"]))
    return f"""
        CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id {kind} NOT NULL REFERENCES parent(id),
            before INTEGER REFERENCES child(id), {", ".join([*draw(columns()), "extra TEXT"])});
        CREATE TABLE parent ({", ".join([key, *draw(columns())])}) {rowid};
        CREATE TABLE pair (a {kind} NOT NULL REFERENCES parent(id), b INTEGER NOT NULL REFERENCES child(id),
            PRIMARY KEY (a, b)) {rowid};
        CREATE TABLE implied (id TEXT PRIMARY KEY, parent_id {kind}, child_id INTEGER, UNIQUE (parent_id, child_id));
    """


@settings(deadline=None, max_examples=60)
@given(schemas(), st.integers(1, 60), st.integers(1, 60))
def test_rows_fit_the_schema(sql: str, parents: int, children: int) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(sql)
        tables = read_tables(database)
        pairs = min(parents * children, 80)
        sizes = {"parent": parents, "child": children, "pair": pairs, "implied": pairs}
        order = parents_first(tables, sizes)
        assert order.index("parent") < order.index("child") < order.index("pair")
        assert fill(database, Filler(tables, sizes, Habits()), order=order) == {}
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        joined = "SELECT count(*) FROM implied i JOIN parent p ON p.id = i.parent_id JOIN child c ON c.id = i.child_id"
        assert database.execute(joined).fetchone() == (pairs,)


@given(st.integers(1, 200), st.integers(1, 50))
def test_a_number_of_distinct_values_is_kept(rows: int, distinct: int) -> None:
    found = _values("CREATE TABLE t (id INTEGER PRIMARY KEY, colour TEXT)", rows, {("t", "colour"): distinct})
    assert len(found) == min(rows, distinct)
    assert max(found.values()) - min(found.values()) <= 1


@given(st.integers(20, 300), st.floats(0.05, 0.95))
def test_shares_of_values_are_kept(rows: int, share: float) -> None:
    weights = (("done", share), (None, 1 - share))
    found = _values("CREATE TABLE t (id INTEGER PRIMARY KEY, state TEXT)", rows, {("t", "state"): weights})
    assert abs(found["done"] - share * rows) <= 1


def _values(sql: str, rows: int, chosen: dict[tuple[str, str], object]) -> Counter[Value]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(sql)
        filler = Filler(read_tables(database), {"t": rows}, Habits(chosen))  # type: ignore[arg-type]  # both kinds
        return Counter(row[1] for row in filler.rows("t"))


def test_a_table_that_cannot_be_filled_says_why() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT CHECK (code GLOB '[0-9]*'));")
        tables = read_tables(database)
        found = fill(database, Filler(tables, {"t": 10}, Habits()), order=["t"])
    assert found == {"t": "0 of 10 rows: the others break a UNIQUE or a CHECK"}


def test_what_is_generated_virtual_or_a_view_is_told_apart() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (2 * n) STORED);"
            "CREATE VIRTUAL TABLE f USING fts5(body, note UNINDEXED); CREATE VIEW v AS SELECT * FROM t;"
            'CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY); CREATE TABLE q ("a""b" TEXT) STRICT;'
        )
        tables = read_tables(database)
        assert list(tables) == ["t", "f", "q"]
        assert tables["t"].column_names == ["id", "n", "twice"]
        assert fill(database, Filler(tables, dict.fromkeys(tables, 5), Habits()), order=list(tables)) == {}
        assert database.execute("SELECT count(*) FROM f WHERE f MATCH 'body'").fetchone() == (5,)
        assert database.execute(f"SELECT count(*) FROM {quoted('q')}").fetchone() == (5,)


@pytest.mark.parametrize(
    ("text", "value"),
    [("'it''s'", "it's"), ("x'00ff'", b"\0\xff"), ("NULL", None), ("true", 1), ("12", 12), ("1.5e3", 1_500.0)],
)
def test_a_literal_of_sql_is_its_value(text: str, value: Value) -> None:
    assert literal(text) == value
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute(f"SELECT {text}").fetchone() == (value,)
