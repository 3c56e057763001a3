"""Windows of time in which something differs: when a fault is active, for which keys, and how fast work goes on."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field

from sim.flow.parts import Finite, Name, NaturalNumber, NotNegative, Positive, kind, part
from sim.foundation.errors import ModelError
from sim.randomness.distributions import Exponential
from sim.randomness.streams import stream_key, uniforms

SPANS_MAX = 10_000
"""Most windows of one alternating renewal process: each costs time in every step that it affects."""

Part = TypeVar("Part")


@part
class Renewal:
    """An alternating renewal process: exponential times between windows, and exponential lengths, up to *until_ms*.

    The first window starts *mean_between_ms* (on average) after *start_ms*; a window is cut at *until_ms*.
    """

    stream: Name
    mean_between_ms: Positive
    mean_length_ms: Positive
    until_ms: Positive
    start_ms: NotNegative = 0.0


@part
class Windows:
    """Spans of time, ``(start_ms, end_ms)`` with the start included and the end not, for some keys or for all.

    Attributes
    ----------
    spans : tuple of (float, float)
        Sorted, without overlap.
    keys : tuple of int
        Sorted; a request is affected if its key modulo *instances* is among them. Empty: every request is.
    instances : int
        0 takes the key as it is.
    random : Renewal or None
        Process that the spans are drawn from when a run starts; *spans* must then be empty.
    """

    spans: Annotated[tuple[tuple[Finite, Finite], ...], kind("a tuple of pairs (start_ms, end_ms)")] = ()
    keys: Annotated[tuple[NaturalNumber, ...], kind("a tuple of whole numbers >= 0")] = ()
    instances: NaturalNumber = 0
    random: Renewal | None = None

    def __post_init__(self) -> None:
        flat = [edge for span in self.spans for edge in span]
        if flat != sorted(flat):
            raise ModelError(f"Windows.spans={self.spans} must be sorted, without overlap, and end after they start")
        if self.random is not None and self.spans:
            raise ModelError("Windows.spans must be empty beside random, which they are drawn from")

    def concern(self, key: int) -> bool:
        """Return whether a request with *key* is affected."""
        return not self.keys or (key % self.instances if self.instances else key) in self.keys

    def open_at(self, now_ms: float) -> bool:
        """Return whether *now_ms* lies in a span."""
        return any(start_ms <= now_ms < end_ms for start_ms, end_ms in self.spans)


@part
class Pace:
    """Work proceeds at *speed* during *windows*: 0 stands still, 0.1 takes ten times as long, 1 is unaffected."""

    windows: Windows
    speed: Annotated[float, Field(ge=0, le=1)]


def settled(flow: Any, seed: int) -> Any:
    """Return *flow* with the spans of all random windows drawn; parts that do not change are the same objects.

    Parameters
    ----------
    flow : Flow
    seed : int
    """
    known: dict[int, tuple[Any, Any]] = {}

    def visit(value: Any) -> Any:
        if isinstance(value, Windows):
            return value if value.random is None else replace(value, spans=drawn(value.random, seed), random=None)
        if isinstance(value, tuple):
            changed = tuple(visit(item) for item in value)
            return value if all(one is other for one, other in zip(value, changed, strict=True)) else changed
        if not is_dataclass(value) or isinstance(value, type):
            return value
        # A step that several routes share must be one object afterwards, too.
        if id(value) not in known:
            new = {field.name: visit(getattr(value, field.name)) for field in fields(value)}
            differ = {name: item for name, item in new.items() if item is not getattr(value, name)}
            known[id(value)] = value, (replace(value, **differ) if differ else value)
        return known[id(value)][1]

    return visit(flow) if any(part.random is not None for part in _windows(flow)) else flow


def drawn(process: Renewal, seed: int) -> tuple[tuple[float, float], ...]:
    """Draw the spans of *process*.

    Raises
    ------
    ModelError
        There are more than :data:`SPANS_MAX`.
    """
    key, now_ms = stream_key(seed, process.stream), process.start_ms
    spans: list[tuple[float, float]] = []
    for block in range(0, SPANS_MAX, 256):
        index = np.arange(block, block + 256, dtype=np.int64)
        gaps = Exponential(mean=process.mean_between_ms).sample(uniforms(key, index)[np.newaxis])
        lengths = Exponential(mean=process.mean_length_ms).sample(uniforms(key, index, draw=1)[np.newaxis])
        for gap_ms, length_ms in zip(gaps.tolist(), lengths.tolist(), strict=True):
            start_ms = now_ms + gap_ms
            if start_ms >= process.until_ms:
                return tuple(spans)
            now_ms = min(start_ms + length_ms, process.until_ms)
            spans.append((start_ms, now_ms))
    raise ModelError(f"Renewal({process.stream!r}) makes more than {SPANS_MAX} windows; make them rarer")


def _windows(part: Any) -> Iterator[Windows]:
    """Yield all windows in a part."""
    if isinstance(part, Windows):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from _windows(item)
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _windows(getattr(part, field.name))


def paced_ms(now_ms: float, work_ms: float, *, paces: list[tuple[float, float, float]]) -> float:
    """Return how long *work_ms* takes from *now_ms* on, when speeds change; speeds of overlapping spans multiply.

    Parameters
    ----------
    now_ms, work_ms : float
    paces : list of (start_ms, end_ms, speed)
        Spans in any order. Work that starts while the speed is 0 waits for the end of that, even if it takes no time.
    """
    at_ms, left_ms = now_ms, work_ms
    while True:
        speed, change_ms = 1.0, float("inf")
        for start_ms, end_ms, factor in paces:
            if start_ms <= at_ms < end_ms:
                speed *= factor
                change_ms = min(change_ms, end_ms)
            elif at_ms < start_ms:
                change_ms = min(change_ms, start_ms)
        if speed > 0.0:
            needed_ms = left_ms / speed
            if at_ms + needed_ms <= change_ms:
                return (at_ms - now_ms) + needed_ms
            left_ms = max(0.0, left_ms - (change_ms - at_ms) * speed)
        at_ms = change_ms
