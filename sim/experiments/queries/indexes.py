"""Candidates for an index: the columns that a statement compares for equality, then its order or one range.

An index on the equalities, in whose order the rest is read, needs neither a scan nor a sort. Several are proposed;
which is best, and whether any helps, is measured.
"""

from collections.abc import Iterable, Mapping, Sequence

from sim.experiments.queries.clauses import Clauses
from sim.experiments.queries.filling import quoted
from sim.experiments.queries.schema import TableSchema

CANDIDATES_MAX = 14
COLUMNS_MAX = 6
PLAIN = str.isidentifier
RESERVED = frozenset("ORDER GROUP TABLE INDEX KEY CHECK DEFAULT WHERE SELECT FROM TO VALUES REFERENCES".split())
Spec = tuple[str, str]
"""A column, and what follows it: ``DESC``, ``COLLATE NOCASE`` or nothing."""
Candidate = tuple[str, ...]
"""Statements that create indexes which help only together; nearly always one."""


def candidates(clauses: Clauses, tables: Mapping[str, TableSchema], *, taken: Iterable[str] = ()) -> list[Candidate]:
    """Return indexes to try, the likely ones first.

    Parameters
    ----------
    clauses : Clauses
    tables : mapping of str to TableSchema
    taken : iterable of str
        Names of indexes that are there.
    """
    names = set(taken)
    found: dict[Candidate, None] = {}
    for table in dict.fromkeys(_tables(clauses)):
        if table in tables and not tables[table].is_virtual:
            for specs in _specs(clauses, table):
                if specs and len(specs) <= COLUMNS_MAX:
                    found[(_create(table, specs, names),)] = None
    for table, groups in clauses.children.items():
        for columns in groups:
            found[(_create(table, [(column, "") for column in columns], names),)] = None
    if clauses.has_or:
        single = [
            _create(term.table, [(term.column, "")], names)
            for term in clauses.terms
            if term.operator not in ("set", "other") and term.is_plain and term.table in tables
        ]
        if len(set(single)) > 1:
            found[tuple(dict.fromkeys(single))] = None
    return list(found)[:CANDIDATES_MAX]


def _tables(clauses: Clauses) -> Iterable[str]:
    yield from (term.table for term in clauses.terms if term.operator != "set")
    yield from (table for table, *_ in [*clauses.order, *clauses.groups])


def _specs(clauses: Clauses, table: str) -> Iterable[list[Spec]]:
    terms = [term for term in clauses.terms if term.table == table and term.is_plain]
    equal = list(dict.fromkeys((term.column, "") for term in terms if term.operator == "="))
    ranges = list(dict.fromkeys((term.column, "") for term in terms if term.operator in ("<", ">", "between")))
    likes = list(dict.fromkeys((term.column, "COLLATE NOCASE") for term in terms if term.operator == "like"))
    groups = list(dict.fromkeys((column, "") for owner, column in clauses.groups if owner == table))
    order: list[Spec] = []
    if all(owner == table for owner, *_ in clauses.order):
        order = [(column, "DESC" if way == "DESC" else "") for _, column, way in clauses.order]
    first = {column for column, _ in equal}
    ordered = [spec for spec in order if spec[0] not in first]
    if ordered:
        yield [*equal, *ordered]
    for one in ranges:
        yield [*equal, *([one] if one[0] not in first else [])]
    yield equal
    yield [*equal, *(group for group in groups if group[0] not in first)]
    if len(equal) > 1:
        yield from ([one] for one in equal)
        yield from ([one, *ordered] for one in equal if ordered)
    yield from ([one] for one in [*ranges, *likes])
    yield order
    yield groups


def _create(table: str, specs: Sequence[Spec], taken: Iterable[str]) -> str:
    stem = "_".join(("idx", table, *(column for column, _ in specs)))
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    columns = ", ".join(f"{_shown(column)} {rest}".rstrip() for column, rest in specs)
    return f"CREATE INDEX {_shown(name)} ON {_shown(table)} ({columns})"


def _shown(name: str) -> str:
    return name if PLAIN(name) and name.upper() not in RESERVED else quoted(name)


def index_name(create: str) -> str:
    """Return the name of the index that a statement of :func:`candidates` creates."""
    return create.removeprefix("CREATE INDEX ").rpartition(" ON ")[0]


def table_of(create: str, tables: Iterable[str]) -> str:
    """Return the table that the index is on."""
    return next(name for name in tables if create.startswith(f"CREATE INDEX {index_name(create)} ON {_shown(name)} ("))
