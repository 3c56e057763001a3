"""The main job: one scenario simulated, played on the embedded reference, compared, judged, priced.

The model says how the deployment would do, over more requests than anyone could send. The reference says whether the
model may be believed: a stretch of the same schedule is played on it in real time, the model plays that stretch too,
and the two are laid side by side. A model that the measurement contradicts earns no PASS.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sim.errors import UsageError
from sim.experiments.capacity import Capacity, capacity
from sim.experiments.sensitivity import Sensitivity, sensitivity
from sim.judgement.comparison import Comparison, compare
from sim.judgement.cost import Cost, cost
from sim.judgement.judge import TargetRow, exit_status, judge, overall
from sim.judgement.targets import Verdict, left_out
from sim.results.result import Result
from sim.runners.play import play, prepare
from sim.scenario.generation import schedule
from sim.screening import Screening, screen
from sim.views import Shown, view

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

REPLICATIONS = 5
"""Independent simulations of the whole schedule: enough for an interval that does not trust one run's luck."""

REHEARSALS = 20
"""Simulations of the live part: their interval is then small beside that of the one measurement."""

DEPLOYMENTS = ("reference", "workerd")
"""What a plan can start to play the live part on."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan(Shown):
    """Everything that one scenario has to say.

    Attributes
    ----------
    scenario : Scenario
    seed : int
    screening : Screening or None
        What arithmetic said before anything was simulated; an approximation, to be read beside the simulation.
    simulated : tuple of Result
        Replications of the whole schedule; the first has the plan's seed.
    targets : tuple of TargetRow
        The simulation, judged.
    measured : Result or None
        The live part, played on a deployment; None when nothing was to be measured.
    rehearsed : tuple of Result
        The same live part, simulated.
    comparison : Comparison or None
        The two, side by side.
    capacity : Capacity or None
        None for a closed loop.
    cost : Cost or None
    sensitivity : tuple of Sensitivity
        Doubtful numbers, by what they do to the P99.
    notes : tuple of str
        Sentences that a reader of the numbers must see.
    interrupted : bool
        Stopped by hand; what was not reached is None or empty.
    """

    scenario: "Scenario"
    seed: int
    screening: Screening | None = None
    simulated: tuple[Result, ...] = ()
    targets: tuple[TargetRow, ...] = ()
    measured: Result | None = None
    rehearsed: tuple[Result, ...] = ()
    comparison: Comparison | None = None
    capacity: Capacity | None = None
    cost: Cost | None = None
    sensitivity: tuple[Sensitivity, ...] = ()
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    def __repr__(self) -> str:
        return f"<Plan {view(self, 'text')}>"

    @property
    def verdict(self) -> Verdict:
        """The targets' verdict; a PASS that the measurement contradicts, or that was cut short, is INCONCLUSIVE."""
        found = overall(self.targets) if self.targets else Verdict.INCONCLUSIVE
        doubted = self.interrupted or not (self.comparison is None or self.comparison.agrees)
        return Verdict.INCONCLUSIVE if found == Verdict.PASS and doubted else found

    @property
    def exit_status(self) -> int:
        """Status for a shell: 0 all targets met, 1 one missed, 2 interrupted, 3 not known."""
        if self.interrupted:
            return 2
        status = exit_status(self.targets)
        return 3 if status == 0 and self.verdict != Verdict.PASS else status

    @cached_property
    def measured_targets(self) -> tuple[TargetRow, ...]:
        """The measurement, judged on its own; empty when there is none."""
        return judge(self.measured) if self.measured is not None and len(self.measured.frame) else ()


