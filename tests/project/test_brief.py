"""The page of what the brief asks is what its rows say, and what they name exists.

Goal: a cell that is called whole leads to a test. Method: each named test is looked for in its file's syntax tree; the
page is made anew and compared.
"""

import ast
from functools import cache

import pytest

from tests.project import brief
from tests.project.brief import CELLS, PAGE, rows
from tests.project.tidy import ROOT


@cache
def named_in(file: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text("utf-8") == brief.page(), "run python -m tests.project.brief"


def test_the_rows_are_those_of_the_brief() -> None:
    """Their ids are stable names, numbered from 1 in each of its sections."""
    ids = [row.id for row in rows()]
    counts = {"DOM": 8, "P": 4, "A": 12, "W": 8, "B": 11, "T": 6, "I": 5, "Q": 3, "R": 7, "U": 10}
    counts |= {"C": 6, "M": 7, "F": 6, "G": 6, "X": 10, "K": 5}
    assert ids == [f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)]
    assert len(ids) == 114


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.id))
def test_what_a_row_names_exists(row: brief.Row) -> None:
    assert row.cell in CELLS
    for file in row.files:
        assert (ROOT / file).is_file(), file
    for place in row.tests:
        file, _, name = place.partition("::")
        assert (ROOT / file).is_file(), file
        assert name in named_in(file), place


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.id))
def test_a_cell_says_what_shows_it_or_what_is_lacking(row: brief.Row) -> None:
    assert bool(row.tests and row.files) == (row.cell in ("whole", "part"))
    assert bool(row.lacks) == (row.cell in ("part", "missing"))
    assert not row.lacks or row.lacks.endswith(".")
