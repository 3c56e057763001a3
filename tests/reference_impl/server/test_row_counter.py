"""The row counter beside another process.

Goal: each line gets the counts of one statement on the file as it is then; bad SQL gets an error and not an end.
Method: a file that changes between two lines; the process itself.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from reference_impl.server.row_counter import answer_lines


def asked(sql: str, *params: Any) -> str:
    """One line."""
    return json.dumps({"database": "x.sqlite", "sql": sql, "params": params})


def filled(path: Path) -> sqlite3.Connection:
    """A table of a thousand rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE t (a INTEGER, b BLOB)")
    rows = [(number, bytes([number % 7])) for number in range(1_000)]
    connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    return connection


def test_it_counts_the_file_as_it_is_at_each_line(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []
    with closing(filled(tmp_path / "x.sqlite")) as database:

        def lines() -> Iterator[str]:
            yield asked("SELECT * FROM t WHERE a = ?1", 5)
            database.execute("CREATE INDEX i ON t (a)")
            yield asked("SELECT * FROM t WHERE a = ?1", 5)
            database.execute("INSERT INTO t VALUES (5, NULL)")
            yield asked("SELECT * FROM t WHERE a = ?1", 5)
            database.execute("DROP INDEX i")
            yield asked("SELECT * FROM t WHERE a = ?1", 5)
            yield asked("INSERT INTO t VALUES (1, ?1)", {"blob": "00ff"})

        answer_lines(tmp_path, lines(), answer=lambda line: answers.append(json.loads(line)))
        assert database.execute("SELECT count(*) FROM t").fetchone() == (1_001,)
    assert [answer["rows_read"] for answer in answers] == [1_000, 2, 3, 1_001, 0]
    assert answers[-1]["rows_written"] == 1


def test_what_a_check_looks_up_counts(tmp_path: Path) -> None:
    """In a list of three it is two rows; of a file opened for reading only, SQLite would leave the check out."""
    answers: list[dict[str, Any]] = []
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, state TEXT CHECK (state IN ('a', 'b', 'c')))")
    lines = [asked("INSERT INTO t VALUES (?1, ?2)", 1, "a")]
    answer_lines(tmp_path, lines, answer=lambda line: answers.append(json.loads(line)))
    assert (answers[0]["rows_read"], answers[0]["rows_written"]) == (2, 1)


def test_a_blob_is_compared_as_one(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []
    filled(tmp_path / "x.sqlite").execute("CREATE INDEX i ON t (b)").connection.close()
    answer_lines(
        tmp_path,
        [asked("SELECT count(*) FROM t WHERE b = ?1 AND a >= 0", {"blob": "06"})],
        answer=lambda line: answers.append(json.loads(line)),
    )
    assert answers[0]["rows_read"] == len(range(6, 1_000, 7))


def test_the_process_answers_until_its_input_ends(tmp_path: Path) -> None:
    filled(tmp_path / "x.sqlite").close()
    lines = [asked("SELECT missing"), asked("SELECT value FROM json_each('[1]')"), asked("SELECT count(*) FROM t")]
    ended = subprocess.run(
        [sys.executable, "-m", "reference_impl", "--count-rows-in", tmp_path],
        input="\n".join(lines), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    error, unknown, counted = map(json.loads, ended.stdout.splitlines())
    assert "no such column" in error["error"]
    assert unknown == {"unknown": True}
    assert (counted["rows_read"], counted["is_whole"]) == (1_000, True)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "reference_impl", "--count-rows-in", tmp_path / "none"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "must be a folder" in ended.stderr
