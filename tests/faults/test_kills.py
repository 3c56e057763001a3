"""Kill -9 of the real server during load: a few times here, two hundred by ``python -m tests.faults.kills``.

Goal: no acknowledged event is lost, none is there twice, and ledger, D1 and meter agree. Method: see
:mod:`tests.faults.kills`; and its check is shown to find what is wrong.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.kills import Book, check, run, server


def test_no_acknowledged_event_is_lost_and_none_doubled() -> None:
    book = run(4, seed=2)
    assert len(book.acknowledged) > 20
    assert book.unanswered > 0


def test_the_check_misses_neither_a_lost_nor_a_strange_event(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with server(folder, "off") as (process, _):
        process.terminate()
        assert process.wait(10) == 0
    empty = Book()
    check(folder, empty)
    with pytest.raises(AssertionError):
        check(folder, Book(acknowledged={("org-0", "event-1"): 4_227}))
    with closing(sqlite3.connect(folder / "system" / "d1" / "database.sqlite")) as connection, connection:
        connection.execute("INSERT INTO usage_events (id, event_type) VALUES ('org-0/event-1', 'inference')")
    with pytest.raises(AssertionError):
        check(folder, empty)
