"""Random sequences of events of a Durable Object and of calls of a KV namespace, and what is compared of them.

An event of an object is a list of calls of its storage; some events are sent together, and only the order in which the
object takes them is left open. What is known to differ (docs/CONFORMANCE.md) is not drawn.
"""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.runtime.api_sequences import NOW_MS, among, mostly
from tests.runtime.binding_sequences import SUFFIX
from tests.runtime.outcomes import Outcome, Side

# --- Durable Objects -------------------------------------------------------------------------------

START = [
    {"sql": "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)"},
    {"sql": "INSERT INTO t VALUES (1, 'x'), (3, 'z')"},
    {"put": {"a": 1, "a/b": [2], "b": None, "é": {"a": 3}, "a\0b": "4", "": 5}},
    {"alarm": NOW_MS + 86_400_000},
]
"""What every object begins with: where there is nothing, nothing goes wrong."""
END = [{"list": True}, {"alarm": "get"}, {"sql": "SELECT a, b FROM t ORDER BY a"}, {"remember": True}]
OBJECT_KEYS = ["a", "b", "a/b", "a/c", "é", "", "a\0b", "a\0c", "😀", "\uffff", "x" * 2_000]
ALARMS = [NOW_MS + 86_400_000 * day for day in (1, 2, 3)]
"""Days from now: they never ring."""

