"""The storage of a Durable Object: the same scripts on disks in memory and in files, at every fsync policy.

Goal: keys, values, SQL and transactions do what the platform's do, limits and refusals included, wherever the bytes
are. Method: each test is a short script named after its phenomenon, run on every disk.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.durable_objects.gates import ResetError
from reference_impl.durable_objects.limits import KV_LIMITS, SQLITE_LIMITS
from reference_impl.durable_objects.storage import ALARM_KEY, Storage
from reference_impl.errors import LimitError, PlatformError
from reference_impl.server.disks import FileDisk
from reference_impl.sqlite.rules import SqlRefusedError
from reference_impl.volumes.disks import Disk, MemoryDisk, SqlError, memory_database

DISKS = ("memory", "full", "normal", "off")


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk of each kind."""
    made = MemoryDisk() if request.param == "memory" else FileDisk(tmp_path, fsync=request.param)
    yield made
    made.unmount()


@pytest.fixture
def open_(disk: Disk) -> Callable[..., Storage]:
    """What opens the storage of one object, again and again."""
    return lambda **options: Storage(disk.open("one"), **options)


Open = Callable[..., Storage]


# --- keys and values -------------------------------------------------------------------------


def test_values_come_back_as_they_were(open_: Open) -> None:
    s = open_()
    for value in (None, True, 7, -1.5, "tëxt", "", [1, [2]], {"a": {"b": None}}):
        s.put("key", value)
        assert s.get("key", "default") == value
    assert s.delete("key")
    assert not s.delete("key")
    assert s.get("key", "default") == "default"


def test_many_at_once(open_: Open) -> None:
    s = open_()
    s.put({"b": 2, "a": 1, "c": 3})
    assert list(s.get(["c", "a", "none"]).items()) == [("a", 1), ("c", 3)]
    assert s.delete(["a", "none", "c"]) == 2
    assert s.list() == {"b": 2}


@pytest.mark.parametrize("count", [128, 129])
def test_at_most_128_keys_in_one_call(open_: Open, count: int) -> None:
    s = open_()
    keys = [f"k{n:03d}" for n in range(count)]
    calls: list[Callable[[], Any]] = [
        lambda: s.put(dict.fromkeys(keys, 1)),
        lambda: s.get(keys),
        lambda: s.delete(keys),
    ]
    for call in calls:
        if count > 128:
            with pytest.raises(LimitError, match="129 keys in one"):
                call()
        else:
            call()
    assert s.list() == {}


def test_one_value_too_large_of_many_stores_none(open_: Open) -> None:
    s = open_(limits=KV_LIMITS)
    with pytest.raises(LimitError):
        s.put({"a": 1, "b": "v" * 200_000})
    assert s.list() == {}


def test_lists_by_prefix_bounds_order_and_limit(open_: Open) -> None:
    s = open_()
    for key in ("b2", "a", "b1", "b%", "c", "é"):
        s.put(key, key)
    s.put(ALARM_KEY, 1)
    assert list(s.list()) == ["a", "b%", "b1", "b2", "c", "é"]
    assert list(s.list(prefix="b")) == ["b%", "b1", "b2"]
    assert list(s.list(limit=2)) == ["a", "b%"]
    assert list(s.list(start="b1")) == ["b1", "b2", "c", "é"]
    assert list(s.list(start_after="b1")) == ["b2", "c", "é"]
    assert list(s.list(end="b2")) == ["a", "b%", "b1"]
    assert list(s.list(reverse=True, limit=2)) == ["é", "c"]
    assert list(s.list(prefix="b", start="b1", end="b2", reverse=True)) == ["b1"]


@given(keys=st.sets(st.text(st.characters(codec="utf-8"), max_size=4)), prefix=st.text(max_size=1))
def test_lists_are_ordered_by_utf_8(keys: set[str], prefix: str) -> None:
    database = memory_database()
    s = Storage(database)
    s.put(dict.fromkeys(sorted(keys)[:128], 0))
    expected = sorted((k for k in sorted(keys)[:128] if k.startswith(prefix)), key=lambda key: key.encode())
    assert list(s.list(prefix=prefix)) == expected
    database.close()


def test_deleting_all_leaves_nothing(open_: Open) -> None:
    s = open_()
    s.put("key", 1)
    s.put(ALARM_KEY, 5)
    s.sql("CREATE TABLE t (x)")
    s.sql("CREATE VIEW v AS SELECT x FROM t")
    # Names that are awkward to write down, and a table that has tables of its own.
    s.sql('CREATE TABLE "a ""b""" (x)')
    s.sql("CREATE TABLE sqliteX (x)")
    s.sql("CREATE VIRTUAL TABLE words USING fts5(text)")
    s.delete_all()
    assert s.sql("SELECT name FROM sqlite_schema WHERE name NOT LIKE '%cf_kv'") == []
    assert (s.list(), s.get(ALARM_KEY)) == ({}, None)
    with pytest.raises(SqlError, match="no such table"):
        s.sql("SELECT x FROM t")
    s.put("key", 2)
    assert s.list() == {"key": 2}


