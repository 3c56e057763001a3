"""Times and conditions: how long a step takes and which path is taken, evaluated when the step is reached."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from sim.flow.parts import Finite, Name, NaturalNumber, NotNegative, Real, Share, Whole, kind, part
from sim.flow.state import ATTRIBUTES, Attribute, Bucket, Counter, Stamp, Station
from sim.flow.windows import Pace, Windows
from sim.foundation.errors import ModelError
from sim.randomness.distributions import AnyDistribution, Constant


@part
class Time:
    """A duration in ms: ``scale * distribution + each_ms * (value of *of*)``.

    *of* is a counter, read when the time begins to run (at most *at_most* of it), or an attribute of the request. In
    the windows of *paces* the time runs more slowly, or stands still.

    With *since*, the time began when that stamp was set, and what is left of it is taken: 0 if all of it has passed.
    """

    distribution: Annotated[AnyDistribution, kind("a distribution")]
    scale: NotNegative = 1.0
    each_ms: NotNegative = 0.0
    of: Annotated[Counter | Attribute | None, kind(f"a Counter or one of {ATTRIBUTES}")] = None
    at_most: NaturalNumber | None = None
    paces: Annotated[tuple[Pace, ...], kind("a tuple of Pace")] = ()
    since: Stamp | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.of is not None:
            raise ModelError(f"Time.since={self.since.name!r} must not stand beside of: a time grows, or it has begun")


Duration = Annotated[AnyDistribution | Time, kind("a distribution or Time")]
"""The time of a step."""

ZERO = Time(Constant(value=0.0))
"""Zero time: the base of a time that consists only of what it grows with."""


@part
class Chance:
    """True with *probability*; ``shared`` conditions use the same random number."""

    probability: Share
    stream: Name
    shared: bool = field(default=False, kw_only=True)


@part
class Idle:
    """True when the request's instance of *station* was never used, or was idle for more than *longer_than_ms*.

    Evaluate it inside a :class:`Hold` of the station: it considers the time between the last release and the start of
    this hold.
    """

    station: Station
    longer_than_ms: Annotated[Real, Field(ge=0)]

    def __post_init__(self) -> None:
        refuse_sharing(self, self.station)


@part
class Waiting:
    """True when at least *at_least* requests wait at the request's instance of *station*."""

    station: Station
    at_least: Whole


@part
class CountAtLeast:
    """True when the request's instance of *counter* stands at *at_least* or more."""

    counter: Counter
    at_least: Finite


@part
class AttributeOver:
    """True when the request's *attribute* is greater than *limit*."""

    attribute: Attribute
    limit: Finite


@part
class During:
    """True from *start_ms* (included) to *end_ms* (excluded) of the clock: an outage window."""

    start_ms: Finite
    end_ms: Real

    def __post_init__(self) -> None:
        if not self.end_ms >= self.start_ms:
            raise ModelError(f"During.end_ms={self.end_ms} must be >= start_ms={self.start_ms}")


@part
class Within:
    """True when *windows* are open for the request's key: the windows of a fault."""

    windows: Windows


@part
class Drained:
    """Takes a token from *bucket*; true when the bucket was empty."""

    bucket: Bucket


Condition = Chance | Idle | Waiting | CountAtLeast | AttributeOver | During | Within | Drained


def refuse_sharing(reader: object, station: Station) -> None:
    """Refuse a part that needs a dedicated server at a processor-sharing station.

    Raises
    ------
    ModelError
        The station shares its servers.
    """
    if station.discipline == "ps":
        raise ModelError(
            f"{type(reader).__name__}(station={station.name!r}) must not hold a processor-sharing station; use Serve"
        )
