"""What is handed over says what is true today.

Goal: whoever takes over can believe the status page. Method: the numbers on it are counted anew, each page that the
brief asks for exists with its parts, and the changelog tells what the last changes were.
"""

import re

from tests.project import brief, hazards
from tests.project.tidy import ROOT

STATUS = (ROOT / "status/BUILD_STATUS.md").read_text("utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_cells_of_the_brief_are_counted() -> None:
    asked = [row for row in brief.rows() if row.cell != "not asked"]
    whole = [row for row in asked if row.cell == "whole"]
    assert f"{len(whole)} of {len(asked)} cells of the simulation" in STATUS


def test_the_hazards_are_counted() -> None:
    found = re.search(
        r"of (\d+) are demonstrated by a test, (\d+) of them by simulation", hazards.PAGE.read_text("utf-8")
    )
    assert found
    assert f"{found[2]} of {found[1]} hazards beside their formula" in STATUS


def test_the_status_page_has_its_parts() -> None:
    parts = re.findall(r"^## (.*)$", STATUS, flags=re.MULTILINE)
    assert {"Take over in five minutes", "What works", "What is not there yet", "Known weak", "Blockers"} <= set(parts)
    for part in parts:
        assert STATUS.partition(f"## {part}\n")[2].partition("\n## ")[0].strip(), f"{part} is empty"


def test_no_part_that_exists_is_called_missing() -> None:
    """A component with a model is not listed as one that is not there yet."""
    missing = STATUS.partition("## What is not there yet")[2].partition("## Known weak")[0]
    (listed,) = re.findall(r"^\| components \| (.*) \|$", missing, flags=re.MULTILINE) or [""]
    built = [path.stem for path in (ROOT / "sim/models").glob("*.py") if "\nCOMPONENT = " in path.read_text("utf-8")]
    assert len(built) > 10
    assert [name for name in built if re.search(rf"\b{name}\b", listed)] == []


def test_the_changelog_begins_with_what_is_not_released() -> None:
    sections = re.findall(r"^## \[(.*?)\]", CHANGES, flags=re.MULTILINE)
    assert sections[0] == "Unreleased"
    unreleased = CHANGES.partition("## [Unreleased]")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- ", unreleased, flags=re.MULTILINE)) > 0
    assert "](../CHANGELOG.md)" in (ROOT / "status/CHANGELOG.md").read_text("utf-8")
