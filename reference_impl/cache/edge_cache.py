"""The Cache API of one edge location: responses stored by URL, until they are stale or evicted.

A look-up finds what was stored here and nowhere else: the cache of another location is another cache. When the memory
is full the least recently used entry is evicted. Nothing survives a restart.

Sources
-------
Cache API of Workers: ``match``, ``put``, ``delete``; ``put`` refuses a request that is not GET, a partial answer (206)
and ``Vary: *``; no caching without freshness. RFC 9111, sections 4.2.1 (``s-maxage`` before ``max-age``) and 5.2.2
(``no-store``, ``no-cache``, ``private``). An entry of at most 512 MB (Workers limits).
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, replace

from reference_impl.errors import PlatformError
from reference_impl.messages import Response
from reference_impl.timing.clock import Clock

ENTRY_BYTES_MAX = 512_000_000
MEMORY_BYTES_MAX = 256_000_000
"""Upper limit on what this location keeps: an assumption, since the platform publishes none."""
NEVER = ("no-store", "no-cache", "private")


class CacheError(PlatformError):
    """The cache refuses to store a response; *status* is 413 or 400, as :meth:`EdgeCache.put` says."""

    code = "cache_refused"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Entry:
    """A stored response, and the time at which it becomes stale."""

    response: Response
    expires_ms: float


class EdgeCache:
    """The cache of one location.

    Parameters
    ----------
    clock
        The deployment's clock.
    entry_bytes_max
        A larger entry is refused.
    memory_bytes_max
        Upper limit on the total size of all bodies.
    """

    def __init__(
        self, clock: Clock, *, entry_bytes_max: int = ENTRY_BYTES_MAX, memory_bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        self._clock = clock
        self._entry_bytes_max = entry_bytes_max
        self._memory_bytes_max = memory_bytes_max
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def stored_bytes(self) -> int:
        """Total size of all bodies."""
        return self._bytes

    def match(self, url: str) -> Response | None:
        """Return the response stored under *url*; None if there is none, or it is stale."""
        entry = self._entries.get(url)
        if entry is None:
            return None
        if self._clock.now_ms() >= entry.expires_ms:
            self.delete(url)
            return None
        self._entries.move_to_end(url)
        # A copy, since the caller adds headers of its own to the response.
        return replace(entry.response, headers=dict(entry.response.headers))

    def put(self, url: str, response: Response) -> bool:
        """Store *response*, for as long as its ``Cache-Control`` says; return whether it was stored.

        Raises
        ------
        CacheError
            413: it is too large. 400: it is a partial response (206), or its ``Vary`` is ``*``.
        """
        if response.status == 206 or response.headers.get("vary", "").strip() == "*":
            what = f"status={response.status} with vary={response.headers.get('vary', '')!r}"
            raise CacheError(f"{what} cannot be stored: a cache keeps whole answers to one request", status=400)
        size_bytes = len(response.body)
        if size_bytes > self._entry_bytes_max:
            rule = f"the cache takes at most {self._entry_bytes_max}"
            raise CacheError(f"an entry of {size_bytes} bytes; {rule}", status=413)
        ttl_s = freshness_s(response.headers.get("cache-control", ""))
        if ttl_s <= 0:
            return False
        self.delete(url)
        self._entries[url] = Entry(response, self._clock.now_ms() + ttl_s * 1_000)
        self._bytes += size_bytes
        while self._bytes > self._memory_bytes_max:
            self.delete(next(iter(self._entries)))
        return url in self._entries

    def delete(self, url: str) -> bool:
        """Delete the entry under *url*; return whether there was one."""
        entry = self._entries.pop(url, None)
        if entry is None:
            return False
        self._bytes -= len(entry.response.body)
        return True


def freshness_s(cache_control: str) -> int:
    """Return for how many seconds a shared cache may use a response with this ``Cache-Control``; 0: not at all.

    >>> freshness_s("public, max-age=60"), freshness_s("s-maxage=5, max-age=60"), freshness_s("no-store, max-age=60")
    (60, 5, 0)
    """
    directives = [part.strip().lower() for part in cache_control.split(",")]
    if any(directive.partition("=")[0] in NEVER for directive in directives):
        return 0
    for name in ("s-maxage", "max-age"):
        for directive in directives:
            found = re.fullmatch(rf'{name}="?(\d{{1,10}})"?', directive)
            if found:
                return int(found[1])
    return 0
