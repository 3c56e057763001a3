"""Random sequences of SQL and of calls of a bucket, and what is compared of their outcomes.

Compared are rows, all of ``meta`` that is counted, whether a call failed and, of an error, SQLite's own sentence. What
is known to differ (docs/CONFORMANCE.md) is not drawn.
"""

import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.runtime.api_sequences import among
from tests.runtime.outcomes import META, Outcome, Side

SUFFIX = re.compile(r"( at offset \d+)?(: SQLITE_\w+( \(extended: \w+\))?)?$")
"""What the runtime adds to SQLite's own sentence."""
START = [
    "DROP TABLE IF EXISTS child",
    "DROP TABLE IF EXISTS item",
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size REAL, note)",
    "CREATE TABLE child (item INTEGER REFERENCES item (id), n INTEGER NOT NULL CHECK (n >= 0))",
    "CREATE INDEX item_size ON item (size, name)",
]
END = ["SELECT * FROM item ORDER BY id", "SELECT * FROM child ORDER BY item, n"]

UNCOUNTED = re.compile(r"json_group_array|^(CREATE|DROP) ")
"""Statements whose rows only the runtime knows."""

ids = st.integers(1, 6)
texts = st.sampled_from(["a", "b", "c", "", "é😀", "x" * 60])
reals = st.sampled_from([0.5, 1.25, -3.75, 1e100])
anything = st.one_of(st.none(), texts, reals)


def _sql(sql: str, *params: Any) -> dict[str, Any]:
    return {"sql": sql, "params": list(params)}


inserts = st.one_of(
    st.builds(lambda i, n, s, o: _sql("INSERT INTO item VALUES (?, ?, ?, ?)", i, n, s, o), ids, texts, reals, anything),
    st.builds(lambda n, s: _sql("INSERT INTO item (name, size) VALUES (?, ?)", n, s), texts, reals),
    st.builds(
        lambda i, n: _sql(
            "INSERT INTO item (id, name) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name", i, n
        ),
        ids,
        texts,
    ),
    st.builds(lambda i, n: _sql("INSERT INTO item (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", i, n), ids, texts),
    st.builds(lambda i, n: _sql("INSERT OR REPLACE INTO item (id, name) VALUES (?, ?)", i, n), ids, texts),
    st.builds(lambda i, n: _sql("INSERT INTO item (id, name) VALUES (?, ?) RETURNING id, name", i, n), ids, texts),
    st.builds(lambda i, n: _sql("INSERT INTO child VALUES (?, ?)", i, n), ids, st.integers(-1, 3)),
    st.just(_sql("INSERT INTO child SELECT id, 1 FROM item WHERE size > 0")),
    st.builds(lambda i: _sql("WITH k (i) AS (SELECT ?) INSERT OR IGNORE INTO item (id) SELECT i FROM k", i), ids),
    st.builds(lambda i, n: _sql("/* a comment */ REPLACE INTO item (id, name) VALUES (?, ?)", i, n), ids, texts),
)
updates = st.one_of(
    st.builds(lambda i, o: _sql("UPDATE item SET note = ? WHERE id = ?", o, i), ids, anything),
    st.builds(lambda i, n: _sql("UPDATE item SET name = ? WHERE id = ?", n, i), ids, texts),
    st.builds(lambda s: _sql("UPDATE item SET size = size + 1 WHERE size > ?", s), reals),
    st.builds(lambda n: _sql("UPDATE child SET n = n + ?", n), st.integers(-2, 2)),
    st.builds(lambda i: _sql("DELETE FROM item WHERE id = ? RETURNING name", i), ids),
    st.builds(lambda i: _sql("DELETE FROM child WHERE item = ?", i), ids),
    st.just(_sql("DELETE FROM child")),
)
selects = st.one_of(
    st.builds(lambda n: _sql("SELECT * FROM item WHERE name = ?", n), texts),
    st.builds(lambda s: _sql("SELECT id, name FROM item WHERE size > ? ORDER BY size DESC, id LIMIT 3", s), reals),
    st.sampled_from(
        [
            _sql("SELECT count(*) AS n, sum(size) AS s, max(name) AS m FROM item"),
            _sql("SELECT i.name, count(c.n) AS n FROM item i LEFT JOIN child c ON c.item = i.id GROUP BY 1 ORDER BY 1"),
            _sql(
                "WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 4) SELECT i * i AS q FROM k"
            ),
            _sql("SELECT json_group_array(name) AS names FROM (SELECT name FROM item ORDER BY id)"),
            _sql("SELECT last_insert_rowid() AS r, changes() AS c"),
            _sql("SELECT name FROM item WHERE name LIKE ? ORDER BY id", "a%"),
            _sql("SELECT typeof(note) AS t, note IS NULL AS e FROM item ORDER BY id"),
            _sql("SELECT 1 AS a, 2 AS a"),
        ]
    ),
)
mistakes = st.sampled_from(
    [
        _sql("SELECT * FROM missing"),
        _sql("SELECT missing FROM item"),
        _sql("SELEC 1"),
        _sql("INSERT INTO item (id) VALUES ('text')"),
        _sql("SELECT abs(-9223372036854775808)"),
        _sql("SELECT name FROM item WHERE 'a' LIKE ?", "x" * 51),
    ]
)
# The reference refuses a batch with one of these before it runs; the runtime runs up to it and undoes what it ran.
refused = st.sampled_from(
    [
        _sql("BEGIN"),
        _sql("SAVEPOINT s"),
        _sql("ATTACH 'x' AS y"),
        _sql("SELECT ?, ?", 1.5),
        _sql(f"SELECT {', '.join('?' * 101)}", *[0.5] * 101),
    ]
)
statements = among(inserts, inserts, updates, selects, mistakes)
d1_calls = st.lists(
    among(
        statements,
        statements,
        refused,
        st.lists(statements, min_size=1, max_size=4).map(lambda batch: {"batch": batch}),
    ),
    min_size=5,
    max_size=15,
)

