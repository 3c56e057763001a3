"""How a statement's work grows with its tables, and the verdict on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from sim.experiments.queries.tokens import tokens
from sim.judgement.targets import Verdict

EXPONENT_MIN = 0.5
"""From here on it grows: between a tree's depth and a whole table there is much room."""
WASTE_RATIO = 2.0
"""Rows read for each that is returned or written, above which the statement looks for what it does not use."""
NEARLY = 0.05
ROWS_MIN = 30
"""Fewer rows are nobody's trouble, however they grow."""


@dataclass(frozen=True)
class Point:
    """What a statement does at one size of its tables.

    Attributes
    ----------
    rows_read, rows_written : int
    returned_rows, changes, steps : int
        Rows returned and changed, and instructions, on this machine's SQLite; 0 where it was extrapolated.
    basis : {"counted", "estimated", "at least", "extrapolated"}
        Whether the rows are the provider's count, an estimate from a part of the run, a lower bound, or follow from how
        it grows.
    """

    rows_read: int
    rows_written: int
    returned_rows: int
    changes: int
    steps: int
    basis: str

    @property
    def work(self) -> int:
        """What grows: rows read and written, or, where nobody counted them, instructions."""
        return self.steps if self.basis == "at least" else self.rows_read + self.rows_written


@dataclass(frozen=True)
class Growth:
    """How it grows.

    Attributes
    ----------
    exponent : float
        Of the tables' size: 0 does not grow, 1 grows as they do, 2 as their square.
    verdict : Verdict
        ALERT for a scan that grows, WARN for a result that grows, PASS for neither.
    reason : str
    """

    exponent: float
    verdict: Verdict
    reason: str


def growth(points: Sequence[Point], shares: Sequence[float], *, plan: Sequence[str]) -> Growth:
    """Judge a statement that was measured at several sizes.

    Parameters
    ----------
    points : sequence of Point
        From the smallest size to the largest.
    shares : sequence of float
        The sizes.
    plan : sequence of str
        SQLite's plan, which tells a scan.
    """
    exponent = exponent_of(points, shares)
    last = points[-1]
    if exponent < EXPONENT_MIN or last.work < ROWS_MIN:
        return Growth(exponent, Verdict.PASS, "reads no more as its tables grow")
    pace = "as its tables do" if exponent < 1.25 else f"as their power {exponent:.1f}"
    used = max(last.returned_rows + last.changes, 1)
    if last.basis == "at least":
        return Growth(exponent, Verdict.ALERT, f"its work grows {pace}; only the runtime can count its rows")
    if last.rows_read > WASTE_RATIO * used or is_scan(plan):
        each = last.rows_read / used
        used_all = "all of it used" if each < WASTE_RATIO else f"{each:,.0f} rows read for each used"
        return Growth(exponent, Verdict.ALERT, f"a scan that grows {pace}: {used_all}")
    return Growth(exponent, Verdict.WARN, f"returns or changes more, {pace}: a LIMIT bounds it")


def exponent_of(points: Sequence[Point], shares: Sequence[float]) -> float:
    """Return the exponent of the tables' size between the two largest sizes."""
    if len(points) < 2:
        return 0.0
    return _exponent(points[-2].work, points[-1].work, shares)


def _exponent(before: int, after: int, shares: Sequence[float]) -> float:
    """Return the exponent of the tables' size that takes one amount to another between the two largest sizes."""
    small, large = shares[-2:]
    return max(0.0, log(max(after, 1) / max(before, 1)) / log(large / small))


def extrapolated(points: Sequence[Point], shares: Sequence[float]) -> Point:
    """Return the point at the size that was asked for, from the growth between the two largest that were made."""
    last = points[-1]
    read, written = (
        _enlarged(after, _exponent(before, after, shares), 1 / shares[-1])
        for before, after in ((points[-2].rows_read, last.rows_read), (points[-2].rows_written, last.rows_written))
    )
    return Point(read, written, 0, 0, 0, "extrapolated")


def _enlarged(rows: int, exponent: float, ratio: float) -> int:
    """Return rows at a *ratio* of the size, to three digits; an exponent that is nearly whole is taken for whole."""
    near = round(exponent)
    found = rows * ratio ** (near if abs(exponent - near) < NEARLY else exponent)
    return int(float(f"{found:.3g}"))


def is_scan(plan: Sequence[str]) -> bool:
    """Whether a step goes through a whole table or index that is not the statement's own."""
    return any(step.startswith("SCAN ") and not step.startswith("SCAN CONSTANT") for step in plan)


def in_words(plan: Sequence[str]) -> str:
    """Return SQLite's plan as a sentence.

    >>> in_words(["SEARCH loras USING INDEX idx (domain=?)", "USE TEMP B-TREE FOR ORDER BY"])
    'searches loras by idx (domain=?), then sorts for ORDER BY'
    """
    words = []
    for step in plan:
        verb = tokens(step)[0].text if step else ""
        rest = step.removeprefix(verb).strip()
        for found, shown in ((" USING COVERING INDEX ", " by "), (" USING INDEX ", " by "), (" USING ", " by ")):
            rest = rest.replace(found, shown, 1)
        if step.startswith("USE TEMP B-TREE FOR"):
            words.append(f"sorts for{step.removeprefix('USE TEMP B-TREE FOR')}")
        elif verb in ("SCAN", "SEARCH"):
            words.append(f"{'scans all of' if verb == 'SCAN' else 'searches'} {rest}")
        elif step:
            words.append(step.lower())
    return ", then ".join(words) or "touches no table"
