"""R2: whole objects under any key, and the store's own refusals.

Goal: nothing is ever half there, no key escapes the bucket or meets another, and the limits are the platform's.
Method: keys drawn by Hypothesis; both stores through one set of tests; limits met to the unit.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.r2.bucket import KEY_BYTES_MAX, Bucket, R2Error
from reference_impl.r2.settings import R2Settings
from reference_impl.server.disks import FileStore
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.stores import MemoryStore, ObjectStore, Stored, etag_of
from tests.support.world import settings

KEYS = [
    "models/phi-3-mini-4k-instruct-q4.gguf",
    "loras/lora-1/adapter.safetensors",
    "a",
    "/",
    "..",
    "../../outside",
    ".",
    "a/../b",
    "a%2Fb",
    "line\nbreak",
    "nul\0byte",
    "ä/日本/🙂",
    "x" * KEY_BYTES_MAX,
    "é" * (KEY_BYTES_MAX // 2),
    "CON.object",
    "A",
]
BAD_KEYS = ["", "x" * (KEY_BYTES_MAX + 1), "é" * (KEY_BYTES_MAX // 2 + 1), "half a pair \ud800"]
any_key = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    return FileStore(tmp_path / "r2", fsync="full")


def bucket_of(store: ObjectStore, **options: Any) -> tuple[Bucket, VirtualClock]:
    clock = VirtualClock()
    read = settings(R2Settings.read, options.pop("table", None))
    return Bucket(store, clock=clock, settings=read, **options), clock


@pytest.mark.parametrize("key", KEYS)
def test_any_key_is_stored_and_found(store: ObjectStore, key: str) -> None:
    bucket, clock = bucket_of(store)
    watch = Stopwatch(clock)
    stored, found = clock.run(bucket.put(key, b"content", stopwatch=watch))[0], clock.run(bucket.get(key, watch))[0]
    assert found == (stored, b"content")
    assert (stored.size_bytes, stored.etag) == (7, etag_of(b"content"))
    assert store.has(key)
    assert stored.uploaded_unix_ms == clock.unix_ms()
    assert bucket.list() == bucket.list(key[:6]) == [key]
    assert bucket.list(f"{key}x") == []
    clock.run(bucket.delete(key, watch))
    assert clock.run(bucket.get(key, watch)) == [None]
    assert not store.has(key)


@pytest.mark.parametrize("key", BAD_KEYS, ids=len)
def test_what_is_no_key_of_r2_is_refused(store: ObjectStore, key: str) -> None:
    bucket, clock = bucket_of(store)
    for ask in (bucket.put(key, b"", stopwatch=Stopwatch(clock)), bucket.get(key, Stopwatch(clock))):
        with pytest.raises(R2Error, match="must be ") as caught:
            clock.run(ask)
        assert (caught.value.status, caught.value.code) == (400, "r2_10020")
        assert "\n" not in str(caught.value)


@given(contents=st.dictionaries(any_key.filter(lambda key: len(key.encode()) <= KEY_BYTES_MAX), st.binary(max_size=9)))
def test_no_key_meets_another_and_none_leaves_the_folder(contents: dict[str, bytes]) -> None:
    with TemporaryDirectory() as place:
        store = FileStore(Path(place, "r2"), fsync="off")

        async def play() -> None:
            for key, content in contents.items():
                await store.put(key, content, uploaded_unix_ms=1)
            assert {key: await store.get(key) for key in contents} == {
                key: Stored(etag_of(content), content, 1) for key, content in contents.items()
            }

        asyncio.run(play())
        assert list(store.keys("")) == sorted(contents)
        assert [path.name for path in Path(place).iterdir()] == ["r2"]
        assert len(list(Path(place, "r2").iterdir())) == len(contents)


def test_two_long_keys_that_differ_in_one_letter_are_two_keys(store: ObjectStore) -> None:
    bucket, clock = bucket_of(store)
    keys = [letter + "x" * (KEY_BYTES_MAX - 2) + end for letter in "ab" for end in "yz"]
    for key in keys:
        clock.run(bucket.put(key, key[0].encode() + key[-1].encode(), stopwatch=Stopwatch(clock)))
    found = [clock.run(bucket.get(key, Stopwatch(clock)))[0][1] for key in keys]
    assert found == [b"ay", b"az", b"by", b"bz"]


def test_an_object_that_is_missing_is_put_in_place_in_no_planned_time(store: ObjectStore) -> None:
    bucket, clock = bucket_of(store, table={"get_ms": 30, "put_ms": 60})
    first, second = Stopwatch(clock), Stopwatch(clock)
    for watch in (first, second):
        found = clock.run(bucket.get_or_create("k", watch, content=lambda: b"made"))[0]
        assert found[1] == b"made"
        assert watch.spent_ms == {"r2": 30}
    # Nor does it count as a write that a client made.
    clock.run(bucket.put("k", b"other", stopwatch=Stopwatch(clock)))
    assert clock.run(bucket.get_or_create("k", second, content=lambda: b"made"))[0][1] == b"other"


def test_a_second_write_to_one_key_within_a_second_is_refused() -> None:
    # Hazard H31.
    bucket, clock = bucket_of(MemoryStore())
    key, other = KEYS[0], KEYS[1]

    def put(at: str) -> None:
        clock.run(bucket.put(at, b"", stopwatch=Stopwatch(clock)))

    put(key)
    put(other)
    clock.run_until(999)
    with pytest.raises(R2Error, match="at most 1 a second to one key") as caught:
        put(key)
    assert (caught.value.status, caught.value.code) == (429, "r2_10058")
    clock.run_until(999 + 1_000)
    put(key)


def test_the_write_limit_can_be_set() -> None:
    bucket, clock = bucket_of(MemoryStore(), writes_per_s_same_key=float("inf"))
    for _ in range(5):
        clock.run(bucket.put(KEYS[0], b"", stopwatch=Stopwatch(clock)))


def test_size_takes_time_by_the_bandwidth() -> None:
    table = {"put_ms": 60, "get_ms": 30, "bandwidth_bytes_per_s": 1_000_000}
    bucket, clock = bucket_of(MemoryStore(), table=table)
    put, get, miss = Stopwatch(clock), Stopwatch(clock), Stopwatch(clock)
    clock.run(bucket.put(KEYS[0], b"x" * 5_000, stopwatch=put))
    clock.run(bucket.get(KEYS[0], get))
    clock.run(bucket.get(KEYS[1], miss))
    assert [w.spent_ms["r2"] for w in (put, get, miss)] == pytest.approx([65, 35, 30])


@pytest.fixture
def files(tmp_path: Path) -> tuple[FileStore, Path]:
    return FileStore(tmp_path / "r2", fsync="off"), tmp_path / "r2"


def test_of_two_writers_one_wins_whole(files: tuple[FileStore, Path]) -> None:
    store, folder = files
    contents = [bytes([n]) * 1_000_000 for n in range(4)]

    async def race() -> Stored | None:
        puts = (store.put(KEYS[0], content, uploaded_unix_ms=n) for n, content in enumerate(contents))
        await asyncio.gather(*puts)
        return await store.get(KEYS[0])

    found = asyncio.run(race())
    assert found is not None
    assert found.content == contents[found.uploaded_unix_ms]
    assert found.etag == etag_of(found.content)
    assert [path.suffix for path in folder.iterdir()] == [".object"]


def test_objects_outlive_the_process_and_broken_uploads_do_not(
    files: tuple[FileStore, Path],
) -> None:
    store, folder = files
    asyncio.run(store.put(KEYS[0], b"kept", uploaded_unix_ms=1_795_000_000_123))
    (folder / "7.part").write_bytes(b"half")
    again = FileStore(folder, fsync="off")
    assert asyncio.run(again.get(KEYS[0])) == (etag_of(b"kept"), b"kept", 1_795_000_000_123)
    assert [path.suffix for path in folder.iterdir()] == [".object"]
