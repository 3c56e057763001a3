"""How long a step takes, and which way it goes: times and conditions that a step reads when its turn comes."""

from dataclasses import dataclass, field

from sim.errors import ModelError
from sim.flow.state import Attribute, Bucket, Counter, Station, at_least, not_negative, number
from sim.randomness.distributions import AnyLaw, Constant


@dataclass(frozen=True)
class Time:
    """A duration in ms: ``scale * law + each_ms * (how many of *of*)``.

    *of* is a counter, read when the time begins to run (at most *at_most* of it), or an attribute of the request.
    """

    law: AnyLaw
    scale: float = 1.0
    each_ms: float = 0.0
    of: Counter | Attribute | None = None
    at_most: int | None = None

    def __post_init__(self) -> None:
        not_negative(self, "scale")
        not_negative(self, "each_ms")
        if self.at_most is not None:
            at_least(self, "at_most", low=0)


ZERO = Time(Constant(value=0.0))
"""No time at all; the base of a time that only grows with a counter."""


@dataclass(frozen=True)
class Chance:
    """True with *probability*; conditions that are ``shared`` toss the same coin."""

    probability: float
    stream: str
    shared: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= number(self, "probability") <= 1:
            raise ModelError(f"probability={self.probability} must be between 0 and 1 ({self.stream})")


@dataclass(frozen=True)
class Idle:
    """True when the request's instance of *station* was never used, or had no one in service for *longer_than_ms*.

    Read it inside a :class:`Hold` of the station: it looks at the time between the last release and the start of this
    hold.
    """

    station: Station
    longer_than_ms: float

    def __post_init__(self) -> None:
        at_least(self, "longer_than_ms", low=0)


@dataclass(frozen=True)
class Waiting:
    """True when at least *at_least* requests wait at the request's instance of *station*."""

    station: Station
    at_least: int


@dataclass(frozen=True)
class CountAtLeast:
    """True when the request's instance of *counter* stands at *at_least* or more."""

    counter: Counter
    at_least: float


@dataclass(frozen=True)
class AttributeOver:
    """True when the request's *attribute* is greater than *limit*."""

    attribute: Attribute
    limit: float


@dataclass(frozen=True)
class During:
    """True from *start_ms* (included) to *end_ms* (excluded) of the clock: an outage window."""

    start_ms: float
    end_ms: float

    def __post_init__(self) -> None:
        at_least(self, "end_ms", low=number(self, "start_ms"))


@dataclass(frozen=True)
class Drained:
    """Takes a token from *bucket*; true when there was none to take."""

    bucket: Bucket


Condition = Chance | Idle | Waiting | CountAtLeast | AttributeOver | During | Drained
