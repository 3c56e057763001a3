"""R2: whole objects under keys of nine shapes, and the store's own refusals.

Goal: nothing is ever half there, no key escapes the bucket, and the limits are the platform's.
Method: keys drawn by Hypothesis; both stores through one set of tests; limits met to the unit.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.r2.bucket import Bucket, MemoryStore, ObjectStore, R2Error, Stored, adapter_key, check_key, etag_of
from reference_impl.server.disks import FileStore
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.pace import Pace
from reference_impl.timing.stopwatch import Stopwatch

KEYS = [
    "models/phi-3-mini-4k-instruct-q4.gguf",
    "models/llama-3.2-8b-instruct-q4.gguf",
    "models/bge-micro-v1.5.gguf",
    "loras/lora-1/adapter.safetensors",
    "loras/lora-1/metadata.json",
    "loras/lora-1/README.md",
    "training/datasets/job-1/dataset.jsonl",
    "training/outputs/job-1/adapter.safetensors",
    "knowledge/user-1/embeddings.db",
]
BAD_KEYS = [
    "",
    "/",
    "loras//adapter.safetensors",
    "loras/../adapter.safetensors",
    "loras/a..b/adapter.safetensors",
    "loras/a/b/adapter.safetensors",
    "loras/a/other.bin",
    "loras/a/adapter.safetensors\n",
    "loras/ä/adapter.safetensors",
    "../loras/a/adapter.safetensors",
    "loras/" + "a" * 129 + "/adapter.safetensors",
    "models/.gguf",
]


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    return FileStore(tmp_path / "r2", fsync="full")


def bucket_of(store: ObjectStore, **options: Any) -> tuple[Bucket, VirtualClock]:
    clock = VirtualClock()
    pace = Pace.from_mapping({"r2": options.pop("pace", {})}).r2
    return Bucket(store, clock=clock, pace=pace, **options), clock


@pytest.mark.parametrize("key", KEYS)
def test_each_of_the_nine_shapes_is_stored_and_found(store: ObjectStore, key: str) -> None:
    bucket, clock = bucket_of(store)
    watch = Stopwatch(clock)
    stored, found = clock.run(bucket.put(key, b"content", stopwatch=watch))[0], clock.run(bucket.get(key, watch))[0]
    assert found == (stored, b"content")
    assert (stored.size_bytes, stored.etag) == (7, etag_of(b"content"))
    assert stored.uploaded_unix_ms == clock.unix_ms()
    assert bucket.list() == bucket.list(key[:6]) == [key]
    assert bucket.list("x") == []
    clock.run(bucket.delete(key, watch))
    assert clock.run(bucket.get(key, watch)) == [None]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_any_other_key_is_refused(key: str) -> None:
    with pytest.raises(R2Error, match="is no key of this bucket") as caught:
        check_key(key)
    assert (caught.value.status, caught.value.code) == (400, "r2_10020")


@given(lora_id=st.text(max_size=140), other=st.text(max_size=140))
def test_keys_are_injective_bounded_and_stay_inside(lora_id: str, other: str) -> None:
    try:
        key, other_key = adapter_key(lora_id), adapter_key(other)
    except R2Error:
        return
    assert (key == other_key) == (lora_id == other)
    assert len(key.encode()) <= 1_024
    assert key.count("/") == 2
    assert ".." not in key


def test_a_second_write_to_one_key_within_a_second_is_refused() -> None:
    # Hazard H31.
    bucket, clock = bucket_of(MemoryStore())
    key, other = KEYS[3], KEYS[4]

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
    pace = {"put_ms": 60, "get_ms": 30, "bandwidth_bytes_per_s": 1_000_000}
    bucket, clock = bucket_of(MemoryStore(), pace=pace)
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
