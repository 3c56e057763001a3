"""What the platform refuses of a statement, and what it lets through.

Goal: SQL that works here also works there. Method: statements by list; what the real runtime says of each stands in
docs/CONFORMANCE.md, whose rows are played on both.
"""

from contextlib import closing

import pytest

from reference_impl.d1.database import D1Binding, D1Error, Database
from reference_impl.d1.settings import D1Settings
from reference_impl.sqlite.rules import SqlRefusedError, check_statement
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.world import memory_engine, settings

TRIGGER = "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET b = 1; DELETE FROM t WHERE a = 5; END"


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("", "No SQL statements detected."),
        ("-- nothing", "No SQL statements detected."),
        (" /* x */ ; ", "SQL code did not contain a statement."),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        (f"{TRIGGER}; SELECT 1", "one statement at a time"),
        ("BEGIN", "batch() and transaction() run several as one"),
        ("PRAGMA foreign_keys = OFF", "not authorized: this PRAGMA"),
        ("PRAGMA foreign_keys(0)", "not authorized: this PRAGMA"),
        ("PRAGMA journal_mode", "not authorized: this PRAGMA"),
        ("CREATE TEMP TABLE t (a)", "nothing is temporary"),
        ("create temporary view v as select 1", "nothing is temporary"),
        ("SELECT Sqlite_Version ( )", "not authorized to use function: sqlite_version"),
        ("SELECT power(2, 3)", "not authorized to use function: power"),
    ],
)
def test_what_is_refused_says_why(sql: str, sentence: str) -> None:
    with pytest.raises(SqlRefusedError) as refused:
        check_statement(sql)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "only_reads"),
    [
        (TRIGGER, False),
        (f"{TRIGGER};", False),
        ("CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT ';END;'; END;", False),
        ("PRAGMA foreign_keys", True),
        ("PRAGMA defer_foreign_keys = on", False),
        ("SELECT pow(2, 3), 'sqlite_version()', t.power FROM t -- power(1)", True),
        ("SELECT 1;", True),
    ],
)
def test_what_is_let_through(sql: str, *, only_reads: bool) -> None:
    assert check_statement(sql) is only_reads


def test_a_trigger_runs_and_a_batch_may_defer_its_foreign_keys() -> None:
    clock = VirtualClock()
    with closing(memory_engine()) as engine, closing(clock):
        database = Database(engine, clock=clock, settings=settings(D1Settings.read, {}))
        binding = D1Binding(database, Stopwatch(clock))

        async def play() -> None:
            await binding.prepare("CREATE TABLE t (a INTEGER PRIMARY KEY, b)").run()
            await binding.prepare(TRIGGER).run()
            await binding.prepare("INSERT INTO t (a) VALUES (5), (6)").run()
            assert (await binding.prepare("SELECT a, b FROM t").all()).results == [{"a": 6, "b": 1}]
            await binding.prepare("CREATE TABLE u (a REFERENCES t (a))").run()
            child, parent = binding.prepare("INSERT INTO u VALUES (9)"), binding.prepare("INSERT INTO t (a) VALUES (9)")
            with pytest.raises(D1Error, match="FOREIGN KEY constraint failed"):
                await binding.batch([child, parent])
            await binding.batch([binding.prepare("PRAGMA defer_foreign_keys = on"), child, parent])
            with pytest.raises(D1Error, match="FOREIGN KEY constraint failed"):
                await binding.prepare("INSERT INTO u VALUES (10)").run()

        clock.run(play())
