"""Rows read and written are the provider's count, statement by statement.

Goal: what the reference reports of a statement is what the bill will say. Method: statements with the counts of the
provider's own open-source runtime (``tests/evidence/rows_of_runtime.json``) are counted on both engines. The
runtime and apsw have nearly the same SQLite; the standard library's may be older and plan otherwise, so where a
statement is planned otherwise only apsw is held to it. Then the cases that were once wrong, at their sizes.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import apsw
import pytest

from reference_impl.sqlite.engines import ApswEngine, Engine, StdlibEngine
from tests.evidence import rows_of_runtime

RUNTIME = json.loads(rows_of_runtime.PATH.read_text("utf-8"))["statements"]
NOT_WALKED = ("row_number()",)
"""Only the real runtime knows: window functions."""
PLANNED_OTHERWISE = ("union select n from u", "from t, u where t.b=u.n")
"""By SQLite 3.40, which the standard library may have."""


def new_engine(kind: str) -> Engine:
    if kind == "apsw":
        return ApswEngine(apsw.Connection(":memory:"))
    return StdlibEngine(sqlite3.connect(":memory:", isolation_level=None))


@pytest.fixture(params=["stdlib", "apsw"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database on each engine."""
    with closing(new_engine(request.param)) as made:
        yield made


def test_the_runtimes_statements_are_those_of_today() -> None:
    """A statement of the deployment that was changed must be counted on the runtime again."""
    asked = {name: [sql for sql, *_ in statements] for name, (_, statements) in rows_of_runtime.groups().items()}
    assert {name: [entry["sql"] for entry in found] for name, found in RUNTIME.items()} == asked


@pytest.mark.parametrize("group", list(RUNTIME))
def test_the_count_is_the_runtimes(engine: Engine, group: str) -> None:
    setup, _ = rows_of_runtime.groups()[group]
    engine.execute("PRAGMA foreign_keys = ON")
    for sql, *params in setup:
        engine.execute(sql, tuple(params))
    engine.execute("SAVEPOINT fresh")
    wrong: list[Any] = []
    for entry in RUNTIME[group]:
        sql = entry["sql"]
        rows = engine.execute(sql, tuple(entry["params"]))
        engine.execute("ROLLBACK TO fresh")
        if any(part in sql for part in NOT_WALKED):
            assert not rows.is_counted
            continue
        if isinstance(engine, StdlibEngine) and any(part in sql for part in PLANNED_OTHERWISE):
            continue
        counted, expected = (rows.rows_read, rows.rows_written), (entry["rows_read"], entry["rows_written"])
        if not rows.is_counted:
            assert counted == pytest.approx(expected, rel=0.03)
        elif counted != expected:
            wrong.append((sql, counted, expected))
    assert not wrong


SEARCH = rows_of_runtime.SEARCH


@pytest.mark.parametrize(("adapters", "rows_read"), [(20, 40), (1_000, 2_000), (50_000, 100_000)])
def test_a_search_without_its_index_reads_the_whole_catalogue(engine: Engine, adapters: int, rows_read: int) -> None:
    """Every adapter is read, and compared once more with the twenty best so far; a long walk is extrapolated."""
    fill(engine, adapters, last_migration="0002")
    rows = engine.execute(SEARCH, ("code", 20))
    assert len(rows.values) == 20
    assert rows.rows_read == pytest.approx(rows_read, rel=0.03)
    assert rows.is_counted == (adapters < 5_000)
    assert rows.rows_read >= adapters


@pytest.mark.parametrize("adapters", [20, 1_000, 50_000])
def test_with_its_index_it_reads_what_it_returns(engine: Engine, adapters: int) -> None:
    fill(engine, adapters, last_migration="0003")
    assert engine.execute(SEARCH, ("code", 20)).rows_read == 20


def fill(engine: Engine, adapters: int, *, last_migration: str) -> None:
    """Make a catalogue of one domain."""
    for text in (*rows_of_runtime.migrations(last_migration), *rows_of_runtime.USER):
        engine.execute(text)
    engine.count_rows(counts=False)
    with engine.transaction():
        engine.execute(
            "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public, downloads) "
            f"WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < {adapters - 1}) "
            f"SELECT 'a' || i, 'u', 'a' || i, 'code', 'm', 'k', '1', 1, i * 7919 % {adapters} FROM s"
        )
    engine.count_rows(counts=True)


COSTS = [
    ("INSERT INTO k (id, a, b) VALUES (2, 'x', 'y')", 3),
    ("UPDATE k SET n = n + 1 WHERE id = 1", 1),
    ("UPDATE k SET a = 'z' WHERE id = 1", 2),
    ("UPDATE k SET a = 'z', b = 'z' WHERE id = 1", 3),
    ("INSERT INTO k (id, a, b) VALUES (1, 'z', 'y') ON CONFLICT (id) DO UPDATE SET n = n + 1", 1),
    ("WITH x AS (SELECT 1) UPDATE k SET n = n + 1 WHERE id = 1", 1),
    ("WITH x AS (SELECT 7 AS i) INSERT INTO k (id) SELECT i FROM x", 3),
    ("DELETE FROM k WHERE id = 1", 1),
    ("DELETE FROM k WHERE a = 'nobody'", 0),
    ("/* first */ update k set n = 2 where id = 1", 1),
    ("-- a line\nREPLACE INTO k (id) VALUES (1)", 3),
    ('UPDATE "k" SET n = 1', 1),
    ("INSERT INTO k (id) VALUES (2), (3), (4) RETURNING id", 9),
]