object_keys = st.sampled_from([*OBJECT_KEYS, *OBJECT_KEYS[:4], *OBJECT_KEYS[:4]])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.sampled_from([0.5, -1e300, "", "é😀", "a\0b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "é", ""]), inner, max_size=3),
    max_leaves=4,
)
key_lists = st.lists(object_keys, max_size=4)
bounds = st.sampled_from(["", "a", "a/", "a/b", "a\0", "b", "é", "😀", "zz"])
lists = st.builds(
    lambda options: {"list": options},
    st.fixed_dictionaries(
        {},
        optional={
            "prefix": bounds,
            "start": bounds,
            "end": bounds,
            "reverse": st.booleans(),
            "limit": st.integers(1, 4),
        },
    ),
)
lists_after = st.builds(
    lambda after, reverse: {"list": {"startAfter": after, "reverse": reverse}}, bounds, st.booleans()
)
sqls = st.one_of(
    st.builds(
        lambda a, b: {"sql": "INSERT INTO t VALUES (?, ?)", "params": [a, b]},
        st.integers(1, 4),
        st.sampled_from(["x", "y", "z"]),
    ),
    st.builds(
        lambda a, b: {"sql": "INSERT OR REPLACE INTO t VALUES (?, ?)", "params": [a, b]},
        st.integers(1, 4),
        st.sampled_from(["x", "y"]),
    ),
    st.builds(lambda a: {"sql": "UPDATE t SET a = a + ?", "params": [a]}, st.integers(-2, 2)),
    st.builds(lambda a: {"sql": "DELETE FROM t WHERE a >= ? RETURNING b", "params": [a]}, st.integers(2, 5)),
    st.sampled_from(
        [
            {"sql": "SELECT count(*), max(b) FROM t"},
            {"sql": "SELECT * FROM missing"},
            {"sql": "SELEC 1"},
            {"sql": "SELECT ?, length(?)", "params": ["a\0b", "a\0b"]},
        ]
    ),
)
refused_sqls = st.sampled_from(
    [{"sql": "BEGIN"}, {"sql": "SELECT * FROM _cf_KV"}, {"sql": "ATTACH 'x' AS y"}, {"sql": "SAVEPOINT s"}]
)
storage_calls = among(
    object_keys.map(lambda key: {"get": key}),
    key_lists.map(lambda keys: {"get": keys}),
    st.builds(lambda key, value: {"put": {key: value}}, object_keys, values),
    st.builds(lambda key, value: {"put": {key: value}}, object_keys, values),
    st.dictionaries(object_keys, values, max_size=4).map(lambda entries: {"put": entries}),
    object_keys.map(lambda key: {"delete": key}),
    key_lists.map(lambda keys: {"delete": keys}),
    lists,
    lists_after,
    sqls,
    sqls,
)
alarm_calls = st.sampled_from(["get", "get", "delete", *ALARMS]).map(lambda asked: {"alarm": asked})
transactions = st.builds(
    lambda calls, ends: {"transaction": calls, "ends": ends},
    st.lists(mostly(storage_calls, alarm_calls), min_size=1, max_size=4),
    st.sampled_from(["commit", "throw", "rollback"]),
)
calls = among(
    *(storage_calls, storage_calls, storage_calls, alarm_calls, transactions, transactions, lists, lists),
    *(refused_sqls, st.sampled_from([{"remember": True}, {"fail": True}, {"clear": True}])),
)
object_events = st.lists(calls, min_size=1, max_size=4)
together = st.lists(
    st.lists(st.sampled_from(["a", "b"]).map(lambda key: {"add": f"count/{key}"}), min_size=1, max_size=3),
    min_size=2,
    max_size=6,
).map(lambda events: {"together": events})
object_steps = st.lists(mostly(object_events, together), min_size=3, max_size=8)


def object_comparable(outcome: Outcome) -> Any:
    """Return what is compared of the outcome of one call."""
    if "error" in outcome:
        sentence = SUFFIX.sub("", outcome["error"])
        own = ("transaction", "SAVEPOINT", "authorized", "ATTACH", "prohibited", "_cf_")
        return "refused" if any(word in sentence for word in own) else sentence
    return _without_counts(outcome["value"])


def _without_counts(value: Any) -> Any:
    """Return the rows alone of SQL, perhaps inside of a transaction."""
    if isinstance(value, list):
        return [_without_counts(one) for one in value]
    return value["rows"] if isinstance(value, dict) and "rows" in value else value


def object_outcomes(side: Side, steps: Sequence[Any], *, name: str) -> list[Any]:
    """Play the steps on an object of one side; return what is compared of each."""
    found: list[Any] = []
    for step in steps:
        if isinstance(step, dict):
            outcomes = side.object(name, step["together"])
            found.append(sorted(json.dumps([object_comparable(one) for one in each]) for each in outcomes))
        else:
            found.append([object_comparable(one) for one in side.object(name, [step])[0]])
    return found


def object_differences(sides: Sequence[Side], steps: Sequence[Any], *, name: str) -> list[str]:
    """Play the same events on two objects; return a line for each event that differs."""
    everything = [START, *steps, END]
    ours, theirs = (object_outcomes(side, everything, name=name) for side in sides)
    return [
        f"{step}: {one} against {other}"
        for step, one, other in zip(everything, ours, theirs, strict=True)
        if one != other
    ]


# --- KV ----------------------------------------------------------------------------------------------

KV_KEYS = ["a", "a/b", "a/c", "b", "é", "x" * 512, "a\0b", "a\0c", "😀"]
kv_keys = st.sampled_from([*KV_KEYS, *KV_KEYS[:4], "x" * 513, ".", ".."])
put_options = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.sampled_from([None, {"a": 1}, "text", [1.5], "x" * 1_022, "x" * 1_023]),
        "expirationTtl": st.sampled_from([60, 61, 3_600, 59, 1]),
    },
)
page_options = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.sampled_from(["", "a", "a/", "é", "x", "zz"]),
        "limit": st.sampled_from([1, 2, 3, 1_000]),
    },
)
kv_calls = st.lists(
    st.one_of(
        st.builds(lambda key, text: {"put": key, "text": text}, kv_keys, st.text(max_size=10)),
        st.builds(
            lambda key, text, options: {"put": key, "text": text, "options": options},
            *(kv_keys, st.text(max_size=10), put_options),
        ),
        kv_keys.map(lambda key: {"get": key}),
        kv_keys.map(lambda key: {"get": key}),
        st.sampled_from(KV_KEYS).map(lambda key: {"delete": key}),
        page_options.map(lambda options: {"pages": options}),
    ),
    min_size=5,
    max_size=20,
)


def kv_differences(sides: Sequence[Side], asked: Sequence[Any]) -> list[str]:
    """Make the same calls on two namespaces, which are filled first; return a line for each outcome that differs."""
    filled = [{"put": key, "text": key[:9], "options": {"metadata": [key[:9]]}} for key in KV_KEYS]
    everything = [*filled, *asked, {"pages": {"limit": 2}}, *({"get": key} for key in KV_KEYS)]
    ours, theirs = (
        ["refused" if "error" in outcome else outcome["value"] for outcome in side.kv(everything)] for side in sides
    )
    return [
        f"{call}: {one} against {other}"
        for call, one, other in zip(everything, ours, theirs, strict=True)
        if one != other
    ]
