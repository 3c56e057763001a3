"""The catalogue of planted defects, read from ``catalogue.txt``: each a change of a few lines of one module.

An entry names the defect, the module of ``reference_impl/`` that it is in and, if schedules cannot find it, the tests
that must. Then come lines of source: those that begin with ``-`` are taken out, those with ``+`` put in, those with a
blank only say where. What is taken out must be there exactly once.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.project.tidy import ROOT

FILE = ROOT / "tests/defects/catalogue.txt"


@dataclass(frozen=True)
class Defect:
    """One defect.

    Parameters
    ----------
    name
        What went wrong, in a few words.
    module
        The changed module, below ``reference_impl``: ``ledger.hardened``.
    was, becomes
        The lines that are there once, and what they become.
    tests
        What finds it, if schedules cannot: a pytest argument.
    """

    name: str
    module: str
    was: str
    becomes: str
    tests: str

    @property
    def path(self) -> Path:
        """The module's file."""
        return ROOT / f"reference_impl/{self.module.replace('.', '/')}.py"

    def changed(self, source: str) -> str:
        """Return *source* with the defect."""
        found = source.count(self.was)
        assert found == 1, f"{self.name}: its place is {found} times in {self.module}"
        return source.replace(self.was, self.becomes)


def read(entry: str) -> Defect:
    """Read one entry of the catalogue."""
    header: dict[str, str] = {}
    was, becomes = [], []
    for line in entry.splitlines():
        if line[0] in " -+":
            was += [line[1:]] * (line[0] != "+")
            becomes += [line[1:]] * (line[0] != "-")
        else:
            key, _, value = line.partition(": ")
            header[key] = value
    lines = ["".join(f"{line}\n" for line in side) for side in (was, becomes)]
    return Defect(header["defect"], header["in"], lines[0], lines[1], header.get("tests", ""))


DEFECTS = tuple(read(entry.strip("\n")) for entry in FILE.read_text("utf-8").split("\n\n"))
