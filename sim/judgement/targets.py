"""Targets: a metric and a statistic with two limits, the *target* line to meet and the *alert* line that pages on-call.

A verdict depends on the whole 95 % interval of an estimate: all of it on the good side of the target is PASS, all of it
between the lines is WARN, all of it beyond the alert line is ALERT. An interval that contains a line is INCONCLUSIVE.

A target can be of one route, and of the keys with the most requests, whose objects have the longest queues::

    [[targets]]
    metric = "api_latency_ms"
    quantile = 0.995
    route = "search"
    hottest_keys = 10
    target = 300
    alert = 600
    direction = "below"
    unit = "ms"
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE, Count, Positive, Table, nearest, validated
from sim.results.metrics import UPTIME, applies, metric_names, unit_of
from sim.scenario.platform import read_toml

if TYPE_CHECKING:
    import pandas as pd

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
    route: str | None = None
    """Only requests of this route; all without it."""
    hottest_keys: Count | None = None
    """Only requests of this many keys, those with the most requests; all without it."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        """Write ``quantile = 0.995`` as the statistic ``p995``."""
        if not isinstance(raw, dict) or "quantile" not in raw:
            return raw
        quantile = raw["quantile"]
        if "statistic" in raw:
            raise ValueError("must have a statistic or a quantile, not both")
        if isinstance(quantile, bool) or not isinstance(quantile, int | float) or not 0 < quantile < 1:
            raise ValueError(f"must have a quantile in (0, 1), not {quantile!r}")
        return {**{name: value for name, value in raw.items() if name != "quantile"}, "statistic": percentile(quantile)}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.alert - self.target) * (1 if self.direction == "below" else -1) < 0:
            raise ValueError(f"must have its alert line beyond its target: {self.alert:g} is not {self.direction}")
        if self.unit != (unit := unit_of(self.metric)):
            raise ValueError(f'must have unit="{unit}", that of {self.metric}, not "{self.unit}"')
        if (self.metric == UPTIME) != (self.statistic == "ratio"):
            raise ValueError("must have the statistic ratio for uptime_ratio, and for nothing else")
        if self.metric == UPTIME and self.scope:
            raise ValueError("must be of all requests for uptime_ratio: no route, no hottest_keys")
        return self

    @property
    def scope(self) -> str:
        """Which requests it is of, in words; empty for all."""
        parts = [f"of {self.route}"] if self.route else []
        parts += [f"of the {self.hottest_keys} hottest keys"] if self.hottest_keys else []
        return " ".join(parts)

    @property
    def measure(self) -> str:
        """The metric, with its scope."""
        return f"{self.metric} {self.scope}".strip()

    @property
    def name(self) -> str:
        """Metric, statistic and scope: ``api_latency_ms p99 of search``."""
        return f"{self.metric} {self.statistic} {self.scope}".strip()

    def select(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Return the requests of *frame* that the target is of."""
        if self.route is not None:
            frame = frame[frame["route"] == self.route]
        if self.hottest_keys is not None:
            counts = frame["key"].value_counts()
            # Ties by key, so that the same run always has the same hottest keys.
            hottest = sorted(counts.index, key=lambda key: (-counts[key], key))[: self.hottest_keys]
            frame = frame[frame["key"].isin(hottest)]
        return frame

    def applies(self, scenario: "Scenario") -> bool:
        """Whether some request of *scenario* can have its metric.

        Raises
        ------
        ScenarioError
            There is no such route, or its requests never have the metric.
        """
        if self.route is None:
            return applies(self.metric, scenario)
        if self.route not in scenario.routes:
            near = nearest(self.route, scenario.routes)
            raise ScenarioError(f'targets: route="{self.route}" is not a route of {scenario.name}; {near} ({PAGE})')
        if not applies(self.metric, scenario, route=self.route):
            having = [name for name in scenario.routes if applies(self.metric, scenario, route=name)]
            rule = f"has no {self.metric}: {', '.join(having)} of {scenario.name} {'have' if having[1:] else 'has'} it"
            never = f"has no {self.metric}, and no route of {scenario.name} has it"
            raise ScenarioError(f'targets: route="{self.route}" {rule if having else never} ({PAGE})')
        return True


def percentile(quantile: float) -> str:
    """Name a quantile as a statistic.

    >>> [percentile(quantile) for quantile in (0.5, 0.99, 0.995, 0.05)]
    ['p50', 'p99', 'p995', 'p05']
    """
    digits = f"{quantile:.12f}".partition(".")[2].rstrip("0")
    return f"p{digits if len(digits) > 1 else digits + '0'}"


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
    return [line for line in load_targets(scenario.targets_path) if line.applies(scenario)]


def left_out(scenario: "Scenario") -> list[Target]:
    """Return the scenario's targets whose metric applies to no route, which are not judged."""
    return [line for line in load_targets(scenario.targets_path) if not line.applies(scenario)]


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
