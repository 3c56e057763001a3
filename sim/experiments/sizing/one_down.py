"""N + 1: the load that is kept when one of several equal parts is down and the others do its work.

The capacity is searched twice with the same seeds, with all parts and with one less; keys are then spread over the rest
(key modulo n - 1), as after a failover. How the change itself is felt is another question: ``scenarios/drills/`` has a
shard that is lost for a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sim.experiments.capacity import Capacity, capacity
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.scenario.generation import mean_rate_per_s
from sim.screening import screen

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.statistics.intervals import Estimate

COUNTS = ("shards", "isolates", "servers")
"""Keys that say how many equal parts an instance has."""

SEEDS = 5


@dataclass(frozen=True)
class OneDown(Shown):
    """What is kept with one part down.

    Attributes
    ----------
    scenario : Scenario
    path : str
        Of the number of parts.
    parts : int
        All of them.
    whole, less : Capacity
        With all parts, and with one less.
    wanted_per_s : float
        The scenario's own rate.
    """

    scenario: "Scenario"
    path: str
    parts: int
    whole: Capacity
    less: Capacity
    wanted_per_s: float

    @property
    def kept_share(self) -> float:
        """Share of the capacity that is left."""
        return self.less.estimate.value / self.whole.estimate.value

    @property
    def left(self) -> "Estimate":
        """Highest rate with one part down."""
        return self.less.estimate

    @property
    def verdict(self) -> Literal["kept", "not kept", "not settled"]:
        """Whether the scenario's own rate is kept with one part down: by the whole interval, or not settled."""
        if self.left.low >= self.wanted_per_s:
            return "kept"
        return "not kept" if self.left.high < self.wanted_per_s else "not settled"

    def __repr__(self) -> str:
        return (
            f"<OneDown {self.scenario.name}: {self.wanted_per_s:.4g}/s {self.verdict} with {self.parts - 1} of "
            f"{self.parts} ({self.path}), up to {self.left.value:.4g}/s>"
        )


def one_down(
    scenario: "Scenario",
    path: str | None = None,
    *,
    seeds: int = SEEDS,
    on_progress: Callable[[str], None] | None = None,
) -> OneDown:
    """Search the capacity of *scenario* with all of its parts, and with one of them less.

    Parameters
    ----------
    scenario : Scenario
    path : str, optional
        Dotted path of a number of parts; by default that of the station which by arithmetic sustains least.
    seeds : int
        Of each search; at least 2.
    on_progress : callable, optional

    Raises
    ------
    UsageError
        Nothing in the scenario is counted, or there is only one of it.
    """
    path = _narrowest(scenario) if path is None else path
    count = _count(scenario, path)
    if not isinstance(count, int) or count < 2:
        raise UsageError(f"{path}={count!r} must be a number >= 2: one of one is all of it (--set {path}=16)")
    less = scenario.with_(**{path: count - 1})
    found = [capacity(one, seeds=seeds, on_progress=on_progress) for one in (scenario, less)]
    return OneDown(scenario, path, count, found[0], found[1], mean_rate_per_s(scenario))


def _count(scenario: "Scenario", path: str) -> object:
    _, _, rest = path.partition("system.")
    name, _, key = rest.partition(".")
    known = _counted(scenario)
    if path not in known:
        raise UsageError(f"path={path!r} must be one of {', '.join(sorted(known)) or 'none: nothing here is counted'}")
    count: object = getattr(scenario.system[name], key)
    return count


def _counted(scenario: "Scenario") -> dict[str, str]:
    """Return the paths of numbers of equal parts, with the instance of each."""
    fields = {one.name: type(one.table).model_fields for one in scenario.met}
    return {f"system.{name}.{key}": name for name, known in fields.items() for key in COUNTS if key in known}


def _narrowest(scenario: "Scenario") -> str:
    bounds = {row.station: row.rate_per_s_max for row in screen(scenario).rows}
    places = _counted(scenario)
    several = [
        path for path in places if isinstance(count := _count(scenario, path), int) and not isinstance(count, bool)
    ]
    if not several:
        named = ", ".join(places) or "no part that is counted"
        raise UsageError(
            f"{scenario.name} has no number of equal parts to lose one of ({named}): set one, for example 16"
        )
    return min(several, key=lambda path: bounds.get(places[path], float("inf")))
