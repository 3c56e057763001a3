"""R2: a bucket of objects under keys, with atomic writes.

A write replaces the whole object; of two concurrent writes to one key the last to end wins. A key
accepts one write a second: the next is refused with 429, code 10058. An operation takes a sampled latency
plus the transfer time of its bytes; there is no queue.

Sources
-------
R2 limits: key 1,024 bytes, object put at once 5 GiB less 5 MiB, one write a second to one key;
error codes 10007 (no such key), 10058 (too many requests), 10020 (bad name), 100100 (too large).
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from reference_impl.errors import PlatformError
from reference_impl.r2.settings import WRITES_PER_S_SAME_KEY, R2Settings
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.metered import Billed
from reference_impl.volumes.stores import ObjectStore

KEY_BYTES_MAX = 1_024
SINGLE_UPLOAD_BYTES_MAX = 5_363_466_240
KEYS_REMEMBERED_MAX = 10_000
"""Keys whose last write is remembered; the oldest are forgotten, long after their second has passed."""


class R2Error(PlatformError):
    """An error of R2, with its numeric code."""

    def __init__(self, status: int, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = f"r2_{number}"


Allows = Callable[["R2Object | None"], None]
"""Raises if a write must not happen, given the stored object."""
Sends = Callable[["R2Object"], int]
"""Returns the number of bytes of an object that the response carries."""


def whole(stored: "R2Object") -> int:
    """Send the whole object."""
    return stored.size_bytes


@dataclass(frozen=True)
class R2Object:
    """The metadata of an object."""

    key: str
    size_bytes: int
    etag: str
    uploaded_unix_ms: int


class Bucket:
    """A bucket: objects in a store, with the platform's latencies and limits.

    Parameters
    ----------
    store
        Holds the bytes.
    clock
        The deployment's clock.
    settings
        Latencies and bandwidth.
    name
        Name of the instance; also its time category.
    writes_per_s_same_key
        Rate limit of writes to one key; infinite: no limit.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        clock: Clock,
        settings: R2Settings,
        name: str = "r2",
        writes_per_s_same_key: float = WRITES_PER_S_SAME_KEY,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._name = name
        self._write_gap_ms = 1_000 / writes_per_s_same_key
        self._written_ms: dict[str, float] = {}
        self._under_way: Counter[str] = Counter()
        self.billed = Billed()
        """What the provider would bill until now: operations of class A and B."""

    async def put(self, key: str, content: bytes, *, stopwatch: Stopwatch, allows: Allows | None = None) -> R2Object:
        """Store *content* at *key*, unless *allows* raises for what is stored there.

        Raises
        ------
        R2Error
            400 for an invalid key, 413 if *content* is too large, 429 for a second write within a second, or for a
            conditional write while another is under way, since what it would find is not decided.
        """
        check_key(key)
        if len(content) > SINGLE_UPLOAD_BYTES_MAX:
            rule = f"at most {SINGLE_UPLOAD_BYTES_MAX} in one upload; use parts"
            raise R2Error(413, 100100, f"{len(content)} bytes; {rule}")
        if allows is not None:
            await self._check(key, allows)
        self._count_write(key)
        self.billed.add("class_a")
        # The upload time is the time that the limit counts, so two versions of a key never share a second.
        uploaded_unix_ms = self._clock.unix_ms()
        drawn_ms = stopwatch.draw_ms(self._settings.put_ms) + self._settings.upload_ms(len(content))
        self._under_way[key] += 1
        try:
            async with stopwatch.stage(self._name, drawn_ms):
                etag = await self._store.put(key, content, uploaded_unix_ms=uploaded_unix_ms)
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
        return R2Object(key, len(content), etag, uploaded_unix_ms)

    async def get(self, key: str, stopwatch: Stopwatch, *, sends: Sends = whole) -> tuple[R2Object, bytes] | None:
        """Return the object at *key* with its content, or None; only the bytes that *sends* tells take their time."""
        check_key(key)
        self.billed.add("class_b")
        async with stopwatch.stage(self._name, stopwatch.draw_ms(self._settings.get_ms)) as stage:
            found = await self._store.get(key)
            if found is None:
                return None
            etag, content, uploaded_unix_ms = found
            stored = R2Object(key, len(content), etag, uploaded_unix_ms)
            stage.drawn_ms += self._settings.transfer_ms(sends(stored))
        return stored, content

    async def get_or_create(
        self, key: str, stopwatch: Stopwatch, *, content: Callable[[], bytes], sends: Sends = whole
    ) -> tuple[R2Object, bytes]:
        """Return the object at *key*; if it is missing, first create it with *content*, which takes no time."""
        check_key(key)
        if not self._store.has(key):
            await self._store.put(key, content(), uploaded_unix_ms=self._clock.unix_ms())
        found = await self.get(key, stopwatch, sends=sends)
        if found is None:
            raise R2Error(404, 10007, f"{key[:80]!r} was deleted meanwhile; ask again")
        return found

    async def delete(self, key: str, stopwatch: Stopwatch) -> None:
        """Remove the object at *key*, if it exists."""
        check_key(key)
        async with stopwatch.stage(self._name, stopwatch.draw_ms(self._settings.put_ms)):
            await self._store.delete(key)

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys that begin with *prefix*, sorted."""
        self.billed.add("class_a")
        return list(self._store.keys(prefix))

    async def _check(self, key: str, allows: Allows) -> None:
        if self._under_way[key]:
            raise R2Error(429, 10058, f"a write to {key} is under way; wait for it and retry")
        found = await self._store.get(key)
        allows(None if found is None else R2Object(key, len(found.content), found.etag, found.uploaded_unix_ms))

    def _count_write(self, key: str) -> None:
        now_ms = self._clock.now_ms()
        # A refused write is none: the second counts from the last one that was taken.
        if now_ms - self._written_ms.get(key, -math.inf) < self._write_gap_ms:
            rule = f"at most {1_000 / self._write_gap_ms:g} a second to one key; wait and retry"
            raise R2Error(429, 10058, f"too many writes to {key}: {rule}")
        # Removed and inserted again, so that the dictionary is in order of last write.
        self._written_ms.pop(key, None)
        self._written_ms[key] = now_ms
        if len(self._written_ms) > KEYS_REMEMBERED_MAX:
            del self._written_ms[next(iter(self._written_ms))]


class R2Binding:
    """The R2 binding of one request: the bucket, and the stopwatch that times the request."""

    def __init__(self, bucket: Bucket, stopwatch: Stopwatch) -> None:
        self._bucket = bucket
        self._stopwatch = stopwatch

    async def put(self, key: str, content: bytes, *, allows: Allows | None = None) -> R2Object:
        """Store *content* at *key*, unless *allows* raises for what is stored there."""
        return await self._bucket.put(key, content, stopwatch=self._stopwatch, allows=allows)

    async def get(self, key: str, *, sends: Sends = whole) -> tuple[R2Object, bytes] | None:
        """Return the object at *key* with its content, or None; *sends* tells how many bytes travel."""
        return await self._bucket.get(key, self._stopwatch, sends=sends)

    async def delete(self, key: str) -> None:
        """Remove the object at *key*."""
        await self._bucket.delete(key, self._stopwatch)


def check_key(key: str) -> None:
    """Check that R2 accepts *key*.

    Raises
    ------
    R2Error
        400, code 10020, unless it is 1 to 1,024 bytes of UTF-8.
    """
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise R2Error(400, 10020, f"key={key[:80]!a} must be Unicode without lone surrogates") from None
    if not 1 <= size_bytes <= KEY_BYTES_MAX:
        raise R2Error(400, 10020, f"key={key[:80]!a} has {size_bytes} bytes; must be 1 to {KEY_BYTES_MAX}")