def test_the_empty_key_is_a_key(open_: Open) -> None:
    storage = open_()
    storage.put({"": 1, "a": 2})
    assert storage.list() == {"": 1, "a": 2}
    assert storage.list(prefix="a") == {"a": 2}


def test_a_list_looks_at_whole_keys_whatever_is_in_them(open_: Open) -> None:
    s = open_()
    s.put({"a": 0, "a\0b": 1, "a\0c": 2, "a%": 3, "a_": 4})
    assert list(s.list(prefix="a\0")) == ["a\0b", "a\0c"]
    assert list(s.list(prefix="a%")) == ["a%"]
    with pytest.raises(PlatformError, match="limit=0 must be at least 1"):
        s.list(limit=0)


# --- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key_bytes", "value_bytes", "fits"),
    [(2_048, 131_072, True), (2_049, 1, False), (1, 131_073, False)],
)
def test_the_key_value_back_end_keeps_its_limits(open_: Open, key_bytes: int, value_bytes: int, fits: bool) -> None:
    key, value = "k" * key_bytes, "v" * (value_bytes - 2)
    s = open_(limits=KV_LIMITS)
    if fits:
        s.put(key, value)
    else:
        with pytest.raises(LimitError, match="the platform takes at most"):
            s.put(key, value)
    assert (s.get(key) == value) is fits


@pytest.mark.parametrize("excess_bytes", [0, 1])
def test_the_sqlite_back_end_limits_key_and_value_together(open_: Open, excess_bytes: int) -> None:
    value = "v" * (SQLITE_LIMITS.key_plus_value_bytes - 2 - len("key") + excess_bytes)
    s = open_()
    if excess_bytes:
        with pytest.raises(LimitError, match="2000001 bytes in"):
            s.put("key", value)
    else:
        s.put("key", value)
        assert s.get("key") == value


def test_sizes_are_bytes_and_not_characters(open_: Open) -> None:
    with pytest.raises(LimitError, match="2050 bytes of a key"):
        open_(limits=KV_LIMITS).put("é" * 1_025, 1)


def test_the_key_value_back_end_has_no_sql(open_: Open) -> None:
    with pytest.raises(PlatformError, match="SQL is not enabled on the kv back end"):
        open_(limits=KV_LIMITS).sql("SELECT 1")


def test_sql_keeps_the_platform_s_limits(open_: Open) -> None:
    s = open_()
    assert s.sql(f"SELECT {'+'.join('?' * 100)}", *range(100)) == [(4_950,)]
    with pytest.raises(LimitError, match="101, at most 100"):
        s.sql("SELECT 1", *range(101))
    with pytest.raises(LimitError, match="at most 100000"):
        s.sql("SELECT 1 " + " " * 100_000)


@pytest.mark.parametrize(
    ("allowed", "refused", "match"),
    [
        ("SELECT zeroblob(2000000)", "SELECT zeroblob(2001000)", "too big"),
        (f"SELECT {', '.join('1' * 100)}", f"SELECT {', '.join('1' * 101)}", "too many columns"),
        (f"SELECT max({', '.join('1' * 32)})", f"SELECT max({', '.join('1' * 33)})", "too many arguments"),
        (f"SELECT 'a' LIKE '{'a' * 50}'", f"SELECT 'a' LIKE '{'a' * 51}'", "too complex"),
    ],
)
def test_sql_keeps_what_sqlite_itself_limits(open_: Open, allowed: str, refused: str, match: str) -> None:
    assert len(open_().sql(allowed)) == 1
    with pytest.raises(SqlError, match=match):
        open_().sql(refused)


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("BEGIN", "BEGIN is not allowed"),
        ("savepoint x", "savepoint is not allowed"),
        ("ATTACH ':memory:' AS x", "ATTACH is not allowed"),
        ("PRAGMA synchronous = OFF", "not authorized"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT * FROM _cf_kv", "the platform's own"),
        ('DROP TABLE "_cf_kv"', "the platform's own"),
    ],
)
def test_what_is_the_platform_s_business_is_refused(open_: Open, statement: str, match: str) -> None:
    with pytest.raises(SqlRefusedError, match=match):
        open_().sql(statement)


def test_a_text_may_hold_what_a_name_may_not(open_: Open) -> None:
    assert open_().sql("SELECT '_cf_kv; BEGIN'") == [("_cf_kv; BEGIN",)]
    assert open_().sql("SELECT name FROM pragma_table_info('x')") == []