def plan(
    scenario: "Scenario | str | Path" = "launch",
    *,
    rng: int | None = None,
    trace: str | Path | None = None,
    rate_per_s: float | None = None,
    engine: str = "compiled",
    live: bool = True,
    on: str = "reference",
    replications: int = REPLICATIONS,
    tell: Tell | None = None,
    progress: bool = False,
) -> Plan:
    """Do the main job.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
    rng : int or None
        Seed; None takes the scenario's own.
    trace : path or None
        CSV of real arrivals in place of the scenario's arrival process.
    rate_per_s : float or None
        Another arrival rate than the scenario's.
    engine : {"compiled", "simpy"}
        What simulates the schedule. The searches for capacity and sensitivity, hundreds of runs, are always the
        compiled engine's: the two give the same numbers.
    live : bool
        Whether to play the live part on a deployment.
    on : {"reference", "workerd"}
        That deployment. Times of the reference, which keeps the scenario's, are compared with the model's.
    replications : int
        Simulations of the whole schedule.
    tell : callable, optional
        Told what is being done, in a few words.
    progress : bool
        Show a bar on standard error while the live part is played.

    Returns
    -------
    Plan
        With what was reached, when stopped by Ctrl-C.

    Raises
    ------
    SimError
        One line: the value, the rule, the way out.
    """
    if replications < 1:
        raise UsageError(f"replications={replications} must be >= 1")
    if engine not in ("simpy", "compiled"):
        raise UsageError(f"engine={engine!r} must be simpy or compiled")
    if on not in DEPLOYMENTS:
        raise UsageError(f"on={on!r} must be {' or '.join(DEPLOYMENTS)}")
    asked = prepare(scenario, rate_per_s=rate_per_s, trace=trace)
    asked = asked if rng is None else asked.vary("seed", rng)
    work = _Work(asked, engine, on, tell=tell or (lambda _: None))
    draft = Plan(asked, asked.seed)
    steps: list[Callable[[Plan], Plan]] = [
        work.screen,
        lambda found: work.simulate(found, replications),
        *([lambda found: work.measure(found, progress=progress)] if live else []),
        *([work.rehearse] if live and on == "reference" else []),
        work.find_capacity,
        work.bill,
        work.doubt,
    ]
    try:
        for step in steps:
            draft = step(draft)
            if draft.interrupted:
                break
    except KeyboardInterrupt:
        draft = replace(draft, interrupted=True)
    if draft.interrupted:
        draft = replace(draft, notes=("interrupted: what follows is what was reached", *draft.notes))
    return draft


@dataclass(frozen=True)
class _Work:
    """The steps of a plan, each from what is known to what is known then."""

    scenario: "Scenario"
    engine: str
    on: str
    tell: Tell

    def screen(self, draft: Plan) -> Plan:
        """Ask arithmetic first."""
        return replace(draft, screening=screen(self.scenario))

    def simulate(self, draft: Plan, replications: int) -> Plan:
        """Play the whole schedule on the model, several times, and judge."""
        planned = schedule(self.scenario)
        self.tell(f"simulating {len(planned):,} requests, {replications} times")
        others = range(self.scenario.seed + 1, self.scenario.seed + replications)
        results = [self._simulated(planned, self.scenario.seed)]
        results += [self._simulated(schedule(self.scenario, seed), seed) for seed in others]
        notes = tuple(dict.fromkeys(note for result in results for note in result.notes))
        absent = [f"{line.metric} {line.statistic}" for line in left_out(self.scenario)]
        notes += (f"not judged, since no route can have it: {', '.join(absent)}",) if absent else ()
        cut_short = any(result.interrupted for result in results)
        simulated = tuple(results)
        return replace(draft, simulated=simulated, targets=judge(results), notes=notes, interrupted=cut_short)

    def measure(self, draft: Plan, *, progress: bool) -> Plan:
        """Play the live part on the deployment, in real time."""
        part = self._live_part()
        self.tell(f"playing {len(part):,} requests on {self._spoken}, {part.duration_ms / 1000:.0f} s in real time")
        measured = play(self.scenario, schedule(self.scenario), on=self.on, seed=self.scenario.seed, progress=progress)
        notes = tuple(f"{self.on}: {note}" for note in measured.notes)
        return replace(draft, measured=measured, notes=(*draft.notes, *notes), interrupted=measured.interrupted)

    def rehearse(self, draft: Plan) -> Plan:
        """Play the same part on the model, and lay the two side by side."""
        assert draft.measured is not None
        part = self._live_part()
        self.tell(f"simulating the same {len(part):,} requests, {REHEARSALS} times")
        rehearsed = tuple(self._simulated(part, self.scenario.seed + number) for number in range(REHEARSALS))
        return replace(draft, rehearsed=rehearsed, comparison=compare(rehearsed, draft.measured))

    def find_capacity(self, draft: Plan) -> Plan:
        """Search the highest load that keeps the targets."""
        self.tell("searching the highest load that keeps the targets")
        try:
            found = capacity(self.scenario, screening=draft.screening, progress=self.tell)
            return replace(draft, capacity=found)
        except UsageError as error:
            return replace(draft, notes=(*draft.notes, f"no capacity: {error}"))

    def bill(self, draft: Plan) -> Plan:
        """Price a month of this load."""
        return replace(draft, cost=cost(self.scenario))

    def doubt(self, draft: Plan) -> Plan:
        """Vary every doubtful number."""
        self.tell("varying every number of low confidence")
        return replace(draft, sensitivity=sensitivity(self.scenario))

    @property
    def _spoken(self) -> str:
        return "the reference" if self.on == "reference" else self.on

    def _simulated(self, planned: "Schedule", seed: int) -> Result:
        return play(self.scenario, planned, on=self.engine, seed=seed)

    def _live_part(self) -> "Schedule":
        workload = self.scenario.workload
        return schedule(self.scenario).live(workload.live_s, workload.live_rate_max_per_s)
