"""Migration files as people and tools write them are applied whole.

Goal: a file that the platform's tool applies is applied here, statement by statement. Method: files from practice
(triggers, texts and comments with semicolons, dumps, generated files), each on a database of its own; what is in the
database afterwards is looked at, and files that must be refused leave nothing behind.
"""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.d1.migrations import migrate, statements
from reference_impl.errors import ConfigError
from reference_impl.sqlite.engines import StdlibEngine

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT);\n"
FILES = {
    "a trigger": TABLE
    + "CREATE TRIGGER touch AFTER UPDATE ON t\nBEGIN\n  UPDATE t SET at = 'x' WHERE id = NEW.id;\nEND;\n",
    "a trigger on one line": TABLE + "CREATE TRIGGER touch AFTER UPDATE ON t BEGIN DELETE FROM t; SELECT 1; END;",
    "a trigger with a case": TABLE
    + "CREATE TRIGGER touch AFTER INSERT ON t BEGIN UPDATE t SET at = CASE WHEN at > 1 THEN 2 ELSE 3 END; END;\n",
    "a trigger inside a comment": "-- CREATE TRIGGER x BEGIN\n" + TABLE,
    "two statements on a line": TABLE.strip() + " CREATE TABLE b (y INTEGER);\n",
    "no semicolon at the end": TABLE + "CREATE TABLE b (y INTEGER)",
    "a semicolon too many": TABLE + ";;\n;\n",
    "a comment at the end": TABLE + "-- that is all; really",
    "a block comment": "/* first;\n second */\n" + TABLE,
    "a comment never closed": TABLE + "/* and so on;",
    "generated breakpoints": "CREATE TABLE `t` (`x` integer);\n--> statement-breakpoint\n"
    "CREATE UNIQUE INDEX `i` ON `t` (`x`);",
    "carriage returns": TABLE.replace("\n", "\r\n") + "CREATE TABLE b (y INTEGER);\r\n",
    "deferred keys": "PRAGMA defer_foreign_keys=on;\n" + TABLE + "PRAGMA defer_foreign_keys=off;\n",
    "a table rebuilt": "PRAGMA foreign_keys=OFF;\n" + TABLE + "PRAGMA foreign_keys=ON;\n",
    "a virtual table": TABLE + "CREATE VIRTUAL TABLE f USING fts5(body);\n",
    "a dump": "PRAGMA foreign_keys=OFF;\n" + "BEGIN TRANSACTION;\n" + TABLE + "COMMIT;\n",
    "a name in brackets": "CREATE TABLE [t] ([a;b] TEXT);\n",
    "a view": TABLE + 'CREATE VIEW "a;b" AS SELECT * FROM t;\n',
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_from_practice_is_applied_as_it_stands(name: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(StdlibEngine(connection), {"0001.sql": FILES[name]})
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert "t" in names
    assert ("touch" in names) == ("CREATE TRIGGER touch" in FILES[name])


TEXTS = ["2026 -- draft", "line one;\nline two", "it''s; /* no comment */", "a;\n\n;b", "BEGIN; COMMIT;", "'';--"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_stored_to_the_letter(text: str) -> None:
    quoted = text.replace("''", "'").replace("'", "''")
    inserts = f"INSERT INTO n VALUES ('{quoted}');\nINSERT INTO n DEFAULT VALUES;"
    script = f"CREATE TABLE n (t TEXT DEFAULT '{quoted}');\n{inserts}"
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(StdlibEngine(connection), {"0001.sql": script})
        found = connection.execute("SELECT t FROM n").fetchall()
    assert found == [(text.replace("''", "'"),)] * 2


@given(texts=st.lists(st.text(alphabet="a;'\"-/*\n \r`[]", max_size=12), max_size=6))
def test_whatever_the_texts_are_each_statement_is_found(texts: list[str]) -> None:
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    found = statements("".join(f"INSERT INTO n VALUES ({text});\n" for text in quoted))
    assert [statement.strip() for statement in found] == [f"INSERT INTO n VALUES ({text});" for text in quoted]


REFUSED = {
    "a transaction in the middle": TABLE + "BEGIN;\nCREATE TABLE b (y);\nCOMMIT;\nCREATE TABLE c (z);\n",
    "two transactions": "BEGIN TRANSACTION;\n" + TABLE + "COMMIT;\nBEGIN TRANSACTION;\nCREATE TABLE b (y);\nCOMMIT;\n",
    "a transaction that nobody ends": "BEGIN TRANSACTION;\n" + TABLE,
    "an error at the end": TABLE + "CREATE TABEL b (y);\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused_leaves_nothing_behind(name: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with pytest.raises(ConfigError, match=r"0001\.sql failed|transaction"):
            migrate(StdlibEngine(connection), {"0001.sql": REFUSED[name]})
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name IN ('t', 'b', 'c')").fetchall() == []
        assert connection.execute("SELECT count(*) FROM d1_migrations").fetchall() == [(0,)]
