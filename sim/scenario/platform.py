"""The provider's dated facts: limits, prices and measured times, each with its source and confidence.

A scenario does not say *the output gate takes 10 ms*; it refers to the fact
``durable_objects.performance.output_gate_flush_ms_low`` of a dated file, which names its source. A newer file replaces
the numbers without changing a scenario, and a result can list the low-confidence facts that it depends on.

Sources
-------
scenarios/platform/2026-11.toml, written once by scenarios/platform/generate.py.
"""

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import nearest

CONFIDENCE = {
    "O": "official: the provider's own documentation or source code",
    "S": "secondary: a third party's summary of an official statement",
    "M": "measured by a third party, one workload on one account",
    "W": "weak: a claim whose method is unclear",
    "C": "calibrated: fitted to a run of the deployment itself, with its interval",
    "D": "derived by arithmetic from facts that have a source",
    "A": "assumption: no source",
    "R": "recollection that no stored copy confirms",
}
"""Meaning of the confidence letters."""

LOW_CONFIDENCE = frozenset("WARM")
"""Letters of low confidence, of which a reader is warned; they include third-party measurements of one workload."""

_UNITS = {
    "ms": "ms",
    "us": "us",
    "s": "s",
    "seconds": "s",
    "min": "min",
    "minutes": "min",
    "hours": "h",
    "days": "d",
    "months": "month",
    "bytes": "bytes",
    "fraction": "fraction",
    "microusd": "microusd",
    "date": "date",
}
"""Units by the last part of a key's name."""

_QUALIFIED = re.compile(r"(?:_(?:low|high|min|max|mean|median|p50|p90|p95|p99))+$")


@dataclass(frozen=True)
class Fact:
    """One number of the platform.

    Attributes
    ----------
    key : str
        Dotted name, ``component.group.name``.
    value : int, float, str, bool, date or list
        In *unit*.
    unit : str
        ``ms``, ``bytes``, ``USD per million``, ...; ``1`` when it has none.
    source : str
        Page, file or person that it comes from.
    confidence : str
        A letter of :data:`CONFIDENCE`.
    note : str
        Further remarks from the source.
    """

    key: str
    value: Any
    unit: str
    source: str
    confidence: str
    note: str = ""

    @property
    def low_confidence(self) -> bool:
        """Whether a reader must be warned."""
        return self.confidence in LOW_CONFIDENCE


@dataclass(frozen=True)
class Platform:
    """All facts of one dated file.

    Attributes
    ----------
    path : Path
        The file.
    compiled : str
        Day on which the facts were collected, ``YYYY-MM-DD``.
    facts : mapping of str to Fact
        By dotted key.
    first_day : date or None
        Of the month that prices are for; None for the day of *compiled*.
    """

    path: Path
    compiled: str
    facts: Mapping[str, Fact]
    first_day: dt.date | None = None

    @property
    def day(self) -> dt.date:
        """The day that prices are for.

        Raises
        ------
        ScenarioError
            None was said, and *compiled* is no date.
        """
        if self.first_day is not None:
            return self.first_day
        try:
            return dt.date.fromisoformat(self.compiled)
        except ValueError:
            where = f"{self.path.name}: [meta] compiled"
            raise ScenarioError(f'{where}="{self.compiled}" must be a date (scenarios/README.md)') from None

    def fact(self, key: str) -> Fact:
        """Return the fact named *key*.

        Raises
        ------
        ScenarioError
            There is none; the message names the nearest.
        """
        if key in self.facts:
            return self.facts[key]
        near = nearest(key, self.facts)
        raise ScenarioError(f"platform:{key} is not in {self.path.name}; {near} (scenarios/README.md)")


def load_platform(path: str | Path) -> Platform:
    """Read a platform file.

    Parameters
    ----------
    path : str or Path
        A TOML file in which every fact is a table with ``value``, ``unit``, ``source`` and ``confidence``.

    Raises
    ------
    ScenarioError
        The file is missing, is not TOML, or holds a fact without a source.
    """
    path = Path(path)
    tables = read_toml(path)
    meta = tables.pop("meta", {})
    if not isinstance(meta, dict) or "compiled" not in meta:
        raise ScenarioError(f"{path}: [meta] compiled is missing (scenarios/README.md)")
    facts = {fact.key: fact for fact in _walk(tables, (), path)}
    return Platform(path, str(meta["compiled"]), facts)


def unit_of(name: str) -> str:
    """Return the unit at the end of a key's name, before qualifiers such as ``_low`` or ``_p99``; ``1`` without one.

    >>> unit_of("evict_idle_ms_min"), unit_of("bandwidth_bytes_per_s"), unit_of("shards")
    ('ms', 'bytes per s', '1')
    """
    stem = _QUALIFIED.sub("", name.rsplit(".", 1)[-1])
    rate = re.search(r"(?:([a-z]+)_)?per_(s|event|row|day)$", stem)
    if rate:
        counted = _UNITS.get(rate[1] or "", "")
        return f"{counted} per {rate[2]}".strip()
    return _UNITS.get(stem.rsplit("_", 1)[-1], "1")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ScenarioError
        The file cannot be read (missing, a folder, not UTF-8) or is not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScenarioError(f"{path} does not exist (scenarios/README.md)") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path} is not UTF-8 text, at byte {error.start}") from None
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path} is not TOML: {error} (scenarios/README.md)") from None


def _walk(table: dict[str, Any], parents: tuple[str, ...], path: Path) -> Iterator[Fact]:
    for name, entry in table.items():
        place = (*parents, name)
        if not isinstance(entry, dict):
            raise ScenarioError(f"{path}: {'.'.join(place)} must be a table with value, unit, source and confidence")
        if "value" in entry:
            yield _fact(entry, ".".join(place), path)
        else:
            yield from _walk(entry, place, path)


def _fact(entry: dict[str, Any], key: str, path: Path) -> Fact:
    missing = [part for part in ("unit", "source", "confidence") if not isinstance(entry.get(part), str)]
    if missing:
        raise ScenarioError(f"{path}: {key} needs {missing[0]} (scenarios/README.md)")
    if entry["confidence"] not in CONFIDENCE:
        letters = " ".join(CONFIDENCE)
        raise ScenarioError(f'{path}: {key}.confidence="{entry["confidence"]}" must be one of {letters}')
    note = str(entry.get("note", ""))
    return Fact(key, entry["value"], entry["unit"], entry["source"], entry["confidence"], note)
