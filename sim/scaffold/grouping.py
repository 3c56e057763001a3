"""Paths of a log, grouped: what differs from request to request becomes ``:id``.

A segment is an id when it looks like one (a number, a UUID, hexadecimal digits, a long token, a word with a number
behind it, anything with three digits; behind the first, a word of any script but ASCII), or when too many different
ones stand at its place for all of them to be routes. Of those, a word is a route if it is far more frequent than the
ids: ``/user/settings`` among names.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

ENDING = r"(?:\.[A-Za-z0-9]{1,5})?"

LOOKS = (
    r"[0-9]+",
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
    r"[0-9a-fA-F]{8,}",
    r"[A-Za-z0-9_=-]{20,}",
    r"[A-Za-z]{1,16}[-_][0-9]+",
    r"[^/]*[0-9][^/]*[0-9][^/]*[0-9][^/]*",
)
"""What an id looks like: a number, a UUID, hexadecimal, a token, ``user-7``, three digits."""

WORDS = (r"[^/]*%[^/]*", r"[^/]*[^\x00-\x7f][^/]*")
"""Words in any script, escaped or not: ids behind the first segment, which may be a page's own name."""

ID = f"/(?:{'|'.join(LOOKS)}){ENDING}(/|$)"

WORD_BEHIND = f"([^/])/(?:{'|'.join(WORDS)}){ENDING}(/|$)"

ALIKE_MAX = 20
"""More different segments at one place are ids, whatever they look like."""

FREQUENT_SHARE = 0.1
FREQUENT_TIMES = 4
"""A word without digits with this share of the requests at its place is a route of its own all the same, if it has so
many times the requests of the next one, or stands above a word that has. Ids fall gently: by Zipf's law with exponent 2
the first has 4 times the second, so a tenant with a fifth of the traffic is still one of them."""

PATHS_MAX = 50_000
"""Different paths that are distinguished while a log is read; of later ones only the first segment is."""

DISTINCT_MAX = 500_000
"""Different whole paths that are counted."""

Route = tuple[str, str]
"""Method and path."""


class Paths:
    """Counts the paths of a log, without what looks like an id."""

    def __init__(self) -> None:
        self._counts: Counter[Route] = Counter()
        self._asked: defaultdict[Route, set[int]] = defaultdict(set)
        self._distinguished = 0

    def add(self, method: Any, path: Any) -> None:
        """Count requests: arrays of text, shape (rows,)."""
        whole = path
        for _ in range(2):  # Neighbouring ids share a slash, so that one pass sees every other of them.
            path = pc.replace_substring_regex(path, ID, r"/:id\1")
            path = pc.replace_substring_regex(path, WORD_BEHIND, r"\1/:id\2")
        both = pc.binary_join_element_wise(pc.replace_substring_regex(method, "^HEAD$", "GET"), path, " ")
        for entry in pc.value_counts(both).to_pylist():
            verb, _, text = entry["values"].partition(" ")
            route = (verb, text)
            if route not in self._counts and len(self._counts) >= PATHS_MAX:
                route = (verb, f"/{text.split('/')[1]}/*")
            self._counts[route] += entry["counts"]
        self._distinguish(both, whole)

    def _distinguish(self, both: Any, whole: Any) -> None:
        """Remember the different paths of each route, as hashes."""
        pairs = pa.table({"route": both, "path": whole}).group_by(["route", "path"]).aggregate([])
        hashes = pd.util.hash_array(pairs["path"].to_numpy(zero_copy_only=False), categorize=False)
        for text, mine in pd.Series(hashes).groupby(pairs["route"].to_pandas()):
            verb, _, path = str(text).partition(" ")
            asked = self._asked[verb, path]
            before = len(asked)
            if self._distinguished < DISTINCT_MAX:
                asked.update(mine.tolist())
            self._distinguished += len(asked) - before

    def distinct(self, route: Route) -> int:
        """Count the different paths of a route; at least so many where a log has more than are distinguished."""
        method, wanted = route[0], route[1].strip("/").split("/")
        return sum(len(asked) for (verb, path), asked in self._asked.items() if verb == method and _fits(path, wanted))

    def routes(self) -> list[tuple[Route, int]]:
        """List methods and paths with their numbers of requests, the most frequent first."""
        merged: Counter[Route] = Counter()
        groups: defaultdict[tuple[str, int], Counter[tuple[str, ...]]] = defaultdict(Counter)
        for (method, path), count in self._counts.items():
            segments = tuple(path.strip("/").split("/")) if path.strip("/") else ()
            groups[method, len(segments)][segments] += count
        for (method, _), paths in groups.items():
            for segments, count in _merged(paths, 0).items():
                merged[method, "/" + "/".join(_numbered(segments))] += count
        return sorted(merged.items(), key=lambda entry: (-entry[1], entry[0]))


def _fits(path: str, wanted: list[str]) -> bool:
    segments = path.strip("/").split("/")
    return len(segments) == len(wanted) and all(
        mine == whole or whole.startswith(":id") for mine, whole in zip(segments, wanted, strict=True)
    )


def _merged(paths: Counter[tuple[str, ...]], place: int) -> Counter[tuple[str, ...]]:
    """Paths of one length, alike up to *place*, with the places behind it grouped."""
    if not paths or place == len(next(iter(paths))):
        return paths
    at: Counter[str] = Counter()
    for segments, count in paths.items():
        at[segments[place]] += count
    words = _words(at)
    many = len(at) > ALIKE_MAX
    groups: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for segments, count in paths.items():
        own = segments[place]
        name = ":id" if many and own not in words and own != "*" else own
        groups[name][*segments[:place], name, *segments[place + 1 :]] += count
    found: Counter[tuple[str, ...]] = Counter()
    for inside in groups.values():
        found.update(_merged(inside, place + 1))
    return found


def _words(at: Counter[str]) -> set[str]:
    """Return the segments at a place of ids that are words of routes: frequent, far more so than all behind them."""
    least = FREQUENT_SHARE * sum(at.values())
    ordered = [entry for entry in at.most_common() if entry[0] not in (":id", "*")]
    behind = [*(count for _, count in ordered[1:]), 0]
    fall = max(
        (place for place, (_, count) in enumerate(ordered) if count >= max(least, FREQUENT_TIMES * behind[place])),
        default=-1,
    )
    return {word for word, _ in ordered[: fall + 1] if not re.search(r"\d", word)}


def _numbered(segments: tuple[str, ...]) -> list[str]:
    """Segments whose ids have different names: ``:id``, ``:id2``."""
    ids = 0
    named = []
    for segment in segments:
        ids += segment == ":id"
        named.append(segment if segment != ":id" or ids == 1 else f":id{ids}")
    return named


def replaced(path: str, name: Callable[[int], str]) -> str:
    """Return *path* with another name for each of its ids, counted from 0.

    >>> replaced("/a/:id/b/:id2", lambda number: "{key}" if number == 0 else "{object}")
    '/a/{key}/b/{object}'
    """
    numbers = iter(range(len(path)))
    return re.sub(r":id\d*", lambda _: name(next(numbers)), path)


def counted(paths: list[str], method: str = "GET") -> list[tuple[Route, int]]:
    """Group a few paths: :class:`Paths` on a list."""
    found = Paths()
    found.add(pa.array([method] * len(paths), pa.string()), pa.array(paths, pa.string()))
    return found.routes()
