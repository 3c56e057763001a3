"""Validated access to the tables of a configuration.

A reader reads the keys of a :class:`Table` one by one and then closes it. An invalid value, and
a key that was never read, raises a :class:`~reference_impl.errors.ConfigError` whose one line states the
value, the rule and the remedy.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from reference_impl.errors import ConfigError
from reference_impl.timing.distributions import read_distribution
from reference_impl.timing.tape import UNIFORM, Tape, stream

Read = TypeVar("Read")
SHOWN_CHARACTERS = 80
NEAR_RATIO = 0.45
"""Similarity from which a known word is suggested for an unknown one: d1 for d2."""
PER_KEY = "per_key"
"""The value of ``shards`` that gives every key its own object."""


class Table:
    """One table of a configuration.

    Parameters
    ----------
    path
        Its path, for messages: ``system.archive``; empty for the whole file.
    entries
        Its keys and values.
    name
        Prefix of the names of its random-number streams, such as ``archive.read_ms``.
    seed
        Seed of these streams.

    Raises
    ------
    ConfigError
        If *entries* is not a table.
    """

    def __init__(self, path: str, entries: object, *, name: str = "", seed: int = 0) -> None:
        if not isinstance(entries, Mapping):
            raise ConfigError(f"{path or 'the deployment file'}={shown(entries)} must be a table")
        self.path = path
        self.name = name or path
        self.seed = seed
        self._entries = entries
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._known.add(key)
        return self._entries.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def where(self, key: str) -> str:
        """Return the path of *key*, for messages."""
        return f"{self.path}.{key}" if self.path else key

    # --- values ------------------------------------------------------------------------------

    def tape(self, key: str) -> Tape:
        """Return the tape of the distribution at *key*; an absent one is always 0."""
        distribution = read_distribution(self.take(key, 0), self.where(key))
        return Tape(distribution, self._stream(key), stream=f"{self.name}.{key.removesuffix('_ms')}")

    def chance(self, key: str) -> Tape:
        """Return a tape of uniform random numbers in (0, 1) for the decision *key*, which is not a key of the file."""
        return Tape(UNIFORM, self._stream(key), stream=f"{self.name}.{key}")

    def whole(self, key: str, default: int, *, at_least: int = 0, at_most: int | None = None) -> int:
        """Return the whole number at *key*."""
        value = self.count(key, at_least=at_least, at_most=at_most)
        return default if value is None else value

    def count(
        self, key: str, *, at_least: int = 1, at_most: int | None = None, or_word: str | None = None
    ) -> int | None:
        """Return the whole number at *key*, or None if it is absent or the word *or_word*."""
        value = self.take(key, None)
        if value is None or (or_word is not None and value == or_word):
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            other = f" or {or_word!r}" if or_word else ""
            raise ConfigError(f"{self.where(key)}={shown(value)} must be a whole number >= {at_least}{other}")
        if at_most is not None and value > at_most:
            raise ConfigError(f"{self.where(key)}={shown(value)} must be a whole number <= {at_most}")
        return value

    def number(self, key: str, default: float, *, at_least: float = 0, at_most: float = math.inf) -> float:
        """Return the number at *key*, by default at least 0."""
        value = self.take(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not at_least <= value <= at_most:
            raise ConfigError(f"{self.where(key)}={shown(value)} must be a number in {at_least:g}..{at_most:g}")
        return float(value)

    def duration_ms(self, key: str) -> float | None:
        """Return the duration at *key*, > 0, or None if it is absent."""
        if self.take(key, None) is None:
            return None
        value = self.number(key, 0)
        if not 0 < value < math.inf:
            raise ConfigError(f"{self.where(key)}={value:g} must be a time > 0")
        return value

    def text(self, key: str, default: str) -> str:
        """Return the text at *key*."""
        value = self.take(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.where(key)}={shown(value)} must be a text")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return whether *key* is true."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where(key)}={shown(value)} must be true or false")
        return value

    def choice(self, key: str, default: str, *, choices: Sequence[str]) -> str:
        """Return the word at *key*, one of *choices*."""
        value = self.take(key, default)
        if value not in choices:
            raise ConfigError(f"{self.where(key)}={shown(value)} must be one of {', '.join(choices)}")
        return str(value)

    def shards(self, key: str) -> int | None:
        """Return the number of objects at *key*, or None if every key has its own."""
        if self.take(key, PER_KEY) == PER_KEY:
            return None
        return self.count(key)

    def table(self, key: str, *, name: str = "") -> "Table":
        """Return the table at *key*; an absent one is empty."""
        return Table(self.where(key), self.take(key, {}), name=name or self.where(key), seed=self.seed)

    def tables(self, key: str) -> "list[Table]":
        """Return the tables of the list at *key*, which has at least one."""
        value = self.take(key, None)
        if not isinstance(value, list) or not value:
            raise ConfigError(f"{self.where(key)}={shown(value)} must be a list of at least one table")
        return [Table(f"{self.where(key)}[{n}]", entries, seed=self.seed) for n, entries in enumerate(value)]

    def take(self, key: str, default: object) -> Any:
        """Return the value at *key* unchecked; null counts as absent."""
        self._known.add(key)
        value = self._entries.get(key)
        return default if value is None else value

    def close(self) -> None:
        """Refuse keys that were never read."""
        for key in sorted(set(self._entries) - self._known):
            where = self.path or "the deployment file"
            raise ConfigError(f"{where} has an unknown key {shown(key)}; {nearest(key, self._known)}")

    def _stream(self, key: str) -> Any:
        return stream(self.seed, f"{self.name}.{key}")


def read_table(read: Callable[[Table], Read], table: Table) -> Read:
    """Return the result of *read*, and refuse keys of *table* that it did not read."""
    value = read(table)
    table.close()
    return value


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown *word*: the nearest known word, or all of them."""
    words = sorted(known)
    close = get_close_matches(word, words, n=1, cutoff=NEAR_RATIO)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(words)}" if words else "there is none"


def shown(value: object) -> str:
    """Return *value* for a message: on one line and not too long."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
