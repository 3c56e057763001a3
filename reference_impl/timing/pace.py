"""The pace that the deployment is asked to keep: how long each stage takes, and how many fit in.

A pace file is the ``[system]`` part of a scenario as JSON, every reference resolved to a number,
with a ``seed``. Each law becomes a *tape*: an endless row of drawn values with a random stream of
its own, so that a change of one law moves no draw of another. :meth:`Pace.none` is full speed: no
stage waits for anything but its real work.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any
from zlib import crc32

import numpy as np

from reference_impl.errors import ConfigError
from reference_impl.timing.laws import Law, read_law

TAPE_CHUNK = 256
"""Values drawn at once: one call of numpy for many requests keeps the event loop idle."""


class Tape:
    """An endless row of values drawn from one law.

    Parameters
    ----------
    law
        The law; its unit is the unit of the values.
    rng
        The stream that only this tape draws from.
    """

    def __init__(self, law: Law, rng: np.random.Generator) -> None:
        self._law = law
        self._rng = rng
        self._drawn: list[float] = []

    def draw(self) -> float:
        """Return the next value."""
        if not self._drawn:
            self._drawn = self._law.sample(self._rng, TAPE_CHUNK).tolist()
            self._drawn.reverse()
        return self._drawn.pop()


@dataclass(frozen=True)
class NetworkPace:
    """The way between client and edge."""

    client_rtt_ms: Tape


@dataclass(frozen=True)
class TunnelPace:
    """The device tunnel: *streams* requests at once (None: no bound)."""

    overhead_ms: Tape
    streams: int | None
    response_limit_bytes: int


@dataclass(frozen=True)
class WorkersPace:
    """The isolates: *isolates* requests use a CPU at once (None: no bound)."""

    isolates: int | None
    cpu_ms: Tape
    cold_start_ms: Tape
    cold_fraction: float
    chance: Tape
    retry_chance: Tape


@dataclass(frozen=True)
class DurableObjectsPace:
    """The stateful objects; *shards* None gives every organisation its own object."""

    shards: int | None
    rtt_ms: Tape
    cold_start_ms: Tape
    evict_idle_ms: float
    output_gate_ms: Tape
    queue_limit: int | None


@dataclass(frozen=True)
class LedgerPace:
    """The ledger inside an object."""

    policy: str
    write_ms: Tape
    read_ms: Tape
    append_us_per_event: float
    event_bytes: int | None
    flush_interval_s: float
    flush_row_us: float
    flush_chunk_rows: int


@dataclass(frozen=True)
class D1Pace:
    """The database, which answers one query at a time."""

    rtt_ms: Tape
    read_ms: Tape
    write_ms: Tape
    queue_limit: int | None


@dataclass(frozen=True)
class R2Pace:
    """The object store; *bandwidth_bytes_per_s* infinite adds no time for size."""

    put_ms: Tape
    get_ms: Tape
    bandwidth_bytes_per_s: float


@dataclass(frozen=True)
class Pace:
    """One section a component; *is_paced* is False at full speed."""

    is_paced: bool
    network: NetworkPace
    tunnel: TunnelPace
    workers: WorkersPace
    durable_objects: DurableObjectsPace
    ledger: LedgerPace
    d1: D1Pace
    r2: R2Pace

    @classmethod
    def none(cls, *, policy: str = "hardened") -> "Pace":
        """Full speed, with the ledger *policy* given."""
        return cls.from_mapping({"seed": 0, "ledger": {"policy": policy}}, is_paced=False)

    @classmethod
    def from_json(cls, text: str) -> "Pace":
        """Read a pace file.

        Raises
        ------
        ConfigError
            If the text is no JSON object, or a key or value breaks its rule.
        """
        try:
            spec = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the pace file is no JSON: {error}") from None
        if not isinstance(spec, dict):
            raise ConfigError(f"the pace file holds a {type(spec).__name__}; it must be an object")
        return cls.from_mapping(spec)

    @classmethod
    def from_mapping(cls, spec: Mapping[str, Any], *, is_paced: bool = True) -> "Pace":
        """Build a pace from the sections of a pace file."""
        seed = spec.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"seed={seed!r} must be a whole number >= 0")
        # The client's time-outs and retries are the caller's own business.
        others = {"seed", "client"}
        _refuse_unknown(set(spec), {*_SECTIONS, *others}, "the pace file")
        parts: dict[str, Any] = {}
        for name, build in _SECTIONS.items():
            section = _Section(name, spec.get(name, {}), seed)
            parts[name] = build(section)
            section.close()
        return cls(is_paced=is_paced, **parts)


class _Section:
    """One table of the pace file, read key by key; what nobody read is an error."""

    def __init__(self, name: str, table: object, seed: int) -> None:
        if not isinstance(table, Mapping):
            raise ConfigError(f"{name}={table!r} must be a table")
        self._name = name
        self._table = table
        self._seed = seed
        self._known: set[str] = set()

    def tape(self, key: str) -> Tape:
        """Return the tape of the law at *key*; absent means no time at all."""
        return Tape(read_law(self._take(key, 0), self._path(key)), self._rng(key))

    def chance(self, key: str) -> Tape:
        """Return a tape of uniform numbers in (0, 1), for a decision called *key*."""
        uniform = Law("uniform", {"low": 0.0, "high": 1.0})
        return Tape(uniform, self._rng(key))

    def count(self, key: str, *, at_least: int = 1) -> int | None:
        """Return the whole number at *key*; None, if absent, means no bound."""
        value = self._take(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ConfigError(f"{self._path(key)}={value!r} must be a whole number >= {at_least}")
        return value

    def number(self, key: str, default: float, *, at_most: float = math.inf) -> float:
        """Return the number at *key*, at least 0."""
        value = self._take(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= at_most:
            raise ConfigError(f"{self._path(key)}={value!r} must be a number in 0..{at_most:g}")
        return float(value)

    def choice(self, key: str, default: str, *, choices: tuple[str, ...]) -> str:
        """Return the word at *key*."""
        value = self._take(key, default)
        if value not in choices:
            raise ConfigError(f"{self._path(key)}={value!r} must be one of {', '.join(choices)}")
        return str(value)

    def shards(self, key: str) -> int | None:
        """Return a number of objects, or None for one object an organisation."""
        if self._table.get(key, "per_org") == "per_org":
            self._known.add(key)
            return None
        return self.count(key)

    def close(self) -> None:
        """Refuse the keys that no rule knows."""
        _refuse_unknown(set(self._table), self._known, self._name)

    def _take(self, key: str, default: object) -> Any:
        self._known.add(key)
        return self._table.get(key, default)

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}"

    def _rng(self, key: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, crc32(self._path(key).encode())])


def _refuse_unknown(found: set[str], known: set[str], where: str) -> None:
    for key in islice(sorted(found - known), 1):
        nearest = get_close_matches(key, known, n=1) or [", ".join(sorted(known))]
        raise ConfigError(f"{where} has an unknown key {key!r}; did you mean {nearest[0]}?")


def _network(section: _Section) -> NetworkPace:
    return NetworkPace(client_rtt_ms=section.tape("client_rtt_ms"))


def _tunnel(section: _Section) -> TunnelPace:
    return TunnelPace(
        overhead_ms=section.tape("overhead_ms"),
        streams=section.count("streams"),
        response_limit_bytes=section.count("response_limit_bytes") or RESPONSE_LIMIT_BYTES,
    )


def _workers(section: _Section) -> WorkersPace:
    return WorkersPace(
        isolates=section.count("isolates"),
        cpu_ms=section.tape("cpu_ms"),
        cold_start_ms=section.tape("cold_start_ms"),
        cold_fraction=section.number("cold_fraction", 0, at_most=1),
        chance=section.chance("cold_fraction"),
        retry_chance=section.chance("retry"),
    )


def _durable_objects(section: _Section) -> DurableObjectsPace:
    return DurableObjectsPace(
        shards=section.shards("shards"),
        rtt_ms=section.tape("rtt_ms"),
        cold_start_ms=section.tape("cold_start_ms"),
        evict_idle_ms=section.number("evict_idle_ms", EVICT_IDLE_MS),
        output_gate_ms=section.tape("output_gate_ms"),
        queue_limit=section.count("queue_limit", at_least=0),
    )


def _ledger(section: _Section) -> LedgerPace:
    return LedgerPace(
        policy=section.choice("policy", "hardened", choices=("seed", "hardened")),
        write_ms=section.tape("write_ms"),
        read_ms=section.tape("read_ms"),
        append_us_per_event=section.number("append_us_per_event", 0),
        event_bytes=section.count("event_bytes"),
        flush_interval_s=section.number("flush_interval_s", FLUSH_INTERVAL_S),
        flush_row_us=section.number("flush_row_us", 0),
        flush_chunk_rows=section.count("flush_chunk_rows") or FLUSH_CHUNK_ROWS,
    )


def _d1(section: _Section) -> D1Pace:
    return D1Pace(
        rtt_ms=section.tape("rtt_ms"),
        read_ms=section.tape("read_ms"),
        write_ms=section.tape("write_ms"),
        queue_limit=section.count("queue_limit", at_least=0),
    )


def _r2(section: _Section) -> R2Pace:
    return R2Pace(
        put_ms=section.tape("put_ms"),
        get_ms=section.tape("get_ms"),
        bandwidth_bytes_per_s=section.number("bandwidth_bytes_per_s", math.inf) or math.inf,
    )


RESPONSE_LIMIT_BYTES = 1_048_576
"""The most that one answer through the tunnel may have (the brief's tunnel reads 1 MiB)."""
EVICT_IDLE_MS = 70_000.0
"""Idle time after which an object leaves memory (Durable Objects lifecycle: 70 to 140 s)."""
FLUSH_INTERVAL_S = 60.0
"""Time from the first pending event to the flush, where the pace file names none."""
FLUSH_CHUNK_ROWS = 500
"""Events flushed while the object is held once, where the pace file names no number."""

_SECTIONS = {
    "network": _network,
    "tunnel": _tunnel,
    "workers": _workers,
    "durable_objects": _durable_objects,
    "ledger": _ledger,
    "d1": _d1,
    "r2": _r2,
}
