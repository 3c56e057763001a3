"""Values as SQLite compares and converts them.

Sources
-------
SQLite, "Datatypes in SQLite": order of storage classes, affinities, collations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reference_impl.errors import ImplError

Value = Any
"""None, int, float, str, bytes or :data:`UNKNOWN`; a record is a tuple of them."""


class UnknownError(ImplError):
    """A statement that cannot be walked: only the real runtime knows its count."""


class Unknown:
    """A value that nobody worked out: it may be stored and returned, and nothing may be decided by it."""


UNKNOWN = Unknown()
AGGREGATES = ("count", "sum", "total", "avg", "min", "max")
"""Those that are worked out; the value of any other is unknown."""
RANKS = {type(None): 0, int: 1, float: 1, str: 2, bytes: 3}
TEXT, NUMERIC = "B", "C"
"""Affinities: from NUMERIC on (NUMERIC, INTEGER, REAL) a text that looks like a number becomes one."""


def compared(left: Value, right: Value, *, collation: str = "BINARY") -> int:
    """Return -1, 0 or 1, as *left* sorts before, with or after *right*."""
    try:
        ranks = RANKS[type(left)], RANKS[type(right)]
    except KeyError:
        raise UnknownError("comparison with a value that is unknown") from None
    if ranks[0] != ranks[1]:
        return -1 if ranks[0] < ranks[1] else 1
    if left is None:
        return 0
    if ranks[0] == RANKS[str]:
        left, right = collated(left, collation), collated(right, collation)
    return int(left > right) - int(left < right)


def collated(text: str, collation: str) -> str:
    """Return *text* as a collation sees it."""
    if collation == "NOCASE":
        return "".join(letter.lower() if letter.isascii() else letter for letter in text)
    return text.rstrip(" ") if collation == "RTRIM" else text


@dataclass(frozen=True)
class KeyOrder:
    """How the fields of an index compare: a collation each, and whether it is descending."""

    fields: Sequence[tuple[str, bool]]

    @classmethod
    def read(cls, text: str) -> "KeyOrder":
        """Read what EXPLAIN shows of it: ``k(2,-B,NOCASE)``."""
        names = text[text.index("(") + 1 : text.rindex(")")].split(",")[1:]
        plain = [name.removeprefix("N.") for name in names]
        return cls([(name.removeprefix("-").partition("-")[0], name.startswith("-")) for name in plain])

    def compared(self, record: Sequence[Value], key: Sequence[Value]) -> int:
        """Compare the first fields of *record* with *key*: as many as both have."""
        for place, (left, right) in enumerate(zip(record, key, strict=False)):
            collation, descends = self.fields[place] if place < len(self.fields) else ("", False)
            order = compared(left, right, collation=collation)
            if order:
                return -order if descends else order
        return 0


def number_of(value: Value) -> Value:
    """Return a text that looks like a number as that number; anything else as it is."""
    if not isinstance(value, str):
        return value
    for read in (int, float):
        try:
            found = read(value.strip())
        except ValueError:
            continue
        return int(found) if found == int(found) else found
    return value


def converted(value: Value, affinity: str) -> Value:
    """Apply an affinity: ``B`` text, ``C`` numeric, ``D`` integer, ``E`` real; any other changes nothing."""
    if affinity == TEXT:
        return str(value) if isinstance(value, int | float) else value
    if affinity < NUMERIC or not affinity.isalpha():
        return value
    number = number_of(value)
    if affinity == "E" and isinstance(number, int):
        return float(number)
    return int(number) if isinstance(number, float) and affinity != "E" and number.is_integer() else number


def arithmetic(name: str, left: Value, *, right: Value) -> Value:
    """Return *left* op *right*; NULL where an operand is NULL or a divisor 0."""
    if left is None or right is None:
        return None
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    if name == "Concat":
        return f"{left}{right}"
    left, right = (number if isinstance(number, int | float) else 0 for number in (number_of(left), number_of(right)))
    if name in ("Divide", "Remainder"):
        if right == 0:
            return None
        whole = isinstance(left, int) and isinstance(right, int)
        quotient = int(left / right) if whole else left / right
        return quotient if name == "Divide" else int(left) - int(right) * int(int(left) / int(right))
    return {"Add": left + right, "Subtract": left - right, "Multiply": left * right}[name]


def is_true(value: Value) -> bool | None:
    """Return whether SQLite takes *value* for true; None for NULL."""
    if value is None:
        return None
    if value is UNKNOWN:
        raise UnknownError("truth of a value that is unknown")
    number = number_of(value)
    return bool(number) if isinstance(number, int | float) else False


def aggregated(name: str, values: Sequence[Value]) -> Value:
    """Return the aggregate *name* of *values*."""
    there = [value for value in values if value is not None]
    if name not in AGGREGATES or UNKNOWN in there:
        return UNKNOWN
    if name == "count":
        return len(there)
    if not there:
        return 0.0 if name == "total" else None
    if name in ("min", "max"):
        best = there[0]
        for value in there[1:]:
            if compared(value, best) == (1 if name == "max" else -1):
                best = value
        return best
    total = sum(number if isinstance(number, int | float) else 0 for number in map(number_of, there))
    return total / len(there) if name == "avg" else total
