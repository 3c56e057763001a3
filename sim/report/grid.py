"""A table before it is drawn: columns and cells, the same for a terminal, a page and a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "number", "verdict", "path", "picture"]


@dataclass(frozen=True)
class Cell:
    """What stands in one place.

    Attributes
    ----------
    text : str
    below : str
        Said more quietly: the interval under a value, the reason under a verdict.
    mark : str
        A word that is set off behind the text.
    data : Any
        What a picture is drawn from.
    """

    text: str = ""
    below: str = ""
    mark: str = ""
    data: Any = None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
    kind : {"text", "number", "verdict", "path", "picture"}
        Numbers are set flush right, verdicts in their colour, paths may be broken after a dot.
    below : str
        What the quieter lines are; a terminal gives them a column of their own under this name.
    page_only : bool
        Left out where there is little room: in a terminal.
    """

    name: str
    kind: Kind = "text"
    below: str = ""
    page_only: bool = False


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes
    ----------
    title : str
    columns : tuple of Column
    rows : tuple of tuple of Cell
        Each as long as *columns*.
    caption : str
        What holds for all rows, said once.
    sums : bool
        Whether the last row is the sum of the others.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    sums: bool = False


def grid(
    title: str,
    columns: Sequence[Column | str],
    *,
    rows: Sequence[Sequence[Cell | str]],
    caption: str = "",
    sums: bool = False,
) -> Grid:
    """Return a table; a text alone is a column of texts, or of numbers if it begins with ``>``, or a cell."""
    made = tuple(column if isinstance(column, Column) else _column(column) for column in columns)
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    assert all(len(row) == len(made) for row in cells), f"{title}: rows must be as long as its columns"
    return Grid(title, made, cells, caption, sums)


def _column(name: str) -> Column:
    return Column(name[1:], "number") if name.startswith(">") else Column(name)
