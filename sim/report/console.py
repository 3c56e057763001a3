"""What the commands print: results on standard output, everything else on standard error."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sim.report.json_document import Document

PIPE_COLUMNS = 160


def say(line: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"{line}\n")


def progress_printer() -> Callable[[str], None]:
    """Return a callback that prints progress on standard error if it is a terminal, and does nothing otherwise."""
    return say if sys.stderr.isatty() else lambda _: None


def show(tables: "Iterable[RenderableType]", *, document: "Document", json: str | None) -> None:
    """Print tables, on standard error if the document goes to standard output; write the document if asked."""
    from sim.report.json_document import write_document

    console = _console(to_stderr=json == "-")
    for table in tables:
        console.print(table)
    if json is not None:
        write_document(document, json)


def _console(*, to_stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    # A pipe has no width; without this rich would cut tables to 80 columns there.
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdecimal() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False)
