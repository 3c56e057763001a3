"""Every opened resource is closed by whom opened it.

Goal: a database that is left to the garbage collector fails the tests on every version of Python, not on 3.13 alone.
Method: leave one, and see who hears of it. That the rest of the suite leaves none is what its passing shows.
"""

import gc
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

HERE = Path(__file__).name


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said of objects that were collected, while the test runs."""
    gc.collect()  # What earlier tests left is not this test's.
    said: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: said.append(str(found.exc_value)))
    return said


def test_a_database_left_open_is_an_error_that_names_the_place(complaints: list[str]) -> None:
    sqlite3.connect(":memory:")
    gc.collect()
    assert len(complaints) == 1
    assert "was never closed" in complaints[0]
    assert f"{HERE}:" in complaints[0]


def test_a_closed_database_is_silent(complaints: list[str]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("SELECT 1")
    del connection
    gc.collect()
    assert complaints == []


def test_a_database_that_cannot_be_opened_is_silent(complaints: list[str], tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(tmp_path / "none" / "there.sqlite")
    gc.collect()
    assert complaints == []
