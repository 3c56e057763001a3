"""SQL as tokens.

Goal: a semicolon or a question mark inside a text, a name or a comment is none; parameters get SQLite's own numbers.
Method: scripts made of such pieces, cut again; parameters held against those that SQLite itself counts.
"""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.experiments.queries.tokens import split, statements

PIECES = ("'a;b''c?'", '"x;?"', "`y;`", "[z;?]", "/* ; ? */ 1", "-- ;?\n1", "x'00'", "1.5e3", ":word", "?", "?3", "$w")
LITERALS = ("'a;b''c?'", "/* ; ? */ 1", "-- ;?\n1", "x'00'", "1.5e3", ":word", "?", "?3", "@word", "$w", "?1")


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_script_is_cut_where_its_statements_end(scripts: list[list[str]]) -> None:
    wanted = [f"SELECT {', '.join(pieces)};" for pieces in scripts]
    assert split("\n".join(wanted)) == wanted


@given(st.lists(st.sampled_from(LITERALS), min_size=1, max_size=8))
def test_parameters_have_the_numbers_that_sqlite_gives_them(pieces: list[str]) -> None:
    sql = f"SELECT {', '.join(pieces)}"
    (found,) = statements(sql)
    with closing(sqlite3.connect(":memory:")) as database:
        values = {name: number for number, name in enumerate(found.params, 1)}
        # Our numbers are bound by number, the original by SQLite's own rule: both select the same.
        rows = database.execute(found.sql, tuple(values.values())).fetchall()
        names = [f"v{number}" for number in range(1, len(found.params) + 1)]
        assert rows == [tuple(_selected(piece, found.params) for piece in _resolved(pieces, found.params))], names


def _resolved(pieces: list[str], params: tuple[str, ...]) -> list[str]:
    """Each piece with the number that SQLite documents: ? takes the greatest so far plus one."""
    resolved, most, named = [], 0, dict[str, int]()
    for piece in pieces:
        if piece == "?":
            most += 1
            resolved.append(f"?{most}")
        elif piece[0] == "?":
            most = max(most, int(piece[1:]))
            resolved.append(piece)
        elif piece[0] in ":@$":
            number = named.setdefault(piece[1:], most + 1)
            most = max(most, number)
            resolved.append(f"?{number}")
        else:
            resolved.append(piece)
    return resolved


def _selected(piece: str, params: tuple[str, ...]) -> object:
    literals: dict[str, object] = {"'a;b''c?'": "a;b'c?", "x'00'": b"\0", "1.5e3": 1500.0}
    return int(piece[1:]) if piece[0] == "?" else literals.get(piece, 1)


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("-- search\nSELECT 1; SELECT 2;", ["search", "query 2"]),
        ("-- a file\n\n-- name: one user\nSELECT 1", ["one user"]),
        ("/* first;\n * second */ SELECT 1", ["second"]),
        ("-- twice\nSELECT 1;\n-- twice\nSELECT 2", ["twice", "twice (2)"]),
        ("-- only words", []),
        (" ;; SELECT 1;;", ["query 1"]),
    ],
)
def test_the_comment_above_a_statement_is_its_name(script: str, names: list[str]) -> None:
    assert [one.name for one in statements(script)] == names


def test_a_trigger_is_one_statement() -> None:
    trigger = "CREATE TRIGGER t AFTER UPDATE ON a BEGIN UPDATE a SET x = ';'; DELETE FROM b; END;"
    assert split(f"{trigger} SELECT 1") == [trigger, "SELECT 1"]
