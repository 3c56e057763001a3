"""One thing that is wrong with a deployment's files: where, what it leads to, and how to mend it."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Severity(IntEnum):
    """How bad it is: an error never works, a warning costs money or fails one day, a note is worth knowing."""

    ERROR = 0
    WARNING = 1
    NOTE = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, order=True)
class Finding:
    """A finding.

    Attributes
    ----------
    severity : Severity
    file : Path
        Relative to the folder that was looked at.
    line_number : int
        From 1; 0 if the finding is about the whole file.
    rule : str
        Name of the rule, to be ignored by.
    message : str
        What is there, and what it leads to.
    remedy : str
    hazard : str
        Row of docs/HAZARDS.md; empty if none is about it.
    """

    severity: Severity
    file: Path
    line_number: int
    rule: str
    message: str
    remedy: str
    hazard: str = ""

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file.as_posix()}:{self.line_number}" if self.line_number else self.file.as_posix()
