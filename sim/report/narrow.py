"""A table in a terminal, and its rows one below another where the terminal is too narrow for its columns.

Columns share the room there is, and numbers and headings stay whole; where that does not fit, the last columns would be
cut. Then each row is a heading and what its columns say, with their names.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from sim.report.grid import Column, Grid

INDENT = 2


@dataclass(frozen=True)
class Fitted:
    """The table *wide* if it fits, else the rows of *grid*, one below another."""

    grid: "Grid"
    wide: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw whichever fits."""
        if not is_cut(self.wide, console, options=options):
            yield self.wide
            return
        grid = self.grid
        shown = [number for number, column in enumerate(grid.columns) if not column.page_only]
        yield Text(grid.title, style="bold")
        for row in grid.rows:
            yield Text(row[shown[0]].text, style="bold")
            said = "; ".join(
                part
                for number in shown
                for part in _said(grid.columns[number], row[number].text, row[number].below, first=number == shown[0])
            )
            yield Padding(Text(said), (0, 0, 0, INDENT))
        if grid.caption:
            yield Text(grid.caption, style="dim italic")


def _said(column: "Column", text: str, below: str, *, first: bool) -> list[str]:
    """What a cell says: with the name of its column, unless it is the row's own heading."""
    found = [] if first or not text else [f"{column.name}: {text}" if column.name else text]
    return [*found, f"{column.below}: {below}" if column.below else below] if below else found


def is_cut(table: Table, console: Console, *, options: ConsoleOptions) -> bool:
    """Whether a table is wider than the room there is, once its columns are as narrow as they may be."""
    lines = Segment.split_lines(console.render(table, options))
    return any(Segment.get_line_length(line) > options.max_width for line in lines)
