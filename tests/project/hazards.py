"""The page of hazards, made from the catalogue and from who cites it: ``python -m tests.project.hazards``.

``docs/hazards.toml`` says what each hazard is. A citation is its name in a Python file (``H31``, a range such as
``H1 to H4``) or in the name of a test (``test_h31_...``). ``test_hazards.py`` makes the page anew and compares.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from tests.project.tidy import ROOT

CATALOGUE = ROOT / "docs/hazards.toml"
PAGE = ROOT / "docs/HAZARDS.md"

CODE = ("sim", "reference_impl")
TESTS = ("tests/reference_impl", "tests/faults", "tests/defects", "tests/sim")
STATUS = {"tests/reference_impl": "reference", "tests/faults": "reference", "tests/sim": "simulated"}
"""What a test that cites a hazard shows it on."""

CITATION = re.compile(r"(?<![\w/.])H(\d{1,2})(?: to H(\d{1,2}))?(?![\w/])")
"""Kendall's M/H2/1 is none: a slash stands beside it."""
NAMED_TEST = re.compile(r"\bdef test_h(\d{1,2})_")

HEAD = """# Hazards

What goes wrong in a deployment such as the brief describes, when, and by how much. Made by
`python -m tests.project.hazards` from the catalogue (`hazards.toml`) and from the code and tests that cite a row by
its name; a test compares. {summary}

- *reference*: a test of the reference deployment, or of its fault schedules, cites the hazard.
- *simulated*: a test of the simulation cites it.
- *not yet*: no test does.

The parameters are keys of a scenario (`headroom sweep launch --vary KEY=VALUES` shows their effect).
"""
COLUMNS = ("", "what happens", "prediction", "parameters", "code", "tests", "status")


@dataclass(frozen=True)
class Hazard:
    """One row of the catalogue."""

    id: str
    area: str
    what: str
    prediction: str
    parameters: tuple[str, ...]


@cache
def catalogue() -> tuple[Hazard, ...]:
    """Return every hazard, in the order of the page."""
    rows = tomllib.loads(CATALOGUE.read_text("utf-8"))["hazard"]
    return tuple(Hazard(**{**row, "parameters": tuple(row["parameters"])}) for row in rows)


def cited(text: str) -> set[str]:
    """Return the names of the hazards that a text cites."""
    numbers = {int(number) for number in NAMED_TEST.findall(text)}
    for first, last in CITATION.findall(text):
        numbers |= set(range(int(first), int(last or first) + 1))
    return {f"H{number}" for number in numbers}


def citations(*folders: str) -> dict[str, list[str]]:
    """Return the Python files below *folders* that cite each hazard, relative to the root."""
    found: dict[str, list[str]] = {}
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for hazard in cited(path.read_text("utf-8")):
            found.setdefault(hazard, []).append(path.relative_to(ROOT).as_posix())
    return found


def status(files: Iterable[str]) -> str:
    """Say on what the tests in *files* show a hazard."""
    shown = {word for folder, word in STATUS.items() for file in files if file.startswith(f"{folder}/")}
    return ", ".join(sorted(shown)) or "not yet"


def page() -> str:
    """Return the page."""
    code, tests = citations(*CODE), citations(*TESTS)
    states = [status(tests.get(hazard.id, [])) for hazard in catalogue()]
    shown = sum(state != "not yet" for state in states)
    lines = [HEAD.format(summary=f"{shown} of {len(states)} are shown by a test.")]
    for area in dict.fromkeys(hazard.area for hazard in catalogue()):
        lines += [f"## {area}", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
        for hazard, state in zip(catalogue(), states, strict=True):
            if hazard.area == area:
                lines.append(_row([*_told(hazard), _links(code.get(hazard.id)), _links(tests.get(hazard.id)), state]))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _told(hazard: Hazard) -> Iterator[str]:
    yield hazard.id
    yield hazard.what
    yield hazard.prediction
    yield ", ".join(f"`{key}`" for key in hazard.parameters)


def _links(files: list[str] | None) -> str:
    return ", ".join(f"[{PurePosixPath(file).name}](../{file})" for file in files or [])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
