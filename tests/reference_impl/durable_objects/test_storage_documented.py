"""Keys and values of an object's storage, held against the platform's documentation.

Goal: what the platform says of ``get``, ``put``, ``delete`` and ``list`` is so here, on both back ends. Method: a table
of its statements, each with a call and the answer that it promises.

Sources
-------
Durable Objects storage API; the runtime refuses ``start`` together with ``startAfter``.
"""

from collections.abc import Callable
from typing import Any

import pytest

from reference_impl.durable_objects.limits import BACK_ENDS, StorageLimits
from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import PlatformError
from tests.support.world import memory_disk


def emptied(s: Storage) -> Any:
    """Return what is left when everything was deleted."""
    s.delete_all()
    return s.list()


DOCUMENTED: list[tuple[str, Callable[[Storage], Any], Any]] = [
    # The platform's page on the storage API, statement by statement; the object holds a to d, with values 0 to 3.
    ("get: a missing key is undefined", lambda s: s.get("none"), None),
    ("get: values in increasing order of keys", lambda s: list(s.get(["c", "a"]).items()), [("a", 0), ("c", 2)]),
    ("get: keys that do not exist are omitted", lambda s: s.get(["none", "b"]), {"b": 1}),
    ("delete: true if the key existed", lambda s: (s.delete("a"), s.delete("a")), (True, False)),
    ("delete: the number that was deleted", lambda s: s.delete(["a", "none", "c"]), 2),
    ("put: an object of keys and values", lambda s: (s.put({"a": 9, "e": 4}), s.get(["a", "e"]))[1], {"a": 9, "e": 4}),
    ("list: all keys, ascending", lambda s: list(s.list()), ["a", "b", "c", "d"]),
    ("list start: inclusive", lambda s: list(s.list(start="b")), ["b", "c", "d"]),
    ("list startAfter: exclusive", lambda s: list(s.list(start_after="b")), ["c", "d"]),
    ("list end: exclusive", lambda s: list(s.list(end="c")), ["a", "b"]),
    ("list prefix: only keys that begin with it", lambda s: list(s.list(prefix="c")), ["c"]),
    ("list reverse: descending", lambda s: list(s.list(reverse=True)), ["d", "c", "b", "a"]),
    (
        "list reverse: start and end keep their meaning",
        lambda s: list(s.list(reverse=True, start="b")),
        ["d", "c", "b"],
    ),
    ("list limit: at most two keys", lambda s: list(s.list(limit=2)), ["a", "b"]),
    ("list reverse and limit: the last ones", lambda s: list(s.list(reverse=True, limit=2)), ["d", "c"]),
    ("deleteAll: nothing is left", emptied, {}),
]


@pytest.mark.parametrize(("statement", "call", "answer"), DOCUMENTED, ids=[entry[0] for entry in DOCUMENTED])
@pytest.mark.parametrize("limits", BACK_ENDS.values(), ids=BACK_ENDS.keys())
def test_keys_and_values_do_what_the_platform_documents(
    statement: str, call: Callable[[Storage], Any], answer: Any, limits: StorageLimits
) -> None:
    with memory_disk() as database:
        s = Storage(database, limits=limits)
        s.put({"c": 2, "a": 0, "d": 3, "b": 1})
        assert call(s) == answer


def test_a_list_without_a_limit_is_whole_and_cannot_start_twice() -> None:
    with memory_disk() as database:
        s = Storage(database)
        for start in range(0, 1_280, 128):
            s.put({f"k{n:04d}": n for n in range(start, start + 128)})
        assert len(s.list()) == 1_280
        with pytest.raises(PlatformError, match="cannot be called with both start and start_after"):
            s.list(start="a", start_after="b")
