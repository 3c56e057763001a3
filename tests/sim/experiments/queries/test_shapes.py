"""Statements of a job queue: what made-up rows, values and candidates must hold in a schema that nobody here chose.

Goal: rows of keys and references of several columns, a full-text index of another table's text, and what cannot be
filled; a statement is measured at work, not at nothing; the index is found in views, groups and references. Method: one
schema, measured once; the same schema on the real runtime is in ``tests/runtime``.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sim import D1Report, d1
from sim.experiments.queries.filling import Filler, Habits, fill
from sim.experiments.queries.schema import children, read_tables
from sim.experiments.queries.sizes import parents_first, sizes_of
from sim.foundation.errors import UsageError
from sim.judgement.targets import Verdict
from sim.report.query_tables import advice, conclusion
from tests.sim.experiments.queries.schemas import SHOP, SHOP_QUERIES, SHOP_ROWS


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> D1Report:
    """The job queue, measured once."""
    file = tmp_path_factory.mktemp("queue") / "schema.sql"
    file.write_text(SHOP)
    return d1(file, query=SHOP_QUERIES, rows=SHOP_ROWS)


def test_rows_fit_references_of_several_columns_and_text_of_another_table() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(SHOP)
        tables = read_tables(database)
        sizes = sizes_of(SHOP_ROWS, tables=tables, used=["note_search"]).asked
        assert sizes["note_search"] == sizes["note"]
        found = fill(database, Filler(tables, sizes, Habits()), order=parents_first(tables, sizes))
        assert list(found) == ["coded"]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        database.execute("INSERT INTO note_search (note_search, rank) VALUES ('integrity-check', 1)")
        assert database.execute("SELECT count(*) FROM note_search WHERE note_search MATCH 'title'").fetchone() == (
            4_000,
        )
        assert database.execute("SELECT count(DISTINCT queue_id || job_id) FROM attempt").fetchone()[0] > 4_000
        assert children(tables, ["job"]) == {"attempt": [("queue_id", "job_id")], "result": [("queue_id", "job_id")]}


def test_an_index_of_text_has_the_rows_of_its_table(tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text(SHOP)
    with pytest.raises(UsageError, match=r"note_search=7 must be those of note, whose text it has \(note=N\)"):
        d1(file, query="SELECT * FROM note_search WHERE note_search MATCH ?", rows={"note": 500, "note_search": 7})


def test_a_statement_is_measured_at_work(report: D1Report) -> None:
    """Its values are those of one row, which its literals fit too; a bound is one among the rows of its equalities."""
    for name, rows in {"attempts": 1, "claim": 1, "finish": 1, "notes": 5}.items():
        last = report[name].measured.last
        assert last.returned_rows + last.changes >= rows, name


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("notes", "note (queue_id, title)"),
        ("last", "note (queue_id, title)"),
        ("remove queue", "note (queue_id)"),
    ],
)
def test_the_index_is_found(report: D1Report, name: str, index: str) -> None:
    """Of what a view reads; of the greatest of each group; of rows that refer to one that is deleted."""
    found = report[name].index
    assert found is not None
    assert index in [sql.partition(" ON ")[2] for sql in found.sql]


def test_what_could_not_be_filled_is_not_judged(report: D1Report) -> None:
    assert report["coded"].verdict is Verdict.INCONCLUSIVE
    assert "coded could not be filled" in report["coded"].measured.growth.reason
    assert "coded: not judged" in conclusion(report)


def test_nothing_to_alert_of_is_not_known_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("CREATE TABLE coded (id INTEGER PRIMARY KEY, code TEXT NOT NULL CHECK (code GLOB '[0-9]*'))")
    query = "SELECT id FROM coded WHERE code = ?"
    assert d1(file, query=query, rows={"coded": 1_000}).exit_status == 3
    assert (
        d1(file, query=query, rows={"coded": 1_000}, values={"coded.code": (("7", 0.5), ("8", 0.5))}).exit_status == 1
    )


def test_an_index_on_an_expression_is_said_not_to_be_tried(report: D1Report) -> None:
    assert "one on an expression may, and is not tried" in "\n".join(advice(report["lower"]))


def test_answers_that_are_combined_are_estimates(report: D1Report) -> None:
    """The runtime's SQLite is newer, and merges what an index orders."""
    assert report["idle"].measured.last.basis == "estimated"


def test_what_an_index_of_text_stores_is_in_no_lower_bound(report: D1Report) -> None:
    last = report["told"].measured.last
    assert (last.basis, last.rows_written) == ("at least", 1)
    assert last.changes > 1


def test_statements_that_fail_are_all_said_before_anything_takes_long(tmp_path: Path) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    query = (
        "-- a\nINSERT INTO t (id) VALUES (?);\n-- b\nSELECT json(n || '{') FROM t;\n-- c\nSELECT * FROM t WHERE id = ?;"
    )
    with pytest.raises(UsageError) as error:
        d1(file, query=query, rows={"t": 1_000})
    assert str(error.value).startswith(
        "a: NOT NULL constraint failed: t.n; give a value with --param; b: malformed JSON"
    )
