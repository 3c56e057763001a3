"""Loads far below the capacity: whether its targets hold there too, and from where on.

A highest load that keeps the targets says nothing about lower ones. Where few requests come, objects are evicted and
caches expire between them, so that a deployment may miss at its mean load what it keeps at its peak. So the mean of the
demand is played once, and a rung of the ladder that missed a target is played again as long as the answer's own probes:
a short probe that has not forgotten its start proves no miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim.experiments.root import crossing
from sim.judgement.judge import TargetRow, row_of
from sim.judgement.targets import Verdict
from sim.scenario.messages import message_share

if TYPE_CHECKING:
    from sim.experiments.long_runs import Stretch
    from sim.experiments.probe import Probe
    from sim.experiments.search import Search
    from sim.statistics.intervals import Estimate

NEAR_SHARE = 0.5
"""Above this share of the capacity a miss may be the capacity's own uncertainty."""

TOLERANCE_RATIO = 0.1
"""How near the loads between which the lower end is interpolated must come: it is said with "about"."""

MISSED = (Verdict.WARN, Verdict.ALERT)


@dataclass(frozen=True)
class JudgedLoad:
    """The targets at one load, judged on one run.

    Attributes
    ----------
    rate_per_s : float
        Of requests and messages on WebSockets together, as the capacity's.
    rows : tuple of TargetRow
        One per target that a model can estimate and that some request has.
    slower : str
        Column of the part whose mean time is furthest above that where the targets hold; empty if none is known.
    slower_ms, usual_ms, usual_per_s : float
        Mean time of a request in it, here and at the lowest load played that keeps all targets; and that load.
    messages_per_s : float
        The part of *rate_per_s* that are messages on WebSockets.
    """

    rate_per_s: float
    rows: tuple[TargetRow, ...]
    slower: str = ""
    slower_ms: float = 0.0
    usual_ms: float = 0.0
    usual_per_s: float = 0.0
    messages_per_s: float = 0.0

    def of(self, names: Sequence[str]) -> tuple[TargetRow, ...]:
        """Return the rows of these targets that are not met."""
        return tuple(row for row in self.rows if row.name in names and row.verdict != Verdict.PASS)

    def missed(self, names: Sequence[str]) -> tuple[TargetRow, ...]:
        """Return the rows of these targets that are missed for certain."""
        return tuple(row for row in self.of(names) if row.verdict in MISSED)


@dataclass(frozen=True)
class LowerLoads:
    """What loads below the capacity do to the targets that it keeps.

    Attributes
    ----------
    mean : JudgedLoad or None
        The demand's mean load; None without a demand, with arrivals that change, and where it is no lower load.
    missed_at : JudgedLoad or None
        The highest lower load that was found to miss one of them for certain; None if none was.
    holds_from_per_s : float or None
        About the rate from which on they hold, of one seed; None if no lower load misses one, or none above it keeps
        all of them.
    """

    mean: JudgedLoad | None = None
    missed_at: JudgedLoad | None = None
    holds_from_per_s: float | None = None


@dataclass(frozen=True)
class _Below:
    """The loads below *capacity* as *search* sees them."""

    search: "Search"
    ladder: Sequence["Probe"]
    capacity: "Estimate"
    stretch: "Stretch"

    def found(self) -> LowerLoads:
        mean = self._mean()
        missed = mean if mean is not None and self._misses(mean) else None
        missed = (
            self._rung(above_per_s=missed.rate_per_s * (1 + TOLERANCE_RATIO) if missed is not None else 0.0) or missed
        )
        keeping = None if missed is None else self._keeping(above=missed)
        return LowerLoads(
            None if mean is None else self._judged(mean, keeping),
            None if missed is None else self._judged(missed, keeping),
            None if missed is None or keeping is None else self._edge(missed, keeping),
        )

    def _mean(self) -> "Probe | None":
        """Play the demand's mean load once: its requests, and the messages that come with them, as in a capacity."""
        scenario = self.search.scenario
        requests_per_s = scenario.demand.mean_per_s if scenario.demand is not None and self.search.is_steady else None
        if requests_per_s is None:
            return None
        rate_per_s = requests_per_s * (1 + scenario.messages_per_request)
        return self.search.probe(rate_per_s, self.stretch) if rate_per_s < self.capacity.low else None

    def _rung(self, *, above_per_s: float) -> "Probe | None":
        """Return the highest rung far below the capacity that misses a target, and misses it in a longer probe too."""
        for rung in sorted(self._far, key=lambda probe: -probe.rate_per_s):
            if rung.rate_per_s > above_per_s and self._misses(rung):
                longer = self.search.probe(rung.rate_per_s, self.stretch)
                if self._misses(longer):
                    return longer
        return None

    def _keeping(self, *, above: "Probe") -> "Probe | None":
        """Return the lowest rung above a miss that keeps all targets for certain."""
        higher = [rung for rung in self._far if rung.rate_per_s > above.rate_per_s and self._keeps(rung)]
        return min(higher, key=lambda probe: probe.rate_per_s, default=None)

    def _edge(self, missed: "Probe", keeping: "Probe") -> float:
        """Interpolate the rate between the two; as a function of the time between requests the gap rises."""
        known = {1 / probe.rate_per_s: self.search.gap_of(probe) for probe in (missed, keeping)}
        gap_s = crossing(
            lambda between_s: self.search.gap(1 / between_s, self.stretch),
            1 / keeping.rate_per_s,
            tolerance_ratio=TOLERANCE_RATIO,
            known=known,
        )
        return 1 / gap_s

    @property
    def _far(self) -> "list[Probe]":
        return [rung for rung in self.ladder if rung.rate_per_s <= NEAR_SHARE * self.capacity.value]

    def _misses(self, probe: "Probe") -> bool:
        return any(verdict in MISSED for verdict in self._verdicts(probe))

    def _keeps(self, probe: "Probe") -> bool:
        return all(verdict is Verdict.PASS for verdict in self._verdicts(probe))

    def _verdicts(self, probe: "Probe") -> list[Verdict]:
        kept = [place for place, can in enumerate(self.search.keepable) if can]
        return [self.search.verdict(place, probe) for place in kept]

    def _judged(self, probe: "Probe", keeping: "Probe | None") -> JudgedLoad:
        pairs = zip(self.search.targets, probe.judged, strict=True)
        rows = tuple(row_of(line, found) for line, found in pairs if found is not None)
        usual = {} if keeping is None else keeping.part_ms
        more = {name: ms - usual[name] for name, ms in probe.part_ms.items() if name in usual}
        slower = max(more, key=lambda name: more[name], default="")
        messages_per_s = probe.rate_per_s * message_share(self.search.scenario)
        found = JudgedLoad(probe.rate_per_s, rows, messages_per_s=messages_per_s)
        if keeping is None or not slower or more[slower] <= 0:
            return found
        return replace(
            found,
            slower=slower,
            slower_ms=probe.part_ms[slower],
            usual_ms=usual[slower],
            usual_per_s=keeping.rate_per_s,
        )


def lower_loads(search: "Search", ladder: Sequence["Probe"], *, capacity: "Estimate", stretch: "Stretch") -> LowerLoads:
    """Judge the targets that *search* can keep at the demand's mean load and at the rungs that missed one.

    Parameters
    ----------
    search : Search
        The first seed's; it knows which targets can be kept.
    ladder : sequence of Probe
        Short probes from far below *capacity* up to it.
    capacity : Estimate
        The answer of the search.
    stretch : Stretch
        What a probe of the answer cuts and plays.
    """
    return _Below(search, ladder, capacity, stretch).found()
