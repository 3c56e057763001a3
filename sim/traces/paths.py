"""From method and path to a route: each route's patterns, tried from the most to the least specific.

What stands behind ``?`` may hold secrets: it is cut off as soon as a key was looked up in it, and never kept.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.traces.blocks import Cells

PLACE = re.compile(r"\{([a-z_]+)\}|:([A-Za-z_]\w*)|(\*)")
"""A part of a path that may be anything: ``{key}`` or ``:id`` within a segment, ``*`` across segments."""

REQUEST_LINE = r"^(?:(?P<method>[A-Z]+) +)?(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?(?P<path>[^ ?#]*)(?P<query>\?[^ #]*)?"
"""Method, path and query of ``GET https://host/path?query HTTP/1.1``, each of which may be missing."""

EXAMPLES_KEPT = 10_000
"""Different rows without a route that are counted one by one."""

EXAMPLES_SHOWN = 5


@dataclass(frozen=True)
class Pattern:
    """A method and a path that belong to a route.

    Attributes
    ----------
    route : int
        Position among the routes.
    method : str
        Empty or ``*`` for any.
    path : str
        With placeholders: ``/feed/{key}``, ``/img/:id``, ``/files/*``, ``/balance?organization_id=org-{key}``.
    """

    route: int
    method: str
    path: str

    @cached_property
    def regex(self) -> str:
        """Regular expression of the path."""
        body = _regex(re.sub("//+", "/", self.path.partition("?")[0]).rstrip("/"))
        return f"^{body}/?$"

    @cached_property
    def query_key(self) -> str:
        """Regular expression of the query that finds the key; empty if it does not stand there."""
        for part in self.path.partition("?")[2].split("&"):
            if "{key}" in part:
                before, _, after = part.partition("{key}")
                return f"[?&]{re.escape(before)}(?P<key>[^&]+?){re.escape(after)}(?:&|$)"
        return ""

    @property
    def names_key(self) -> bool:
        """Whether the key stands in the path or in the query."""
        return "(?P<key>" in self.regex or bool(self.query_key)

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts specific patterns before general ones."""
        places = PLACE.findall(self.path.partition("?")[0])
        stars = sum(1 for place in places if place[2])
        return (stars, len(places) - stars, -len(PLACE.sub("", self.path)))


def pattern(route: int, text: str) -> Pattern:
    """Read ``GET /img/:id`` or ``/img/*``.

    >>> pattern(3, "GET /img/:id")
    Pattern(route=3, method='GET', path='/img/:id')
    """
    method, space, path = text.strip().rpartition(" ")
    return Pattern(route, method.strip().upper() if space else "", path)


def _regex(path: str) -> str:
    pieces, last, named = [], 0, False
    for place in PLACE.finditer(path):
        pieces.append(re.escape(path[last : place.start()]))
        if place[3]:
            pieces.append(".*")
        elif "key" in (place[1], place[2]) and not named:
            pieces.append("(?P<key>[^/]+)")
            named = True
        else:
            pieces.append("[^/]+")
        last = place.end()
    return "".join([*pieces, re.escape(path[last:])])


@dataclass(frozen=True)
class Requests:
    """Method, path and query of the rows of a block, each as an array of text, shape (rows,)."""

    method: Cells
    path: Cells
    query: Cells

    @property
    def shown(self) -> Cells:
        """Method and path, for messages."""
        return pc.utf8_ltrim_whitespace(pc.binary_join_element_wise(self.method, self.path, " "))


def requests(path: Cells, method: Cells | None) -> Requests:
    """Take paths, URLs or whole request lines apart; of slashes that follow each other, one stays."""
    parts = pc.extract_regex(path, pattern=REQUEST_LINE)
    found = {name: pc.fill_null(pc.struct_field(parts, name), "") for name in ("method", "path", "query")}
    if method is not None:
        found["method"] = pc.if_else(pc.equal(method, ""), found["method"], pc.utf8_upper(method))
    found["path"] = pc.if_else(pc.equal(found["path"], ""), "/", pc.replace_substring_regex(found["path"], "//+", "/"))
    return Requests(**found)


class Router:
    """Finds the route of every row, and counts those that have none.

    Attributes
    ----------
    unmatched : int
        Rows without a route so far.
    """

    def __init__(self, names: Sequence[str], patterns: Sequence[Pattern]) -> None:
        self._names = pa.array(list(names), pa.string())
        self._patterns = sorted(patterns, key=lambda one: one.order)
        self._shown: Counter[str] = Counter()
        self.unmatched = 0

    @property
    def names_keys(self) -> bool:
        """Whether some pattern says where the key stands."""
        return any(one.names_key for one in self._patterns)

    def named(self, cells: Cells) -> NDArray[np.int16]:
        """Return the routes that cells name, shape (rows,); -1 for none."""
        return np.asarray(pc.fill_null(pc.index_in(cells, self._names), -1)).astype(np.int16)

    def matched(self, asked: Requests, keys: "list[Any] | None" = None) -> NDArray[np.int16]:
        """Return the routes of requests, shape (rows,); -1 for none.

        Parameters
        ----------
        asked : Requests
        keys : list, optional
            One array of text, shape (rows,), which the keys that stand in paths replace.
        """
        code = np.full(len(asked.path), -1, dtype=np.int16)
        method = asked.method
        for one in self._patterns:
            fits = np.asarray(pc.match_substring_regex(asked.path, one.regex)) & (code < 0)
            if one.method not in ("", "*"):
                also = [one.method, "HEAD", ""] if one.method == "GET" else [one.method, ""]
                fits &= np.asarray(pc.is_in(method, pa.array(also)))
            if not fits.any():
                continue
            code[fits] = one.route
            if keys is not None and one.names_key:
                text, regex = (asked.query, one.query_key) if one.query_key else (asked.path, one.regex)
                key = pc.struct_field(pc.extract_regex(text, pattern=regex), "key")
                keys[0] = pc.if_else(pa.array(fits), pc.fill_null(key, ""), keys[0])
        return code

    def count_unmatched(self, shown: Cells) -> None:
        """Count rows that have no route, by what is shown of them."""
        self.unmatched += len(shown)
        for entry in pc.value_counts(shown).to_pylist():
            if entry["values"] in self._shown or len(self._shown) < EXAMPLES_KEPT:
                self._shown[entry["values"]] += entry["counts"]

    def examples(self) -> str:
        """Return the most frequent rows without a route: ``"GET /a" (12), "GET /b" (3)``."""
        most = self._shown.most_common(EXAMPLES_SHOWN)
        return ", ".join(f'"{text[:60]}" ({count:,})' for text, count in most)
