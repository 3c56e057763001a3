"""A value for each parameter of a statement: one that is there, so that the statement does its work.

Equality gets the value of a row in the middle of the table, all parameters of a table that of one row; a bound gets a
value that leaves some twenty rows; a limit is twenty; a new value is that of a row that is not there yet.
"""

import sqlite3
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sim.experiments.queries.clauses import Clauses, Term
from sim.experiments.queries.filling import Filler, Value, Weights, literal, quoted
from sim.experiments.queries.tokens import Statement
from sim.foundation.errors import UsageError

PAGE_ROWS = 20
"""Of a limit, and rows that a bound leaves."""
LIKE_CHARACTERS_MAX = 40


@dataclass(frozen=True)
class Parameter:
    """A parameter with its value, and where that comes from."""

    name: str
    value: Value
    source: str


def read_params(texts: Iterable[str]) -> dict[str, Value]:
    """Read ``[QUERY.]NAME=VALUE``; a value is a number, true, false, null, or a text.

    Raises
    ------
    UsageError
        It does not read so.
    """
    found: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals):
            raise UsageError(f"--param {text!r} must read [QUERY.]NAME=VALUE (--param 1=code, --param search.1=code)")
        found[name.strip().lstrip("?:@$")] = read_value(value)
    return found


def read_values(texts: Iterable[str]) -> dict[str, int | Weights]:
    """Read ``TABLE.COLUMN=N`` or ``TABLE.COLUMN=VALUE:SHARE,VALUE:SHARE``.

    Raises
    ------
    UsageError
        It does not read so.
    """
    found: dict[str, int | Weights] = {}
    for text in texts:
        place, equals, said = (part.strip() for part in text.partition("="))
        try:
            if not (place and equals and said):
                raise ValueError(said)
            if ":" not in said:
                found[place] = int(said)
                continue
            pairs = [part.rpartition(":") for part in said.split(",")]
            found[place] = tuple((read_value(value), float(share)) for value, _, share in pairs)
        except ValueError:
            raise UsageError(
                f"--values {text!r} must read TABLE.COLUMN=N, a number of distinct values, or "
                "TABLE.COLUMN=VALUE:SHARE,VALUE:SHARE"
            ) from None
    return found