KEYS = ["a", "a/b", "a/c", "b", "b/a/b", "é", "x" * 1_024, "a b?c#d", "😀", "\uffff", "a\0b", "a\0c"]
keys = st.sampled_from([*KEYS, *KEYS[:4], "x" * 1_025, "é" * 513])
PREFIXES = st.sampled_from(["", "a", "a/", "é", "x"])
r2_calls = st.lists(
    st.one_of(
        st.builds(lambda key, text: {"op": "put", "key": key, "text": text}, keys, st.text(max_size=20)),
        st.builds(lambda key: {"op": "get", "key": key}, keys),
        st.builds(lambda key: {"op": "delete", "key": key}, st.sampled_from(KEYS)),
        st.builds(lambda prefix: {"op": "list", "options": {"prefix": prefix}}, PREFIXES),
    ),
    min_size=3,
    max_size=15,
)  # fmt: skip


def sql_comparable(call: Any, outcome: Outcome) -> Any:
    """Return what is compared of the outcome of one call."""
    if "error" in outcome:
        sentence = SUFFIX.sub("", outcome["error"])
        # What is refused before SQLite sees it is said in words of each side's own.
        own = ("transaction", "SAVEPOINT", "authorized", "ATTACH", "binding", "SQL variables")
        return "refused" if any(word in sentence for word in own) else sentence
    results = outcome["value"] if isinstance(outcome["value"], list) else [outcome["value"]]
    texts = [one["sql"] for one in call.get("batch", [call])]
    return [
        (one["results"], *(one["meta"][name] for name in (META[:3] if UNCOUNTED.search(text) else META)))
        for one, text in zip(results, texts, strict=True)
    ]


def sql_differences(sides: Sequence[Side], calls: Sequence[Any]) -> list[str]:
    """Make the same calls on two databases; return a line for each outcome that differs, and each part of the end."""
    everything = [*map(_sql, START), *calls, *map(_sql, END)]
    ours, theirs = (list(map(sql_comparable, everything, side.d1(everything))) for side in sides)
    return [
        f"{call}: {one} against {other}"
        for call, one, other in zip(everything, ours, theirs, strict=True)
        if one != other
    ]


def level(sides: Sequence[Side]) -> None:
    """Leave two databases with the same tables and the same last row id, whatever was in them."""
    for side in sides:
        side.d1([*map(_sql, START), _sql("INSERT INTO item (id) VALUES (1)")])


def r2_comparable(outcome: Outcome) -> Any:
    """Return what is compared of one outcome: of an error, that there was one."""
    return "refused" if "error" in outcome else outcome["value"]


def r2_differences(sides: Sequence[Side], calls: Sequence[Any]) -> list[str]:
    """Make the same calls on two buckets, which are filled first; return a line for each outcome that differs."""
    filled = [{"op": "put", "key": key, "text": key[:9]} for key in KEYS]
    everything = [*filled, *calls, {"op": "list"}, *({"op": "get", "key": key} for key in KEYS)]
    ours, theirs = ([r2_comparable(outcome) for outcome in side.r2(everything)] for side in sides)
    return [
        f"{call}: {one} against {other}"
        for call, one, other in zip(everything, ours, theirs, strict=True)
        if one != other
    ]
