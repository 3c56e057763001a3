"""Cells that hold times: stamps of many forms, numbers since 1970 in any unit, numbers since the start of a recording.

Sources
-------
ISO 8601 and RFC 3339 (stamps; a space for the T is allowed); RFC 9557 is not read.
Common Log Format of NCSA httpd: ``10/Oct/2000:13:55:36 -0700``.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE
from sim.traces.blocks import CellError, Cells
from sim.traces.numbers import decimal, scaled_ns
from sim.traces.options import UNITS_NS

IntArray = NDArray[np.int64]

MAGNITUDES = (("s", 6e8, 6e9), ("ms", 6e11, 6e12), ("us", 6e14, 6e15), ("ns", 6e17, 6e18))
"""Between 1989 and 2160 a number of seconds since 1970 lies here, and likewise one of ms, us and ns."""

SINCE_1970 = "since 1970"

NUMBER = r"^[+-]?[\d.,]+(?:[eE][+-]?\d+)?$|^[+-]?(?:nan|inf|infinity)$"

STAMP = (
    r"^((?:19|20|21)\d\d-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?"
    r"(Z|[+-]\d\d(?::?\d\d)?)?$"
)

EXAMPLE = "2026-11-16 18:17:03.123Z"

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

ACCESS = r"^(?P<day>\d\d)/(?P<month>[A-Z][a-z][a-z])/(?P<year>\d{4}):(?P<clock>[\d:]{8}) ?(?P<zone>[+-]\d{4})$"


@dataclass
class Clock:
    """Reads the times of one file; what the first of them shows holds for all.

    Attributes
    ----------
    unit : str
        Of numbers: as the reader's options, the column's name or the format gives it; empty if none does.
    zone : str
        Of stamps without one.
    taken : str
        What numbers were taken for, once known.
    naive : bool
        Whether some stamp named no zone.
    """

    unit: str = ""
    zone: str = ""
    explicit: bool = False
    taken: str = ""
    naive: bool = False
    _unit_ns: int = field(default=0, init=False)
    _range: tuple[float, float] = field(default=(0, 0), init=False)

    def ns(self, cells: Cells) -> IntArray:
        """Return the times of a block in ns, since 1970 or since some start of its own, shape (rows,).

        Raises
        ------
        CellError
            A cell is no time.
        """
        empty = pc.index(pc.equal(cells, ""), True).as_py()
        if empty >= 0:
            raise CellError(empty, "must not be empty")
        if self._unit_ns or (self._first(cells) and pc.match_substring_regex(cells[:1], NUMBER)[0].as_py()):
            return self._numbers(cells)
        return self._stamps(cells)

    def _first(self, cells: Cells) -> bool:
        """Whether nothing is known yet of the file's times."""
        return len(cells) > 0 and not self.taken

    def _numbers(self, cells: Cells) -> IntArray:
        values = decimal(cells)
        if not self._unit_ns:
            self._recognise(values)
        if self.taken.endswith(SINCE_1970):
            low, high = self._range
            wrong = ~((values >= low) & (values < high))
            if wrong.any():
                raise CellError(int(np.argmax(wrong)), f"must be in {self.taken}, as the times before it")
        return scaled_ns(cells, self._unit_ns)

    def _recognise(self, values: NDArray[np.float64]) -> None:
        """Find out the unit, by what somebody said or by the magnitude."""
        first = float(values[0])
        size = next(((unit, low, high) for unit, low, high in MAGNITUDES if low <= first < high), None)
        if size is not None and (not self.explicit or size[0] == self.unit):
            self.unit, low, high = size
            self._range = (low, high)
            self.taken = f"{self.unit} {SINCE_1970}"
        elif not self.unit:
            raise CellError(0, "has no unit, and its magnitude does not give one: say unit=s, ms, us or ns")
        else:
            self.taken = f"{self.unit} since a start of its own"
        self._unit_ns = UNITS_NS[self.unit]

    def _stamps(self, cells: Cells) -> IntArray:
        self.taken = "stamps"
        text = _as_iso(cells)
        wrong = pc.index(pc.match_substring_regex(text, STAMP), False).as_py()
        if wrong >= 0:
            raise CellError(wrong, f"must be a time such as {EXAMPLE}")
        text = pc.replace_substring_regex(text, r"(\.\d{9})\d+", r"\1")
        zoned = pc.match_substring_regex(text, r"(Z|[+-]\d\d(:?\d\d)?)$")
        if pc.all(zoned).as_py():
            return _parsed(text)
        self.naive = True
        if not self.zone or self.zone.upper() in ("UTC", "Z"):
            return _parsed(pc.if_else(zoned, text, pc.binary_join_element_wise(text, "Z", "")))
        if pc.any(zoned).as_py():
            row = pc.index(zoned, False).as_py()
            raise CellError(row, "must name its zone, as other rows do")
        return _local(_parsed(pc.binary_join_element_wise(text, "Z", "")), self.zone)