def read_value(text: str) -> Value:
    """Return a number, 1 or 0 for true and false, None for null, or the text itself, without its quotes."""
    bare = text.strip()
    if bare.lower() == "null":
        return None
    if len(bare) > 1 and bare[0] == bare[-1] == "'":
        return bare[1:-1].replace("''", "'")
    try:
        value = tomllib.loads(f"value = {bare}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, int | float | str) else text


def parameters(
    statement: Statement,
    clauses: Clauses,
    *,
    connection: sqlite3.Connection,
    filler: Filler,
    given: Mapping[str, Value],
) -> list[Parameter]:
    """Return the parameters of *statement* on a database that was filled."""
    chooser = _Chooser(connection, filler, clauses)
    found = []
    for number, name in enumerate(statement.params, 1):
        for key in (f"{statement.name}.{name}", name):
            if key in given:
                found.append(Parameter(name, given[key], "given"))
                break
        else:
            value, source = chooser.choose(number)
            found.append(Parameter(name, value, source))
    return found


class _Chooser:
    def __init__(self, connection: sqlite3.Connection, filler: Filler, clauses: Clauses) -> None:
        self._connection = connection
        self._filler = filler
        self._clauses = clauses

    def choose(self, number: int) -> tuple[Value, str]:
        """Return a value for a parameter, and where it comes from."""
        if number in self._clauses.limits:
            return PAGE_ROWS, "a page"
        if number in self._clauses.offsets:
            return 0, "the first page; a later one reads the rows before it too"
        term = next((term for term in self._clauses.terms if number in term.params), None)
        if term is None:
            return 1, "no column was found beside it; say it with --param"
        place = f"{term.table}.{term.column}"
        if term.operator == "set":
            size = self._filler.sizes.get(term.table, 0)
            return self._filler.value(term.table, term.column, number=size), f"a new {place}"
        if term.operator in ("<", ">", "between"):
            return self._bound(term, number), f"{place}, near an end"
        value = self._present(term, term.params.index(number))
        if term.operator == "like" and not term.literals and isinstance(value, str):
            return f"{value[:LIKE_CHARACTERS_MAX]}%", f"{place}, its beginning"
        if term.operator == "match":
            return '"' + str(value).replace('"', "") + '"', f"{place}, a word"
        return value, f"{place}, present"

    def _bound(self, term: Term, number: int) -> Value:
        """Return a value that leaves some rows: near the upper end for a lower bound, and the other way round."""
        bounds = {one.operator for one in self._clauses.terms if one.column == term.column and one.params}
        if term.operator == "between":
            return self._ranked(term, "DESC", PAGE_ROWS if number == term.params[0] else 0)
        if term.operator == "<":
            return self._ranked(term, "DESC", 0) if ">" in bounds else self._ranked(term, "ASC", PAGE_ROWS)
        return self._ranked(term, "DESC", PAGE_ROWS)

    def _ranked(self, term: Term, direction: str, rank: int) -> Value:
        """Return a value from an end of a column, among rows that fit the statement's equalities if there are any."""
        column = quoted(term.column)
        for terms in (self._equalities(term.table), []):
            wanted = [self._wanted(one) for one in terms]
            where = " AND ".join([f"{column} IS NOT NULL", *(f"{quoted(one.column)} IS ?" for one in terms)])
            text = f"SELECT {column} FROM {quoted(term.table)} WHERE {where} ORDER BY {column} {direction}"  # noqa: S608  # quoted
            rows = self._first(f"{text} LIMIT 1 OFFSET {rank}", wanted) or self._first(f"{text} LIMIT 1", wanted)
            if rows:
                return rows[0][0]
        return None

    def _equalities(self, table: str) -> list[Term]:
        """Return the terms of a table that each compare a column with one value; none if one of several is enough."""
        if self._clauses.has_or:
            return []
        terms = (term for term in self._clauses.terms if term.table == table and term.is_plain and not term.other)
        return [term for term in terms if term.operator == "=" and len(term.literals) + len(term.params) == 1]

    def _wanted(self, term: Term) -> Value:
        return literal(term.literals[0]) if term.literals else self._present(term, 0)

    def _present(self, term: Term, place: int) -> Value:
        """Return the column's value in the row from the middle of those that fit the statement's literals."""
        column, table = quoted(term.column), quoted(term.table)
        # In one order for all columns: an index on one of them has another.
        is_virtual = term.table in self._filler.tables and self._filler.tables[term.table].is_virtual
        text = f"SELECT {column} FROM {table}{'' if is_virtual else ' NOT INDEXED'}"  # noqa: S608  # quoted
        fixed = [one for one in self._equalities(term.table) if one.literals]
        where = " AND ".join(f"{quoted(one.column)} IS ?" for one in fixed)
        wanted = [literal(one.literals[0]) for one in fixed]
        fitting = f" WHERE {where}" if fixed else ""
        middle = f"(SELECT count(*) / 2 FROM {table}{fitting}) + {place}"  # noqa: S608  # quoted
        rows = self._first(f"{text}{fitting} LIMIT 1 OFFSET {middle}", [*wanted, *wanted])
        if not rows:
            rows = self._first(f"{text} LIMIT 1 OFFSET {self._filler.sizes.get(term.table, 0) // 2 + place}")
        if not rows or rows[0][0] is None:
            rows = self._first(f"{text} WHERE {column} IS NOT NULL LIMIT 1 OFFSET {place}")
        return rows[0][0] if rows else None

    def _first(self, sql: str, values: Sequence[Value] = ()) -> Sequence[Sequence[Value]]:
        return self._connection.execute(sql, tuple(values)).fetchall()
