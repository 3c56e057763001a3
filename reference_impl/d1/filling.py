"""Rows for the tables of named statements, such that each statement finds as many as its step says.

Row *i* of a table is a function of *i*: a column that is unique counts; one that a search compares holds each value in
as many rows as the step's ``matching_rows`` says, or the same one in all; one that refers to another table goes through
that table's rows; a column that no statement names keeps its default. So a parameter's value follows from the number of
a row, without a look into the database.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from reference_impl.d1.database import insert_rows
from reference_impl.d1.schema import Column, Place, TableSchema, Value, literal
from reference_impl.d1.statements import Named, Reading, Term, params_of
from reference_impl.errors import ConfigError
from reference_impl.sqlite.engines import Engine, Params

ROWS_MAX = 200_000
"""Rows of all tables together: making more would keep the deployment from being ready."""
FAR = 10**8
"""A number beyond those of all rows."""


class Filler:
    """The rows of a database.

    Parameters
    ----------
    tables
        All of its tables.
    sizes
        Rows of each that the deployment file names.
    asked
        The statements with what was read of them.

    Raises
    ------
    ConfigError
        Two statements say different things of one column, or a table has too few rows for what refers to it.
    """

    def __init__(
        self, tables: Mapping[str, TableSchema], sizes: Mapping[str, int], asked: Sequence[tuple[Named, Reading]]
    ) -> None:
        self._tables = tables
        self._shared: dict[Place, int] = {}
        """Rows that share a value of a column, as a step says."""
        self._literals: dict[Place, list[tuple[Value, int]]] = {}
        self._compared: set[Place] = set()
        self._unsaid: set[Place] = set()
        self._parents: dict[Place, Place] = {
            (table.name, column): parent for table in tables.values() for column, parent in table.parents.items()
        }
        self._words = frozenset(word for _, reading in asked for word in reading.words)
        self._new = count()
        for named, reading in asked:
            self._learn(named, reading)
        self._check_shared()
        self.sizes = self._sized(sizes, [table for _, reading in asked for table in reading.tables])

    # --- what the statements say ---------------------------------------------------------------------

    def _learn(self, named: Named, reading: Reading) -> None:
        number = self._tables[reading.first].rowid.lower() if reading.first else ""
        if "rowid" in reading.searched and number:
            reading.searched[number] = reading.searched.pop("rowid")
        for left, right in reading.joins:
            for child, parent in ((left, right), (right, left)):
                is_key = self._tables[parent[0]].is_unique(parent[1])
                if is_key and not self._tables[child[0]].is_unique(child[1]):
                    self._parents.setdefault(child, parent)
        for term in reading.terms:
            place = (term.table, term.column)
            if term.operator != "=":
                continue
            self._compared.add(place)
            is_first = term.table == reading.first
            shared = named.matching_rows if is_first and self._is_searched(term, reading) else 0
            if term.literal:
                found = self._literals.setdefault(place, [])
                if literal(term.literal) not in [value for value, _ in found]:
                    found.append((literal(term.literal), shared))
            elif self._tables[term.table].is_unique(term.column):
                continue
            elif shared:
                self._share(place, shared)
            elif is_first and reading.searched.get(term.column.lower()) == "=":
                self._unsaid.add(place)

    def _check_shared(self) -> None:
        """Refuse a column of which one statement says how many rows match, and another that all do."""
        for place in sorted(self._unsaid & self._shared.keys()):
            raise ConfigError(
                f"matching_rows={self._shared[place]} of one statement that searches {'.'.join(place)} must be said by "
                "all of them: without it every row of the table matches"
            )

    def _share(self, place: Place, rows: int) -> None:
        """Let *rows* rows share each value of a column."""
        if self._shared.setdefault(place, rows) != rows:
            raise ConfigError(
                f"matching_rows={rows} and {self._shared[place]} both say how many rows share a value of "
                f"{'.'.join(place)}; name one number"
            )

    def _is_searched(self, term: Term, reading: Reading) -> bool:
        """Whether a condition is one that the search uses; of a scan, each is."""
        return not reading.searched or reading.searched.get(term.column.lower()) == "="

    def _sized(self, sizes: Mapping[str, int], used: Sequence[str]) -> dict[str, int]:
        """Return the rows of each table that is filled: those that statements touch, and what their rows refer to."""
        by_name = {name.lower(): rows for name, rows in sizes.items()}
        found: dict[str, int] = {}
        for table in dict.fromkeys(used):
            if table.lower() not in by_name:
                raise ConfigError(f"rows must say how many rows the table {table} has, which a statement uses")
            found[table] = by_name[table.lower()]
        waiting = list(found)
        for table in waiting:
            for column in self.columns(table):
                if (parent := self._parents.get((table, column.name))) is None or parent[0] not in self._tables:
                    continue
                needed = -(-found[table] // self._shared.get((table, column.name), max(found[table], 1)))
                if parent[0] not in found:
                    found[parent[0]] = by_name.get(parent[0].lower(), max(needed, 1))
                    waiting.append(parent[0])
                if needed > found[parent[0]]:
                    raise ConfigError(
                        f"matching_rows={self._shared[table, column.name]}: {found[table]:,} rows of {table} then "
                        f"refer to {needed:,} rows of {parent[0]}, which has {found[parent[0]]:,}; name more of them"
                    )
        if sum(found.values()) > ROWS_MAX:
            raise ConfigError(f"rows={found} must be at most {ROWS_MAX:,} rows together, to be filled")
        return found

    # --- values ------------------------------------------------------------------------------------------

    def columns(self, table: str) -> list[Column]:
        """Return the columns of a table that are given a value."""
        schema = self._tables[table]
        in_keys = {name for key in schema.keys for name in key}
        found = [
            column
            for column in schema.columns.values()
            if column.is_required or column.name in in_keys or column.name.lower() in self._words
        ]
        return found or list(schema.columns.values())[:1]

    def value(self, table: str, column: str, *, number: int) -> Value:
        """Return the value of a column in row *number*, which may lie before the first or beyond the last."""
        schema, place = self._tables[table], (table, column)
        if column == schema.rowid:
            return number + 1
        if place in self._literals:
            return self._literal(place, number)
        if place in self._shared:
            return self._numbered(place, number // self._shared[place])
        for key in schema.keys:
            if column in key and (digit := self._digit(schema, key, column, number)) is not None:
                return self._numbered(place, digit)
        return self._numbered(place, 0 if place in self._compared else number)

    def _digit(self, schema: TableSchema, key: tuple[str, ...], column: str, number: int) -> int | None:
        """Return what a column of a key counts, so that no two rows have the same key; None if another one counts."""
        free = [name for name in key if not self._is_set((schema.name, name))]
        plain = [name for name in free if (schema.name, name) not in self._parents]
        last = (plain or free or key)[-1:]
        if plain or len(free) < len(key) or len(key) == 1:
            return number if column == last[0] else None
        # Nothing but references: all pairs in turn.
        width = max(self.sizes.get(self._parents[schema.name, last[0]][0], 1), 1)
        return number % width if column == last[0] else number // width

    def _is_set(self, place: Place) -> bool:
        """Whether statements decide which values a column has."""
        return place in self._shared or place in self._literals

    def _numbered(self, place: Place, number: int) -> Value:
        """Return value *number* of a column, or of the column that it refers to."""
        parent = self._parents.get(place)
        if parent is None or parent[0] not in self.sizes:
            return self._tables[place[0]].columns[place[1]].value(number)
        return self.value(*parent, number=number % max(self.sizes[parent[0]], 1))

    def _literal(self, place: Place, number: int) -> Value:
        """Return a literal that statements compare with: each in as many rows as its step says, or in all others."""
        found = self._literals[place]
        start = 0
        for value, rows in found:
            if start <= number < start + rows:
                return value
            start += rows
        rest = [value for value, rows in found if not rows]
        if rest:
            return rest[number % len(rest)]
        column = self._tables[place[0]].columns[place[1]]
        return next(value for value in map(column.value, count()) if value not in [one for one, _ in found])

    # --- rows --------------------------------------------------------------------------------------------

    def fill(self, engine: Engine) -> None:
        """Put the rows of every table that is empty in place.

        Raises
        ------
        ConfigError
            A row breaks a rule of the schema.
        """
        try:
            with engine.transaction():
                engine.execute("PRAGMA defer_foreign_keys = ON")
                for table in self.sizes:
                    if not engine.execute(f'SELECT EXISTS (SELECT 1 FROM "{table}")').values[0][0]:  # noqa: S608  # a name of the schema
                        self._fill(engine, table)
        except engine.errors as error:
            raise ConfigError(
                f"rows={self.sizes} cannot be filled: {error}; leave the sql of these steps out, and say rows_read"
            ) from None

    def _fill(self, engine: Engine, table: str) -> None:
        columns = self.columns(table)
        names = ", ".join(f'"{column.name}"' for column in columns)
        rows = [
            [self.value(table, column.name, number=number) for column in columns] for number in range(self.sizes[table])
        ]
        for sql, params in insert_rows(f'INSERT INTO "{table}" ({names})', rows):
            engine.execute(sql, params)

    # --- parameters --------------------------------------------------------------------------------------

    def params(self, named: Named, reading: Reading, *, pick: int) -> Params:
        """Return the parameters of a statement; *pick* says of which of its rows."""
        new = next(self._new) if any(term.operator == "set" for term in reading.terms) else 0
        values: dict[int, Any] = dict.fromkeys(reading.limits, named.returned_rows or -1)
        values |= dict.fromkeys(reading.offsets, 0)
        for term in reading.terms:
            if term.parameter_number and term.parameter_number not in values:
                values[term.parameter_number] = self._value_of(term, named, reading, pick=pick, new=new)
        unplaced = set(range(1, reading.parameters + 1)) - set(values)
        return params_of(values | dict.fromkeys(unplaced, 1), reading.parameters)

    def _value_of(self, term: Term, named: Named, reading: Reading, *, pick: int, new: int) -> Value:
        place, size = (term.table, term.column), self.sizes[term.table]
        row = self._row(term.table, reading, pick)
        if term.operator == "set":
            is_bound = self._is_set(place) or (place in self._parents and not self._is_counted(*place))
            return self.value(*place, number=row if is_bound else size + new + term.row_index * FAR)
        if term.operator == "=":
            twins = [one for one in reading.terms if (one.table, one.column, one.operator) == (*place, "=")]
            return self.value(*place, number=row + twins.index(term) * self._shared.get(place, 1))
        left = size
        if named.matching_rows and not self._is_narrowed(term, reading):
            left = min(named.matching_rows, size)
        is_closed = term.operator == ">=" and any(
            (one.table, one.column) == place and one.operator in ("<", "<=") for one in reading.terms
        )
        # Of two bounds of a column the lower one leaves all.
        edge = {">": size - left - 1, ">=": 0 if is_closed else size - left, "<": left, "<=": left - 1}[term.operator]
        edge = edge + FAR if term.operator.startswith("<") and left == size else edge
        return self.value(*place, number=edge)

    def _is_counted(self, table: str, column: str) -> bool:
        return any(column in key for key in self._tables[table].keys)

    def _is_narrowed(self, term: Term, reading: Reading) -> bool:
        """Whether a bound leaves all: another condition has left as many rows as the step says already."""
        if term.table != reading.first:
            return True
        compared = {one.column.lower() for one in reading.terms if one.operator == "=" and one.table == term.table}
        if reading.searched:
            return reading.searched.get(term.column.lower(), "=") == "=" or "=" in reading.searched.values()
        return bool(compared)

    def _row(self, table: str, reading: Reading, pick: int) -> int:
        """Return the row that a statement is to find: of a group of equal ones the first, and no group at an end."""
        size = max(self.sizes[table], 1)
        columns = [term.column for term in reading.terms if term.table == table and term.operator == "="]
        share = max((self._shared.get((table, column), 1) for column in columns), default=1)
        groups = max(size // share, 1)
        if share == 1 or groups < 3:
            return pick % size if share == 1 else 0
        return (1 + pick % (groups - 2)) * share
