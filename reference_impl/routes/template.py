"""Path templates: ``/feed/{key}`` matches ``/feed/7``; a placeholder stands for a path segment or part of one."""

import re
from functools import cached_property
from urllib.parse import unquote

from reference_impl.errors import ConfigError

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
VALUE = "([^/?]+)"
ANY, MORE = object(), object()
"""Symbols of a placeholder: its first character, and any number of further ones."""


class Template:
    """The path template of a route.

    Parameters
    ----------
    text
        The template as written in a scenario; a query after a question mark is not matched.
    where
        Its path in the configuration, for messages.

    Raises
    ------
    ConfigError
        If *text* is not a path, or a brace is unbalanced.
    """

    def __init__(self, text: str, *, where: str) -> None:
        self.path = text.partition("?")[0]
        self.names = tuple(PLACEHOLDER.findall(self.path))
        literals = PLACEHOLDER.split(self.path)[::2]
        if not self.path.startswith("/") or re.search(r"[{}\s#]", "".join(literals)):
            rule = "must be a path such as /feed/{key}, with names in braces"
            raise ConfigError(f"{where}={text!r} {rule}")
        # Requests come with their paths decoded.
        self._literals = [unquote(literal) for literal in literals]
        self._pattern = re.compile(VALUE.join(map(re.escape, self._literals)))

    def values(self, path: str) -> dict[str, str] | None:
        """Return the value of each placeholder in *path*; None if *path* does not match."""
        found = self._pattern.fullmatch(path)
        return None if found is None else dict(zip(self.names, found.groups(), strict=True))

    def overlaps(self, other: "Template") -> bool:
        """Return whether some path matches both templates."""
        ours, theirs = self.segments, other.segments
        return len(ours) == len(theirs) and all(map(_meet, ours, theirs))

    @cached_property
    def segments(self) -> list[list[object]]:
        """The symbols of each segment: characters, and ANY and MORE for a placeholder."""
        # A placeholder never matches a slash, so paths can be compared segment by segment.
        symbols: list[object] = list(self._literals[0])
        for literal in self._literals[1:]:
            symbols += [ANY, MORE, *literal]
        segments: list[list[object]] = [[]]
        for symbol in symbols:
            if symbol == "/":
                segments.append([])
            else:
                segments[-1].append(symbol)
        return segments


def _meet(ours: list[object], theirs: list[object]) -> bool:
    """Return whether some text matches both lists of symbols: a search of their product automaton."""
    reached, open_ = {(0, 0)}, [(0, 0)]
    while open_:
        at = open_.pop()
        for following in _moves(ours, theirs, at=at):
            if following not in reached:
                reached.add(following)
                open_.append(following)
    return (len(ours), len(theirs)) in reached


def _moves(ours: list[object], theirs: list[object], *, at: tuple[int, int]) -> list[tuple[int, int]]:
    i, j = at
    a = ours[i] if i < len(ours) else None
    b = theirs[j] if j < len(theirs) else None
    moves = []
    if a is MORE:
        moves.append((i + 1, j))
    if b is MORE:
        moves.append((i, j + 1))
    if a is not None and b is not None and _fits(a, b):
        moves.append((i + (a is not MORE), j + (b is not MORE)))
    return moves


def _fits(a: object, b: object) -> bool:
    """Return whether some character matches both symbols."""
    return a is ANY or a is MORE or b is ANY or b is MORE or a == b
