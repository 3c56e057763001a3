"""A table in a terminal that is too narrow for it.

Goal: nothing is cut at any width; a wide terminal shows the same table as ever. Method: the tables of a bill and made
ones, drawn at widths from 40 to 200, every word of every cell looked for.
"""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sim.judgement.cost import cost
from sim.report import bill_tables
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.terminal import table
from sim.scenario.scenario import load_scenario

BILL = cost(load_scenario("launch"))
TABLES = {"lines": bill_tables.lines(BILL, every_line=False), "runaways": bill_tables.runaways(BILL)}


def drawn(shown: Grid, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(table(shown))
    return stream.getvalue()


def letters(text: str) -> str:
    """All that is no frame and no space: a broken word is whole again."""
    return re.sub(r"[\s\u2500-\u257f]+", "", text)


@pytest.mark.parametrize("name", TABLES)
def test_80_columns_show_every_cell_of_a_bill(name: str) -> None:
    shown = TABLES[name]
    text = drawn(shown, 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    whole = letters(text)
    for row in shown.rows:
        for cell, column in zip(row, shown.columns, strict=True):
            if not column.page_only:
                assert letters(cell.text) in whole
                assert letters(cell.below) in whole
    assert letters(shown.caption) in whole
    assert "━" not in text


@pytest.mark.parametrize("name", TABLES)
def test_wide_terminal_has_the_table(name: str) -> None:
    text = drawn(TABLES[name], 200)
    assert "━" in text
    assert "; an hour:" not in text


TEXT = st.text("abcdefg .,", max_size=40)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, st.integers(0, 10**9), TEXT), min_size=1, max_size=4),
    width=st.integers(40, 200),
)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, int, str]], width: int) -> None:
    columns = ("first", Column("second", below="why"), ">number", Column("third", below="and"), ">last")
    cells = [(a, Cell(b, below=c), f"{n:,}", Cell(c, below=a), f"{n}") for a, b, n, c in rows]
    text = drawn(grid("A table", columns, rows=cells), width)
    assert all(len(line) <= width for line in text.splitlines())
    for number in (f"{n:,}" for _, _, n, _ in rows):
        assert number in text
