"""``python -m tests.defects``: plant all defects and write the page, or one and say how it was found."""

import argparse
import json
import re
import sys
from collections.abc import Sequence

from tests.defects.catalogue import DEFECTS
from tests.defects.planting import Found, look_for, plant
from tests.project.tidy import ROOT

PAGE = ROOT / "docs/DEFECTS.md"

HEAD = """# Planted defects

Each row is a small change of the deployment's source (`tests/defects/catalogue.txt`) that a test must find. Schedules
are those of `python -m tests.faults`, played from seed 0 on; the smallest schedule is what remains when everything
is taken out that the failure does not need. Made by `python -m tests.defects`; `tests/defects/test_defects.py` plants
every defect again.

| # | defect | in | found by | first seed | smallest schedule | what was wrong |
| --- | --- | --- | --- | --- | --- | --- |
"""
ROW = re.compile(r"^\| \d+ \| ([^|]+) \| `\w+` \| schedules \| ([\d,]+) \|", re.MULTILINE)


def page(found: Sequence[Found]) -> str:
    """Return the page."""
    lines = []
    for number, (defect, how) in enumerate(zip(DEFECTS, found, strict=True), start=1):
        by_schedules = how.found_by == "schedules"
        by = "schedules" if by_schedules else f"`{how.found_by}`" if how.found_by else "**nothing**"
        small = f"{how.ops} operations, {how.faults} faults" if by_schedules else "-"
        violation = how.violation.replace("|", "/")[:150]
        seed = f"{how.seed:,}" if by_schedules else "-"
        row = [str(number), defect.name, f"`{defect.module}`", by, seed, small, violation]
        lines.append("| " + " | ".join(row) + " |")
    return HEAD + "\n".join(lines) + "\n"


def first_seeds() -> dict[str, int]:
    """Return the first failing seed of every defect, as the page tells it."""
    return {name: int(seed.replace(",", "")) for name, seed in ROW.findall(PAGE.read_text("utf-8"))}


def main() -> int:
    """Plant one defect and print how it was found, or all of them and write the page."""
    parser = argparse.ArgumentParser(prog="tests.defects", description="Plant defects and look for them.")
    parser.add_argument("--plant", metavar="NAME", help="only this one; prints one line of JSON")
    parser.add_argument("--first-seed", type=int, default=0, help="play this one before all others")
    parser.add_argument("--no-shrink", action="store_true", help="leave the failing schedule as it is")
    asked = parser.parse_args()
    if asked.plant:
        defect = next(defect for defect in DEFECTS if defect.name == asked.plant)
        print(json.dumps(vars(plant(defect, first_seed=asked.first_seed, shrinks=not asked.no_shrink))))
        return 0
    found = []
    for defect in DEFECTS:
        found.append(look_for(defect.name))
        print(f"{defect.name}: {found[-1].found_by or 'NOT FOUND'}, seed {found[-1].seed:,}", flush=True)
    PAGE.write_text(page(found), "utf-8")
    return int(any(not how.found_by for how in found))


if __name__ == "__main__":
    sys.exit(main())