def _as_iso(cells: Cells) -> Cells:
    """Stamps in the forms of databases and servers as ISO 8601."""
    first = cells[0].as_py() if len(cells) else ""
    if "/" in first:
        parts = pc.extract_regex(cells, pattern=ACCESS)
        if pc.is_valid(parts)[0].as_py():
            month = pc.index_in(pc.struct_field(parts, "month"), pa.array(MONTHS))
            number = pc.utf8_lpad(pc.cast(pc.add(month, 1), pa.string()), 2, "0")
            day = pc.binary_join_element_wise(
                pc.struct_field(parts, "year"), number, pc.struct_field(parts, "day"), "-"
            )
            clock = pc.binary_join_element_wise(pc.struct_field(parts, "clock"), pc.struct_field(parts, "zone"), "")
            return pc.fill_null(pc.binary_join_element_wise(day, clock, "T"), "")
        cells = pc.replace_substring_regex(cells, r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3")
    if pc.any(pc.match_substring(cells, ",")).as_py():
        cells = pc.replace_substring(cells, ",", ".")
    if " " in first[11:] or first.endswith(("UTC", "GMT", "z")):
        cells = pc.replace_substring_regex(cells, r" ?(?:UTC|GMT|z)$", "Z")
        cells = pc.replace_substring_regex(cells, r" ([+-]\d\d(?::?\d\d)?)$", r"\1")
    return cells


def _parsed(text: Cells) -> IntArray:
    """Stamps with a zone as ns since 1970."""
    try:
        return np.asarray(pc.cast(pc.cast(text, pa.timestamp("ns", tz="UTC")), pa.int64()))
    except pa.ArrowInvalid:
        for row, word in enumerate(text.to_pylist()):
            try:
                datetime.fromisoformat(word)
            except ValueError as error:
                raise CellError(row, f"{str(error).lower()}: no such time") from None
        raise CellError(0, f"must be a time such as {EXAMPLE}") from None


def _local(found: IntArray, zone: str) -> IntArray:
    """Local times, as if they were UTC, in ns since 1970."""
    local = pa.array(found, pa.int64()).cast(pa.timestamp("ns"))
    try:
        return np.asarray(pc.cast(pc.assume_timezone(local, zone), pa.int64()))
    except pa.ArrowInvalid as error:
        for row, value in enumerate(found.tolist()):
            if not _clear(value, ZoneInfo(zone)):
                raise CellError(row, f"is no clear time in {zone}, where clocks change: say stamps in UTC") from None
        raise CellError(0, str(error).splitlines()[0].lower()) from None


def _clear(local_ns: int, zone: tzinfo) -> bool:
    """Whether a local time stands for one moment, neither two nor none."""
    wall = datetime.fromtimestamp(local_ns // 1_000_000_000, UTC).replace(tzinfo=None)
    first, second = wall.replace(tzinfo=zone, fold=0), wall.replace(tzinfo=zone, fold=1)
    return first.utcoffset() == second.utcoffset()


def check_zone(zone: str) -> None:
    """Refuse a name that is no time zone.

    Raises
    ------
    ScenarioError
        The time zone database does not have it.
    """
    try:
        if zone:
            ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScenarioError(f'zone="{zone}" must be a time zone such as Europe/Berlin, or UTC ({PAGE})') from None


def repeated_hour(before_ns: int, after_ns: int) -> str:
    """Say in which zone a fall from one local time to another is the end of summer time; empty if in none.

    Where clocks are put back, the hour after it happens twice, and stamps without a zone do not say which is meant.
    """
    fall = timedelta(microseconds=(before_ns - after_ns) / 1000)
    if not timedelta(minutes=15) <= fall <= timedelta(hours=1, seconds=1):
        return ""
    usual = ("Europe/Berlin", "America/New_York", "America/Los_Angeles", "Australia/Sydney")
    others = sorted(available_timezones() - set(usual))
    for name in (*usual, *others):
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
        wall = datetime.fromtimestamp(after_ns // 1_000_000_000, UTC).replace(tzinfo=None)
        offsets = [wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)]
        if offsets[0] is not None and offsets[1] is not None and offsets[0] > offsets[1]:
            return name
    return ""
