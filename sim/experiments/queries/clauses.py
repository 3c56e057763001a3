"""What a statement's text says of columns: by what it compares, orders and groups, and what its parameters stand for.

Read token by token around each operator, without a grammar: what is not understood is left out, and the measurement
decides in any case. It serves two ends: a value for each parameter, and candidates for an index.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sim.experiments.queries.tokens import Token, tokens

OPERATORS = {
    "=": "=", "==": "=", "IS": "=", "IN": "=", "<": "<", "<=": "<", ">": ">", ">=": ">",
    "BETWEEN": "between", "LIKE": "like", "GLOB": "like", "MATCH": "match", "<>": "other", "!=": "other",
}  # fmt: skip
MIRRORED = {"<": ">", ">": "<"}
ENDS_OF_LIST = ("LIMIT", "UNION", "EXCEPT", "INTERSECT", "WINDOW", "HAVING", "ORDER", "RETURNING", ";", ")")
NOT_ALIASES = frozenset(
    "ON WHERE SET JOIN LEFT INNER CROSS NATURAL OUTER RIGHT FULL USING GROUP ORDER LIMIT VALUES DEFAULT SELECT "
    "INDEXED NOT UNION EXCEPT INTERSECT HAVING WINDOW RETURNING AS DO CONFLICT".split()
)
Place = tuple[str, str]
"""A table and its column."""


@dataclass(frozen=True)
class Term:
    """One comparison, or one assignment, of a column.

    Attributes
    ----------
    table, column : str
    operator : str
        ``=``, ``<``, ``>``, ``between``, ``like``, ``match``, ``set`` (a new value), or ``other``.
    params : tuple of int
        Numbers of the parameters on its other side.
    literals : tuple of str
        Literals there, as they are written; ``NULL`` is one.
    other : tuple of str, optional
        The column there.
    is_plain : bool
        Whether the column stands alone, not inside a function.
    """

    table: str
    column: str
    operator: str
    params: tuple[int, ...] = ()
    literals: tuple[str, ...] = ()
    other: Place | None = None
    is_plain: bool = True


@dataclass(frozen=True)
class Clauses:
    """What was read of a statement.

    Attributes
    ----------
    terms : list of Term
    order : list of (table, column, direction)
        Of ORDER BY; empty if one of its parts is no column.
    groups : list of (table, column)
        Of GROUP BY, DISTINCT, and of a single ``min`` or ``max``.
    limits, offsets : set of int
        Numbers of parameters.
    has_or : bool
    children : mapping of str to list of columns
        Of a DELETE: the tables that refer to those that it deletes from, each with the columns that are searched.
    """

    terms: list[Term] = field(default_factory=list)
    order: list[tuple[str, str, str]] = field(default_factory=list)
    groups: list[Place] = field(default_factory=list)
    limits: set[int] = field(default_factory=set)
    offsets: set[int] = field(default_factory=set)
    has_or: bool = False
    children: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)

    @property
    def has_expression(self) -> bool:
        """Whether it compares an expression of a column, which no index on columns can serve."""
        return any(not term.is_plain for term in self.terms)

    def with_view(self, view: "Clauses") -> "Clauses":
        """Return the clauses of the statement with those of a view that it reads."""
        order = self.order or view.order
        groups = [*self.groups, *view.groups]
        return replace(
            self, terms=[*self.terms, *view.terms], order=order, groups=groups, has_or=self.has_or or view.has_or
        )


def read_clauses(sql: str, columns: Mapping[str, Sequence[str]]) -> Clauses:
    """Read a statement.

    Parameters
    ----------
    sql : str
        With numbered parameters.
    columns : mapping of str to sequence of str
        Columns of each table that the statement uses.
    """
    return _Reader(tokens(sql), columns).read()


class _Reader:
    def __init__(self, found: list[Token], columns: Mapping[str, Sequence[str]]) -> None:
        self.tokens = found
        self.tables = {name.lower(): name for name in columns}
        self.columns = {name: {one.lower(): one for one in some} for name, some in columns.items()}
        self.aliases: dict[str, str] = {}
        self.clauses = Clauses(has_or=any(token.says("OR") for token in found))

    def read(self) -> Clauses:
        self._find_aliases()
        self._inserted()
        is_set, grouped = False, list[Place]()
        for at, token in enumerate(self.tokens):
            if token.says("SET"):
                is_set = True
            elif token.says("WHERE", "FROM", "RETURNING"):
                is_set = False
            elif token.says("LIMIT", "OFFSET"):
                self._limit(at)
            elif token.says("BY") and at and self.tokens[at - 1].says("ORDER"):
                self._ordered(at + 1)
            elif token.says("BY") and at and self.tokens[at - 1].says("GROUP"):
                self.clauses.groups.extend(place for place, _ in self._listed(at + 1) if place)
            elif token.says("DISTINCT", "MIN", "MAX"):
                grouped.extend(self._grouped(at))
            elif token.kind in ("word", "sign") and token.text.upper() in OPERATORS:
                self._compared(at, is_set=is_set)
        # The smallest of each group is found at once where the groups come first.
        self.clauses.groups.extend(place for place in grouped if place not in self.clauses.groups)
        return self.clauses

    def _token(self, at: int) -> Token:
        return self.tokens[at] if 0 <= at < len(self.tokens) else Token("end", "", -1)

    def _is_name(self, at: int) -> bool:
        return self._token(at).kind in ("word", "name")

    def _find_aliases(self) -> None:
        for at, token in enumerate(self.tokens):
            if token.kind not in ("word", "name") or token.text.lower() not in self.tables:
                continue
            table = self.tables[token.text.lower()]
            before = self._token(at - 1)
            if not before.says("FROM", "JOIN", "UPDATE", "INTO", ",", "(", ".", "REPLACE", "IGNORE", "ABORT", "FAIL"):
                continue
            self.aliases[token.text.lower()] = table
            after = at + 1 + self._token(at + 1).says("AS")
            if self._is_name(after) and self._token(after).text.upper() not in NOT_ALIASES:
                self.aliases.setdefault(self._token(after).text.lower(), table)

    def _place(self, qualifier: str, name: str) -> Place | None:
        """Return the table and column that a name means; None if it is no column."""
        lowered = name.lower()
        known = self.aliases.get(qualifier.lower(), "")
        if known:
            return (known, self.columns[known][lowered]) if lowered in self.columns[known] else None
        for table in dict.fromkeys([*self.aliases.values(), *self.columns]):
            if lowered in self.columns[table]:
                return table, self.columns[table][lowered]
        return None

    def _column_from(self, at: int) -> tuple[Place | None, int]:
        """Return the column that begins at a token, and where what follows it begins."""
        if not self._is_name(at):
            return None, at
        if self._token(at + 1).says(".") and self._is_name(at + 2):
            return self._place(self._token(at).text, self._token(at + 2).text), at + 3
        if self._token(at + 1).says("("):
            return None, at
        return self._place("", self._token(at).text), at + 1

    def _column_until(self, at: int) -> tuple[Place | None, bool]:
        """Return the column that ends at a token, and whether it stands alone; inside a function it does not."""
        if self._token(at).says(")"):
            depth, start = 0, at
            while start >= 0:
                depth += self.tokens[start].says(")") - self.tokens[start].says("(")
                if not depth:
                    break
                start -= 1
            inside = (self._column_from(place)[0] for place in range(start + 1, at))
            return next((place for place in inside if place), None), False
        if not self._is_name(at):
            return None, True
        if self._token(at - 1).says(".") and self._is_name(at - 2):
            return self._place(self._token(at - 2).text, self._token(at).text), True
        return self._place("", self._token(at).text), True

    def _compared(self, at: int, *, is_set: bool) -> None:
        left = at - 1 - self._token(at - 1).says("NOT")
        is_not = left < at - 1 or self._token(at + 1).says("NOT")
        operator = "other" if is_not else OPERATORS[self.tokens[at].text.upper()]
        place, is_plain = self._column_until(left)
        if place is None and operator == "match" and self._token(left).text.lower() in self.aliases:
            table = self.aliases[self._token(left).text.lower()]
            place = (table, next(iter(self.columns[table].values())))
        params, literals, other = self._operand(at + 1, is_set=is_set)
        if is_set and operator == "=":
            operator = "set"
        if place is not None:
            self.clauses.terms.append(Term(*place, operator, params, literals, other, is_plain=is_plain))
        if other is not None and operator in ("=", "<", ">"):
            mirrored = MIRRORED.get(operator, operator)
            left_token = self._token(left)
            mine = (int(left_token.text[1:]),) if left_token.kind == "param" else ()
            self.clauses.terms.append(Term(*other, mirrored, mine, (), place))

    def _operand(self, at: int, *, is_set: bool) -> tuple[tuple[int, ...], tuple[str, ...], Place | None]:
        """Return parameters, literals and the column of the expression that begins at a token."""
        params: list[int] = []
        literals: list[str] = []
        other: Place | None = None
        depth, is_between = 0, self._token(at - 1).says("BETWEEN")
        place = at
        while place < len(self.tokens):
            token = self.tokens[place]
            depth += token.says("(") - token.says(")")
            ends = not depth and self._ends(token, is_set=is_set, is_between=is_between)
            if depth < 0 or ends or token.says("SELECT", ";"):
                break
            is_between = is_between and not token.says("AND")
            if token.kind == "param":
                params.append(int(token.text[1:]))
            elif token.kind in ("text", "number") or token.says("NULL", "TRUE", "FALSE"):
                literals.append(token.text)
            elif place == at:
                other, _ = self._column_from(at)
            place += 1
        return tuple(params), tuple(literals), other

    @staticmethod
    def _ends(token: Token, *, is_set: bool, is_between: bool) -> bool:
        if token.says("AND"):
            return not is_between
        return token.says(
            "OR", "WHERE", "GROUP", "ORDER", "LIMIT", "JOIN", "LEFT", "INNER", "CROSS", "ON", "UNION", "HAVING",
            "RETURNING", "THEN", "ELSE", "END", "WHEN", "FROM", "AS",
        ) or (token.says(",") and (is_set or not is_between))  # fmt: skip

    def _listed(self, at: int) -> Iterator[tuple[Place | None, str]]:
        """Yield the parts of a list of columns, each with its direction; None for what is no column."""
        while at < len(self.tokens) and not self._token(at).says(*ENDS_OF_LIST):
            place, after = self._column_from(at)
            direction, depth = "ASC", 0
            while after < len(self.tokens):
                token = self.tokens[after]
                if not depth and token.says(",", *ENDS_OF_LIST):
                    break
                depth += token.says("(") - token.says(")")
                if token.says("DESC"):
                    direction = "DESC"
                elif not token.says("ASC"):
                    place = None
                after += 1
            yield place, direction
            at = after + 1 if self._token(after).says(",") else len(self.tokens)

    def _ordered(self, at: int) -> None:
        parts = list(self._listed(at))
        if not self.clauses.order and all(place for place, _ in parts):
            self.clauses.order.extend((*place, direction) for place, direction in parts if place)

    def _grouped(self, at: int) -> Iterator[Place]:
        first = at + 1 + self._token(at + 1).says("(")
        place, after = self._column_from(first)
        if place and self._token(after).says(")", "FROM"):
            yield place

    def _limit(self, at: int) -> None:
        places = self.clauses.limits if self.tokens[at].says("LIMIT") else self.clauses.offsets
        if self._token(at + 1).kind == "param":
            places.add(int(self._token(at + 1).text[1:]))
        if self._token(at + 2).says(",") and self._token(at + 3).kind == "param":  # LIMIT offset, count
            self.clauses.offsets.update(places)
            places.clear()
            places.add(int(self._token(at + 3).text[1:]))

    def _inserted(self) -> None:
        """Read which column each expression of an INSERT goes to."""
        into = next((at for at, token in enumerate(self.tokens) if token.says("INTO")), None)
        if into is None or self._token(into + 1).text.lower() not in self.tables:
            return
        table = self.tables[self._token(into + 1).text.lower()]
        at, names = into + 2, list(self.columns[table].values())
        if self._token(at).says("("):
            names = []
            while not self._token(at).says(")") and at < len(self.tokens):
                if self._is_name(at):
                    names.append(self._token(at).text)
                at += 1
            at += 1
        depth, column, is_values = 0, 0, False
        for place in range(at, len(self.tokens)):
            token = self.tokens[place]
            depth += token.says("(") - token.says(")")
            is_values = is_values or token.says("VALUES")
            if token.says("(") and depth == 1 and is_values:
                column = 0
            elif token.says("ON", "FROM", "RETURNING") and not depth:
                break
            elif token.says(",") and depth == int(is_values):
                column += 1
            elif token.kind == "param" and column < len(names):
                known = self.columns[table].get(names[column].lower(), "")
                if known:
                    self.clauses.terms.append(Term(table, known, "set", (int(token.text[1:]),)))