@pytest.mark.parametrize(("sql", "rows_written"), COSTS)
def test_a_write_costs_its_rows_and_the_entries_that_it_inserts(engine: Engine, sql: str, rows_written: int) -> None:
    engine.script("CREATE TABLE k (id INTEGER PRIMARY KEY, a TEXT, b TEXT, n INTEGER DEFAULT 0);")
    engine.script("CREATE INDEX ka ON k (a); CREATE INDEX kb ON k (b);")
    engine.execute("INSERT INTO k (id, a, b) VALUES (1, 'x', 'y')")
    assert engine.execute(sql).rows_written == rows_written


BIG = [
    ("SELECT count(*) FROM big", 5_000),
    ("SELECT * FROM big WHERE x = 7", 5_000),
    ("SELECT * FROM big WHERE y = 1 ORDER BY x DESC LIMIT 20", 5_000),
    ("SELECT count(*) FROM big WHERE y = 1", 2_500),
    ("SELECT * FROM big LIMIT 3", 3),
    ("SELECT max(y) FROM big", 1),
]


@pytest.mark.parametrize(("sql", "rows_read"), BIG)
def test_every_row_that_is_visited_counts(engine: Engine, sql: str, rows_read: int) -> None:
    engine.script("CREATE TABLE big (x INTEGER, y INTEGER); CREATE INDEX by ON big (y);")
    engine.execute(
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) "
        "INSERT INTO big SELECT i, i % 2 FROM c"
    )
    assert engine.execute(sql).rows_read == pytest.approx(rows_read, abs=1)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT coalesce(group_concat(b), '') FROM t",
        "SELECT d FROM t GROUP BY d HAVING group_concat(b) > 'y'",
        "SELECT d, group_concat(b) AS j FROM t GROUP BY d ORDER BY j",
        "SELECT a FROM t LIMIT (SELECT length(group_concat(b)) FROM t)",
    ],
)
def test_nothing_is_decided_by_an_aggregate_that_is_not_worked_out(engine: Engine, sql: str) -> None:
    fill_two_tables(engine)
    assert not engine.execute(sql).is_counted


def fill_two_tables(engine: Engine) -> None:
    """Make a table of three rows, and one that refers to it."""
    engine.script(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c REAL, d); CREATE TABLE u (a INTEGER, n INTEGER);"
    )
    engine.script("INSERT INTO t VALUES (1, 'x', 0.5, NULL), (2, 'y', 1.5, 'n'), (3, 'z', 2.5, 'n');")
    engine.script("INSERT INTO u VALUES (1, 2), (2, 3), (2, 4);")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT row_number() OVER (ORDER BY x) FROM t",
        "INSERT INTO watched VALUES (1)",
        "SELECT value FROM json_each('[1, 2]')",
        "CREATE TABLE another (x)",
    ],
)
def test_what_cannot_be_counted_is_marked(engine: Engine, sql: str) -> None:
    engine.script("CREATE TABLE t (x); CREATE TABLE watched (x); INSERT INTO t VALUES (1);")
    engine.script("CREATE TRIGGER watch AFTER INSERT ON watched BEGIN INSERT INTO t VALUES (NEW.x); END;")
    assert not engine.execute(sql).is_counted


def test_a_count_follows_what_was_written_and_undone(engine: Engine) -> None:
    engine.execute("CREATE TABLE t (x INTEGER)")
    for number in range(3):
        engine.execute("INSERT INTO t VALUES (?)", (number,))
        assert engine.execute("SELECT count(*) FROM t").rows_read == number + 1
    with suppress(ZeroDivisionError), engine.transaction():
        engine.execute("INSERT INTO t VALUES (9)")
        assert engine.execute("SELECT * FROM t WHERE x > 5").rows_read == 4
        raise ZeroDivisionError
    assert engine.execute("SELECT * FROM t WHERE x > 5").rows_read == 3
    engine.execute("CREATE INDEX tx ON t (x)")
    assert engine.execute("SELECT * FROM t WHERE x = 1").rows_read == 2


@pytest.mark.parametrize(
    ("setup", "statement", "counted"),
    [
        ([], "INSERT OR REPLACE INTO item VALUES (1, 'b', 2)", (1, 2)),
        (["INSERT INTO item VALUES (1, 'a', 1)"], "INSERT OR REPLACE INTO item VALUES (1, 'b', 2)", (3, 2)),
        (["INSERT INTO item VALUES (2, 'b', 1)"], "INSERT OR REPLACE INTO item VALUES (1, 'b', 2)", (4, 2)),
        (
            ["INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 1)"],
            "INSERT OR REPLACE INTO item VALUES (1, 'b', 2)",
            (5, 2),
        ),
        (
            ["INSERT INTO item VALUES (1, 'a', 1)", "INSERT INTO child VALUES (1)"],
            "INSERT OR REPLACE INTO item VALUES (1, 'b', 2)",
            (4, 2),
        ),
    ],
)
def test_a_row_that_is_replaced_is_gone_when_it_is_looked_for_again(
    engine: Engine, setup: list[str], statement: str, counted: tuple[int, int]
) -> None:
    """Counts of the runtime; the walk once met the replaced row again and ended there, with nothing written."""
    engine.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size)")
    engine.execute("CREATE TABLE child (item REFERENCES item (id))")
    for sql in setup:
        engine.execute(sql)
    rows = engine.execute(statement)
    assert (rows.rows_read, rows.rows_written) == counted
    assert rows.is_counted
