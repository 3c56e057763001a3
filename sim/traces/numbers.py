"""Cells that hold numbers: whole ones, and times to the last digit."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.traces.blocks import CellError, Cells

NUMBER_MAX = 2**53
"""Largest number in a cell: beyond it whole numbers are rounded."""

BLANKS = ("", "-", "null", "NULL", "None", "NaN")
"""How tools write that there is nothing."""

PLAIN = r"^[+-]?\d{1,19}(?:[.,]\d*)?$"
"""A number without exponent: read digit by digit."""


def blank(cells: Cells) -> NDArray[np.bool_]:
    """Say which cells hold nothing, shape (rows,)."""
    return np.asarray(pc.is_in(cells, pa.array(BLANKS)))


def whole(cells: Cells) -> NDArray[np.int64]:
    """Return cells as whole numbers, shape (rows,); -1 for a blank one.

    Raises
    ------
    CellError
        One is no whole number, or negative, or too large.
    """
    missing = blank(cells)
    text = pc.if_else(missing, "-1", pc.replace_substring_regex(cells, r"\.0*$", ""))
    wrong = np.asarray(pc.invert(pc.match_substring_regex(text, r"^[+-]?\d+$")))
    if wrong.any():
        raise CellError(int(np.argmax(wrong)), "must be a whole number")
    found = np.asarray(pc.cast(pc.cast(text, pa.float64()), pa.int64(), safe=False))
    wrong = ((found < 0) & ~missing) | (found > NUMBER_MAX)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CellError(row, "must be >= 0" if text[row].as_py().startswith("-") else f"must be <= {NUMBER_MAX}")
    return found.astype(np.int64)


def decimal(cells: Cells) -> NDArray[np.float64]:
    """Return cells as numbers, shape (rows,); nan for a blank one.

    Raises
    ------
    CellError
        One is no finite number.
    """
    missing = blank(cells)
    text = pc.if_else(missing, "0", pc.replace_substring(cells, ",", "."))
    try:
        found = np.array(pc.cast(text, pa.float64()))
    except pa.ArrowInvalid:
        found = np.array([_float(word, row) for row, word in enumerate(text.to_pylist())])
    wrong = ~np.isfinite(found)
    if wrong.any():
        raise CellError(int(np.argmax(wrong)), "must be a finite number")
    found[missing] = np.nan
    return found


def _float(word: str, row: int) -> float:
    try:
        return float(word)
    except ValueError:
        raise CellError(row, "must be a number") from None


def scaled_ns(cells: Cells, unit_ns: int) -> NDArray[np.int64]:
    """Return numbers of some unit in ns, shape (rows,), exact as far as they are written out.

    Raises
    ------
    CellError
        One is no finite number, or beyond what 64 bits hold.
    """
    values = decimal(cells)
    wrong = ~(np.abs(values) < (2**63 - 1) / unit_ns)
    if wrong.any():
        row = int(np.argmax(wrong))
        rule = "must not be empty" if np.isnan(values[row]) else f"must lie within {(2**63 - 1) // unit_ns} of 0"
        raise CellError(row, rule)
    if not pc.all(pc.match_substring_regex(cells, PLAIN)).as_py():
        return np.rint(values * unit_ns).astype(np.int64)
    parts = pc.extract_regex(cells, pattern=r"^(?P<sign>[+-]?)(?P<whole>\d+)(?:[.,](?P<part>\d*))?$")
    digits = len(str(unit_ns)) - 1
    before = np.asarray(pc.cast(pc.struct_field(parts, "whole"), pa.int64())) * unit_ns
    if digits == 0:
        found = before
    else:
        shown = pc.utf8_slice_codeunits(pc.fill_null(pc.struct_field(parts, "part"), ""), 0, digits)
        found = before + np.asarray(pc.cast(pc.utf8_rpad(shown, digits, "0"), pa.int64()))
    negative = np.asarray(pc.equal(pc.struct_field(parts, "sign"), "-"))
    return np.where(negative, -found, found)


ENDINGS = (
    (r"_s(?:ec(?:onds)?)?$", "s"),
    (r"(_ms|[a-z]Ms|[mM]illis)$", "ms"),
    (r"(_us|[a-z]Us|[mM]icros?)$", "us"),
    (r"(_ns|[a-z]Ns|[nN]anos?)$", "ns"),
)
"""What the names of columns end in when they hold times, and the unit of it."""


def unit_of_name(name: str) -> str:
    """Return the unit that a column's name ends in, or an empty text.

    >>> (
    ...     unit_of_name("arrival_ms"),
    ...     unit_of_name("EventTimestampMs"),
    ...     unit_of_name("startTimeUnixNano"),
    ...     unit_of_name("ts"),
    ... )
    ('ms', 'ms', 'ns', '')
    """
    return next((unit for pattern, unit in ENDINGS if re.search(pattern, name)), "")
