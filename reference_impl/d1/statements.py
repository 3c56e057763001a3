"""The statements that steps of routes name: what each compares, and what stands for its parameters.

A statement is read token by token around its operators, without a grammar; SQLite itself says which conditions its
search uses (``EXPLAIN QUERY PLAN``). Parameters are ``?`` and ``?1``, as on D1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reference_impl.sqlite.engines import Engine, Params
from reference_impl.sqlite.rules import BOUND_PARAMS_MAX

TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|\?\d*|[A-Za-z_]\w*|\d+(?:\.\d+)?|<=|>=|<>|!=|==|\S""",
    re.DOTALL,
)
EQUAL = ("=", "==", "IS", "IN", "LIKE")
BOUNDS = ("<", "<=", ">", ">=", "BETWEEN")
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
AFTER_TABLE = frozenset(
    "ON WHERE SET JOIN LEFT INNER CROSS NATURAL USING GROUP ORDER LIMIT VALUES DEFAULT SELECT RETURNING AS".split()
)
SEARCH = re.compile(r"^(SCAN|SEARCH) (?:TABLE )?(\w+)(?:.* \((.*)\))?")
SEARCHED = re.compile(r"(\w+)(=|>|<)\?")


@dataclass(frozen=True)
class Named:
    """A statement as a step names it.

    Parameters
    ----------
    sql
        Its text.
    returned_rows
        Value of a parameter after LIMIT; 0: no limit.
    matching_rows
        Rows that the condition on its first table leaves; 0: all.
    rows_read, rows_written
        Rows whose time it takes, and that are billed where it is not executed.
    """

    sql: str
    returned_rows: int = 0
    matching_rows: int = 0
    rows_read: int = 0
    rows_written: int = 0


@dataclass(frozen=True)
class Term:
    """A column beside a parameter or a literal.

    Parameters
    ----------
    table, column
        The column.
    operator
        ``=``; ``<``, ``<=``, ``>``, ``>=``; ``set``, a new value.
    parameter_number
        Number of the parameter, from 1; 0: it is a literal.
    literal
        As it is written.
    row_index
        Which of the rows that an INSERT gives, from 0.
    """

    table: str
    column: str
    operator: str
    parameter_number: int = 0
    literal: str = ""
    row_index: int = 0


@dataclass
class Reading:
    """What was read of a statement."""

    terms: list[Term] = field(default_factory=list)
    limits: set[int] = field(default_factory=set)
    offsets: set[int] = field(default_factory=set)
    parameters: int = 0
    tables: list[str] = field(default_factory=list)
    """In the order in which they are named."""
    first: str = ""
    """The table that is scanned or searched first; empty if none is."""
    joins: list[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=list)
    """Columns that are compared with one another."""
    words: frozenset[str] = frozenset()
    """Everything that it names, in small letters."""
    searched: dict[str, str] = field(default_factory=dict)
    """Conditions that the search of the first table uses: column and ``=``, ``<`` or ``>``; empty for a scan."""


def read_statement(engine: Engine, sql: str, *, columns: Mapping[str, Sequence[str]]) -> Reading:
    """Read *sql*; *columns* are those of each table of the database."""
    reader = _Reader(sql, columns)
    found = reader.read()
    plan = engine.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * found.parameters).values
    first = next((match for match in (SEARCH.match(str(row[3])) for row in plan) if match), None)
    if first is not None:
        found.first = reader.table(first.group(2))
    if first is not None and first.group(1) == "SEARCH":
        for column, operator in SEARCHED.findall(first.group(3) or ""):
            found.searched[column.lower()] = "=" if operator == "=" else found.searched.get(column.lower(), operator)
    return found


def params_of(values: Mapping[int, object], count: int) -> Params:
    """Return *values* by number as the parameters of a statement that has *count*."""
    return tuple(values.get(number) for number in range(1, count + 1))


