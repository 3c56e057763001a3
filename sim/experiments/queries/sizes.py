"""Rows of the tables: those asked for, those that must be there too, and how many of them are really made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from sim.experiments.queries.schema import TableSchema
from sim.foundation.errors import UsageError
from sim.foundation.schema import nearest

DEFAULT_ROWS = 10_000
"""Of a table that is used and not named."""
MEASURED_ROWS_MAX = 300_000
"""Rows that are made in all tables together: a minute, and some 100 MB of disk; more is extrapolated."""
ASKED_ROWS_MAX = 10**12
SHARES = (0.01, 0.1, 1.0)
"""Sizes at which is measured, as shares of the largest."""


@dataclass(frozen=True)
class Sizes:
    """Rows of tables.

    Attributes
    ----------
    asked : dict of str to int
        As it was asked for, or by default.
    measured : list of dict of str to int
        Rows that are made, from the smallest to the largest.
    shares : list of float
        Size of each of them as a share of what was asked for.
    """

    asked: dict[str, int]
    measured: list[dict[str, int]]
    shares: list[float]

    @property
    def is_whole(self) -> bool:
        """Whether the largest that is measured is what was asked for."""
        return self.shares[-1] == 1.0


def read_rows(texts: Iterable[str]) -> dict[str, int]:
    """Read ``TABLE=N,TABLE=N``.

    Raises
    ------
    UsageError
        It does not read so.
    """
    found = {}
    for part in (part for text in texts for part in text.split(",")):
        table, equals, number = (one.strip() for one in part.partition("="))
        plain = number.replace("_", "")
        if not (table and equals and plain.isascii() and plain.isdecimal()):
            raise UsageError(
                f"--rows {part!r} must read TABLE=N, a whole number of rows (--rows users=10000,orders=50000)"
            )
        found[table] = int(plain)
    return found


def sizes_of(rows: Mapping[str, int], *, tables: Mapping[str, TableSchema], used: Iterable[str]) -> Sizes:
    """Return the sizes at which is measured.

    Parameters
    ----------
    rows : mapping of str to int
        Asked for.
    tables : mapping of str to TableSchema
    used : iterable of str
        Tables that statements touch.

    Raises
    ------
    UsageError
        A table is not there, or a number is none.
    """
    by_name = {name.lower(): name for name in tables}
    asked: dict[str, int] = {}
    for table, number in rows.items():
        name = by_name.get(table.lower())
        if name is None:
            raise UsageError(f"rows: {table} is no table of the migrations; {nearest(table, list(tables))}")
        if not 1 <= number <= ASKED_ROWS_MAX:
            raise UsageError(f"rows: {table}={number} must be 1 to {ASKED_ROWS_MAX:,} (an empty table shows no growth)")
        asked[name] = number
    for name in parents_first(tables, _with_parents([*asked, *used], tables)):
        content = tables[name].content
        if content in asked and asked.get(name, asked[content]) != asked[content]:
            raise UsageError(f"rows: {name}={asked[name]} must be those of {content}, whose text it has ({content}=N)")
        asked.setdefault(name, asked.get(content, min(DEFAULT_ROWS, _rows_max(tables[name], asked))))
    if not asked:
        return Sizes({}, [{}], [1.0])
    if max(asked.values()) < 1 / SHARES[0]:
        raise UsageError(f"rows: at least one table must have {1 / SHARES[0]:g} rows, so that growth can be seen")
    whole = min(1.0, MEASURED_ROWS_MAX / sum(asked.values()))
    shares = [share * whole for share in SHARES]
    return Sizes(
        asked, [{name: max(1, round(rows * share)) for name, rows in asked.items()} for share in shares], shares
    )


def _rows_max(table: TableSchema, rows: Mapping[str, int]) -> int:
    """Return how many rows a table can have whose keys are made of references to others."""
    bounds = [
        prod(rows.get(table.parents[column][0], DEFAULT_ROWS) for column in key if column == table.referring(column)[0])
        for key in table.keys
        if set(key) <= set(table.parents)
    ]
    return min(bounds, default=DEFAULT_ROWS)


def parents_first(tables: Mapping[str, TableSchema], names: Iterable[str]) -> list[str]:
    """Return tables in an order in which every parent comes before its children, as far as there is one."""
    ordered: list[str] = []

    def add(name: str, above: frozenset[str]) -> None:
        if name in ordered or name in above:
            return
        for parent in _before(tables[name]):
            if parent in wanted:
                add(parent, above | {name})
        ordered.append(name)

    wanted = list(names)
    for name in wanted:
        add(name, frozenset())
    return ordered


def _with_parents(names: Iterable[str], tables: Mapping[str, TableSchema]) -> list[str]:
    found: list[str] = []
    waiting = [name for name in names if name in tables]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += [parent for parent in _before(tables[name]) if parent in tables]
    return found


def _before(table: TableSchema) -> list[str]:
    """Return the tables whose rows must be there first."""
    return [*(parent for parent, _ in table.parents.values()), *([table.content] if table.content else [])]