def test_bad_sql_is_the_object_s_own_fault_and_changes_nothing(open_: Open) -> None:
    s = open_()
    s.sql("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    s.sql("INSERT INTO t VALUES (1)")
    for statement, params in (
        ("INSERT INTO t VALUES (1)", ()),
        ("SELECT y FROM t", ()),
        ("SELECT ?", ()),
        ("SELECT ?", (2**70,)),
    ):
        with pytest.raises(SqlError):
            s.sql(statement, *params)
    assert s.sql("SELECT x FROM t") == [(1,)]


# --- transactions ----------------------------------------------------------------------------


def fail(s: Storage, key: str) -> None:
    """Write inside a transaction that fails."""
    with s.transaction():
        s.put(key, "lost")
        raise ZeroDivisionError


def test_a_transaction_happens_whole_or_not_at_all(open_: Open) -> None:
    s = open_()
    s.put("kept", 1)
    with pytest.raises(ZeroDivisionError):
        fail(s, "kept")
    assert s.list() == {"kept": 1}
    with s.transaction():
        s.put("kept", 2)
        s.put("new", 3)
    assert open_().list() == {"kept": 2, "new": 3}


def test_an_inner_transaction_fails_alone(open_: Open) -> None:
    s = open_()
    with s.transaction():
        s.put("outer", 1)
        with pytest.raises(ZeroDivisionError):
            fail(s, "inner")
        with s.transaction():
            s.put("second", 2)
    assert open_().list() == {"outer": 1, "second": 2}


@pytest.mark.parametrize("is_inner", [False, True])
def test_a_transaction_may_be_rolled_back_without_a_failure(open_: Open, is_inner: bool) -> None:
    s = open_(limits=KV_LIMITS)
    with s.transaction() as outer:
        s.put("outer", 1)
        with s.transaction() as inner:
            s.put("inner", 2)
            (inner if is_inner else outer).rollback()
            s.put("later", 3)
    assert open_().list() == ({"outer": 1} if is_inner else {})


def test_a_transaction_that_waits_for_nothing_is_a_function(open_: Open) -> None:
    def transfer(*, fails: bool) -> str:
        s.put("from", -1)
        if fails:
            raise ZeroDivisionError
        s.put("to", 1)
        return "done"

    s = open_()
    with pytest.raises(ZeroDivisionError):
        s.transaction_sync(lambda: transfer(fails=True))
    assert s.list() == {}
    assert s.transaction_sync(lambda: transfer(fails=False)) == "done"
    assert open_().list() == {"from": -1, "to": 1}
    with pytest.raises(PlatformError, match="the kv back end has no transaction_sync"):
        open_(limits=KV_LIMITS).transaction_sync(lambda: None)


def test_an_outer_transaction_takes_the_inner_ones_with_it(open_: Open) -> None:
    s = open_()

    def outer() -> None:
        with s.transaction():
            with s.transaction():
                s.put("inner", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        outer()
    assert s.list() == {}


def test_writes_of_one_turn_are_one_commit(open_: Open) -> None:
    s = open_(coalesces=True)
    s.put("a", 1)
    s.sql("CREATE TABLE t (x)")
    with s.transaction():
        s.put("b", 2)
    assert s.commits == 0
    s.end_turn()
    assert s.commits == 1
    assert open_().list() == {"a": 1, "b": 2}


def test_a_turn_that_is_not_ended_never_happened(open_: Open) -> None:
    s = open_(coalesces=True)
    s.put("a", 1)
    s.end_turn()
    s.put("a", 2)
    s.put("b", 2)
    assert s.get("a") == 2
    assert open_(coalesces=True).list() == {"a": 1}


def test_a_failed_transaction_leaves_the_rest_of_its_turn(open_: Open) -> None:
    s = open_(coalesces=True)
    s.put("before", 1)
    with pytest.raises(ZeroDivisionError):
        fail(s, "inside")
    s.put("after", 2)
    s.end_turn()
    assert s.list() == {"before": 1, "after": 2}


def test_reads_commit_nothing(open_: Open) -> None:
    s = open_(coalesces=True)
    with s.transaction():
        assert s.get("a") is None
        assert s.sql("WITH one AS (SELECT 1) SELECT * FROM one") == [(1,)]
    s.get(["a"])
    s.list()
    s.end_turn()
    s.abandon_turn()
    s.end_turn()
    # WITH may begin a write, so it counts as one; nothing else does.
    assert s.commits == 1


def test_a_fenced_storage_does_nothing_more(open_: Open) -> None:
    s = open_(coalesces=True)
    s.put("a", 1)
    s.end_turn()
    s.put("a", 2)
    s.fence(ResetError("over"))
    calls: list[Callable[[], Any]] = [
        lambda: s.get("a"),
        lambda: s.put("a", 3),
        lambda: s.sql("SELECT 1"),
        s.end_turn,
    ]
    for call in calls:
        with pytest.raises(ResetError, match="over"):
            call()
    assert open_(coalesces=True).list() == {"a": 1}
