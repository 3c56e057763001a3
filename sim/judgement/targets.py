"""Targets: a metric and a statistic with two limits, the *target* line to meet and the *alert* line that pages on-call.

A verdict depends on the whole 95 % interval of an estimate: all of it on the good side of the target is PASS, all of it
between the lines is WARN, all of it beyond the alert line is ALERT. An interval that contains a line is INCONCLUSIVE.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sim.results.metrics import UPTIME, applies, metric_names
from sim.scenario.platform import read_toml
from sim.schema import Positive, Table, nearest, validated

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario


class Verdict(StrEnum):
    """The verdict of an interval against the two lines of a target; INVALID when the measurement itself is invalid."""

    PASS = "PASS"  # noqa: S105  # no password
    WARN = "WARN"
    ALERT = "ALERT"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


def _known(metric: str) -> str:
    if metric not in metric_names():
        raise ValueError(f"is not a metric; {nearest(metric, metric_names())}")
    return metric


class Target(Table):
    """One row of a file of targets."""

    metric: Annotated[str, AfterValidator(_known)]
    """The metric: ``api_latency_ms``, ``uptime_ratio``, or a metric of a component."""
    statistic: Annotated[str, Field(pattern=r"^(mean|ratio|p[1-9]\d*|p0\d*[1-9])$")]
    """``p50``, ``p99``, ``p999``, ``mean``; ``ratio`` for the uptime."""
    target: Positive
    """The target line, to be met."""
    alert: Positive
    """The alert line, beyond which on-call is paged."""
    direction: Literal["below", "above"]
    """The good side of both lines."""
    unit: str
    """Unit of both lines; ``1`` for a ratio."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.alert - self.target) * (1 if self.direction == "below" else -1) < 0:
            raise ValueError(f"must have its alert line beyond its target: {self.alert:g} is not {self.direction}")
        if (self.metric == UPTIME) != (self.statistic == "ratio"):
            raise ValueError("must have the statistic ratio for uptime_ratio, and for nothing else")
        return self


class _File(Table):
    """A file of targets."""

    schema_version: Literal[1] = 1
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]


def load_targets(path: str | Path) -> tuple[Target, ...]:
    """Read a file of targets.

    Raises
    ------
    ScenarioError
        The file is missing, is not TOML, or breaks a rule; the message says which in one line.
    """
    return validated(_File, read_toml(Path(path))).targets


def targets_of(scenario: "Scenario") -> list[Target]:
    """Return the scenario's targets whose metric applies to some route."""
    return [line for line in load_targets(scenario.targets_path) if applies(line.metric, scenario)]


def left_out(scenario: "Scenario") -> list[Target]:
    """Return the scenario's targets whose metric applies to no route, which are not judged."""
    return [line for line in load_targets(scenario.targets_path) if not applies(line.metric, scenario)]


def decide(low: float, high: float, *, line: Target) -> Verdict:
    """Return the verdict of an interval against the two lines of *line*.

    >>> from types import SimpleNamespace
    >>> p99 = SimpleNamespace(target=200.0, alert=500.0, direction="below")
    >>> [str(decide(low, high, line=p99)) for low, high in ((150, 180), (180, 210), (210, 400), (510, 900))]
    ['PASS', 'INCONCLUSIVE', 'WARN', 'ALERT']
    """
    sign = 1.0 if line.direction == "below" else -1.0
    best, worst = sorted((sign * low, sign * high))
    target, alert = sign * line.target, sign * line.alert
    if worst <= target:
        return Verdict.PASS
    if best > alert:
        return Verdict.ALERT
    if best > target and worst <= alert:
        return Verdict.WARN
    return Verdict.INCONCLUSIVE