class _Reader:
    """One walk over the tokens of a statement."""

    def __init__(self, sql: str, columns: Mapping[str, Sequence[str]]) -> None:
        self._tokens = [token for token in TOKEN.findall(sql) if not token.startswith(("--", "/*"))]
        self._tables = {name.lower(): name for name in columns}
        self._columns = {name: {one.lower(): one for one in some} for name, some in columns.items()}
        self._aliases: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._found = Reading()

    def read(self) -> Reading:
        """Return what the statement says."""
        self._number()
        self._name_tables()
        self._found.words = frozenset(self._name(at) for at in range(len(self._tokens)))
        is_set = False
        for at, token in enumerate(self._tokens):
            word = token.upper()
            if word == "SET":
                is_set = True
            elif word in ("WHERE", "FROM", "RETURNING"):
                is_set = False
            elif word in ("LIMIT", "OFFSET"):
                self._page(at)
            elif word == "VALUES":
                self._given(at)
            elif word in EQUAL or word in BOUNDS:
                self._compared(at, is_set=is_set and word == "=")
        return self._found

    def table(self, name: str) -> str:
        """Return the table that the statement calls *name*; empty if it is none."""
        return self._aliases.get(name.lower(), self._tables.get(name.lower(), ""))

    def _number(self) -> None:
        for at, token in enumerate(self._tokens):
            if token.startswith("?"):
                number = int(token[1:] or self._found.parameters + 1)
                self._numbers[at] = number
                self._found.parameters = min(max(self._found.parameters, number), BOUND_PARAMS_MAX + 1)

    def _token(self, at: int) -> str:
        return self._tokens[at] if 0 <= at < len(self._tokens) else ""

    def _name(self, at: int) -> str:
        return self._token(at).strip('"`[]').lower()

    def _name_tables(self) -> None:
        for at, token in enumerate(self._tokens):
            table = self._tables.get(self._name(at))
            if table is None or token.startswith("'"):
                continue
            before = self._token(at - 1).upper()
            if before not in ("FROM", "JOIN", "UPDATE", "INTO", ",", "REPLACE", "IGNORE", "ABORT", "FAIL", "ROLLBACK"):
                continue
            self._aliases[self._name(at)] = table
            if table not in self._found.tables:
                self._found.tables.append(table)
            after = at + 1 + (self._token(at + 1).upper() == "AS")
            alias = self._token(after)
            if re.fullmatch(r"\w+", alias) and alias.upper() not in AFTER_TABLE:
                self._aliases.setdefault(alias.lower(), table)

    def _place(self, at: int, *, ends: bool) -> tuple[str, str] | None:
        """Return the table and column whose name ends, or begins, at a token; None if it is no column."""
        start = at - 2 if ends and self._token(at - 1) == "." else at
        if not ends and self._token(at + 1) == ".":
            start, at = at, at + 2
        column = self._name(at)
        if start != at:
            table = self._aliases.get(self._name(start), "")
            return (table, self._columns[table][column]) if column in self._columns.get(table, {}) else None
        named = [table for table in self._found.tables if column in self._columns[table]]
        return (named[0], self._columns[named[0]][column]) if named else None

    def _page(self, at: int) -> None:
        word, first, second = self._token(at).upper(), self._numbers.get(at + 1), self._numbers.get(at + 3)
        if first is None:
            return
        if word == "LIMIT" and self._token(at + 2) == "," and second is not None:
            self._found.offsets.add(first)
            self._found.limits.add(second)
            return
        (self._found.limits if word == "LIMIT" else self._found.offsets).add(first)

    def _given(self, at: int) -> None:
        """Read the rows of an INSERT."""
        table = next(iter(self._found.tables), "")
        if not table:
            return
        head = self._tokens[:at]
        listed = [self._name(place) for place in range(head.index("(") + 1, at - 1, 2)] if "(" in head else []
        names = [self._columns[table].get(name, name) for name in listed] or list(self._columns[table].values())
        depth, row, place = 0, -1, 0
        for here in range(at + 1, len(self._tokens)):
            text = self._tokens[here]
            if depth == 0 and text == "(":
                row, place = row + 1, 0
            elif depth == 0 and text != ",":
                return
            elif depth == 1 and text == ",":
                place += 1
            elif depth == 1 and here in self._numbers and place < len(names):
                self._found.terms.append(Term(table, names[place], "set", self._numbers[here], row_index=row))
            depth += (text == "(") - (text == ")")

    def _compared(self, at: int, *, is_set: bool) -> None:
        if self._token(at - 1).upper() == "NOT" or self._token(at + 1).upper() == "NOT":
            return
        operator = "set" if is_set else self._tokens[at].upper()
        left, turned = self._place(at - 1, ends=True), TURNED.get(operator, operator)
        if left is None and at - 1 in self._numbers:  # ? < column
            left = self._place(at + 1, ends=False)
            self._add(left, turned, (at - 1,))
        elif operator == "BETWEEN":
            self._add(left, ">=", (at + 1,))
            self._add(left, "<=", (at + 3,))
        elif operator == "IN":
            self._add(left, "=", self._list(at + 1))
        elif operator in EQUAL and (right := self._place(at + 1, ends=False)) is not None:
            self._found.joins += [(left, right)] if left is not None and left != right else []
        else:
            self._add(left, "=" if operator in EQUAL else operator, (at + 1,))

    def _list(self, at: int) -> Iterator[int]:
        while self._token(at) not in (")", "", ";"):
            at += 1
            yield at

    def _add(self, place: tuple[str, str] | None, operator: str, operands: Iterator[int] | tuple[int, ...]) -> None:
        if place is None:
            return
        for at in operands:
            token = self._token(at)
            if at in self._numbers:
                self._found.terms.append(Term(*place, operator, self._numbers[at]))
            elif token.startswith("'") or re.fullmatch(r"\d+(\.\d+)?", token):
                self._found.terms.append(Term(*place, operator, literal=token))
