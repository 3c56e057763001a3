"""What was measured, as a page: the same text on the screen and in ``docs/SPEED.md``."""

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

PACKAGES = ("simpy", "ciw", "numba", "numpy", "pandas")

WIDTH = 120


@dataclass(frozen=True)
class Section:
    """A table, with what must be known to read it.

    Attributes
    ----------
    title, text : str
    columns : sequence of str
    rows : sequence of sequence of str
        One row a line, its first cell a name.
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The section as Markdown."""
        text = fill(" ".join(self.text.split()), WIDTH)
        lines = [self.columns, ["---", *["---:" for _ in self.columns[1:]]], *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n{text}\n\n{table}\n"


def page(sections: Iterable[Section], *, load_average: tuple[float, float]) -> str:
    """The whole page.

    Parameters
    ----------
    sections : iterable of Section
    load_average : tuple of float
        Of the machine, before and after: what others wanted of it meanwhile.
    """
    before, after = load_average
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    told = f"""Written by `make bench`; what is measured, and how, is told in [benchmarks/](../benchmarks/__init__.py).
        Where three numbers stand together they are the median over rounds, the lowest and the highest. Measured on
        {machine}, {packages}. The load average of the machine was {before:.1f} before and {after:.1f} after; an idle
        machine says 0.0 before."""
    opening = f"# Speed\n\n{fill(' '.join(told.split()), WIDTH)}\n"
    return "\n".join([opening, *(section.markdown() for section in sections)])


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or sys.platform
