"""Plan a scenario: simulate it, play a part on the embedded reference, compare, judge and price it.

The model predicts the deployment over far more requests than could be sent in real time. The reference validates the
model: a window of the same schedule is played on it in real time and simulated as well, and the two are compared. A
model that the measurement contradicts earns no PASS.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sim.experiments.capacity import Capacity, capacity
from sim.experiments.sensitivity import Sensitivity, sensitivity
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown, view
from sim.judgement.comparison import Agreement, Comparison, compare
from sim.judgement.cost import Cost, cost
from sim.judgement.judge import TargetRow, exit_status, judge, overall
from sim.judgement.logged import LogRow, beside_log
from sim.judgement.pairing import Pairing, pair
from sim.judgement.targets import Verdict, left_out
from sim.results.background import background_notes, refusals_billed
from sim.results.result import Result
from sim.runners.play import live_part_of, play, prepare, refuse_faults
from sim.scenario.deployment import findings
from sim.scenario.generation import schedule
from sim.scenario.notes import scenario_notes
from sim.screening import Screening, screen

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

REPLICATIONS = 5
"""Independent simulations of the whole schedule: enough for an interval that does not rest on a single run."""

WINDOW_REPLICATIONS = 20
"""Simulations of the live window: enough for an interval that is small beside that of the single measurement."""

NOT_MEASURED = "nothing was measured, only the model was played"
WITHOUT_FAULTS = "the capacity is that of the system without its faults"

DEPLOYMENTS = ("reference", "workerd")
"""Deployments that a plan can start to play the live window on."""

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Plan(Shown):
    """The results of one scenario: simulation, measurement, comparison, capacity, cost and sensitivity.

    Attributes
    ----------
    scenario : Scenario
    seed : int
    screening : Screening or None
        The analytical approximation, computed before anything was simulated.
    simulated : tuple of Result
        Replications of the whole schedule; the first uses the plan's seed.
    targets : tuple of TargetRow
        The targets, judged on the simulation.
    measured : Result or None
        The live window, played on a deployment; None when the plan was made without a measurement.
    simulated_window : tuple of Result
        Replications of the same window on the model.
    comparison : Comparison or None
        `simulated_window` against `measured`.
    capacity : Capacity or None
        None for a closed loop, whose users set the rate.
    cost : Cost or None
    sensitivity : tuple of Sensitivity
        Low-confidence numbers, those that move the P99 most first.
    notes : tuple of str
        Caveats that a reader of the numbers must see.
    interrupted : bool
        Whether the plan was stopped by hand; what was not reached is None or empty.
    """

    scenario: "Scenario"
    seed: int
    screening: Screening | None = None
    simulated: tuple[Result, ...] = ()
    targets: tuple[TargetRow, ...] = ()
    measured: Result | None = None
    simulated_window: tuple[Result, ...] = ()
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
        compared = self.comparison
        contradicted = compared is not None and (not compared.valid or compared.verdict is Agreement.DIFFERS)
        unconfirmed = self.interrupted or contradicted
        return Verdict.INCONCLUSIVE if found == Verdict.PASS and unconfirmed else found

    @property
    def exit_status(self) -> int:
        """Status for a shell: 0 all targets met, 1 one missed, 2 interrupted, 3 not known."""
        if self.interrupted:
            return 2
        status = exit_status(self.targets)
        return 3 if status == 0 and self.verdict != Verdict.PASS else status

    @cached_property
    def pairing(self) -> Pairing | None:
        """Measurement and simulation request by request, with the same random numbers; None for other deployments."""
        measured = self.measured
        if measured is None or measured.on != "reference" or measured.interrupted or not self.simulated_window:
            return None
        try:
            return pair(self.simulated_window[0], measured)
        except UsageError:
            return None  # Fewer than twenty requests succeeded on both sides.

    @cached_property
    def logged(self) -> tuple[LogRow, ...]:
        """The latencies of the author's own log beside the model's; empty without ``[routes.NAME.measured]``."""
        return beside_log(self.simulated)

    @cached_property
    def measured_targets(self) -> tuple[TargetRow, ...]:
        """The targets, judged on the measurement alone; empty when there is none."""
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
    on_progress: OnProgress | None = None,
    progress: bool = False,
) -> Plan:
    """Simulate *scenario*, measure a part of it on the reference, compare the two, judge the targets and price it.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
    rng : int or None
        Seed; None takes the scenario's own.
    trace : path or None
        CSV of real arrivals in place of the scenario's arrival process.
    rate_per_s : float or None
        Arrival rate in place of the scenario's.
    engine : {"compiled", "simpy"}
        Engine that simulates the schedule. The hundreds of runs for capacity and sensitivity always use the compiled
        engine: both give the same numbers.
    live : bool
        Whether to play the live window on a deployment.
    on : {"reference", "workerd"}
        That deployment. Times of the reference, which keeps the scenario's, are compared with the model's.
    replications : int
        Simulations of the whole schedule.
    on_progress : callable, optional
        Called with a short description of each step as it begins.
    progress : bool
        Show a bar on standard error while the live window is played.

    Returns
    -------
    Plan
        After Ctrl-C, with what was reached.

    Raises
    ------
    SimError
        One line: the value, the rule, and how to fix it.
    """
    if replications < 1:
        raise UsageError(f"replications={replications} must be >= 1")
    if engine not in ("simpy", "compiled"):
        raise UsageError(f"engine={engine!r} must be simpy or compiled")
    if on not in DEPLOYMENTS:
        raise UsageError(f"on={on!r} must be {' or '.join(DEPLOYMENTS)}")
    asked = prepare(scenario, rate_per_s=rate_per_s, trace=trace)
    asked = asked if rng is None else asked.vary("seed", rng)
    why_not = _unplayable(asked, on) if live and asked.faults else ""
    live = live and not why_not
    work = _Work(asked, engine, on, on_progress=on_progress or (lambda _: None))
    notes = (f"{NOT_MEASURED}: {why_not}",) if why_not else ()
    draft = Plan(asked, asked.seed, notes=(*notes, *((WITHOUT_FAULTS,) if asked.faults else ()), *asked.notes))
    steps: list[Callable[[Plan], Plan]] = [
        work.screen,
        lambda found: work.simulate(found, replications),
        *([lambda found: work.measure(found, progress=progress)] if live else []),
        *([work.simulate_window] if live and on == "reference" else []),
        work.find_capacity,
        work.bill,
        work.vary_numbers,
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
    """The steps of a plan; each takes the plan so far and returns it with its own result added."""

    scenario: "Scenario"
    engine: str
    on: str
    on_progress: OnProgress

    def screen(self, draft: Plan) -> Plan:
        """Approximate the answer analytically before simulating."""
        return replace(draft, screening=screen(self.scenario))

    def simulate(self, draft: Plan, replications: int) -> Plan:
        """Simulate the whole schedule several times, and judge the targets."""
        planned = schedule(self.scenario)
        self.on_progress(f"simulating {len(planned):,} requests, {replications} times")
        others = range(self.scenario.seed + 1, self.scenario.seed + replications)
        results = [self._simulated(planned, self.scenario.seed)]
        results += [self._simulated(schedule(self.scenario, seed), seed) for seed in others]
        played = (note for result in results for note in result.notes)
        notes = tuple(dict.fromkeys((*scenario_notes(self.scenario), *played)))
        absent = [line.name for line in left_out(self.scenario)]
        notes += (f"not judged, since no route can have it: {', '.join(absent)}",) if absent else ()
        notes += (*findings(self.scenario), *background_notes(results))
        notes = draft.notes + notes
        cut_short = any(result.interrupted for result in results)
        simulated = tuple(results)
        return replace(draft, simulated=simulated, targets=judge(results), notes=notes, interrupted=cut_short)

    def measure(self, draft: Plan, *, progress: bool) -> Plan:
        """Play the live window on the deployment, in real time."""
        part = self._live_part()
        where = "the reference" if self.on == "reference" else self.on
        self.on_progress(f"playing {len(part):,} requests on {where}, {part.duration_ms / 1000:.0f} s in real time")
        measured = play(self.scenario, schedule(self.scenario), on=self.on, seed=self.scenario.seed, progress=progress)
        notes = tuple(f"{self.on}: {note}" for note in measured.notes)
        return replace(draft, measured=measured, notes=(*draft.notes, *notes), interrupted=measured.interrupted)

    def simulate_window(self, draft: Plan) -> Plan:
        """Simulate the live window, and compare with the measurement."""
        assert draft.measured is not None
        part = self._live_part()
        self.on_progress(f"simulating the same {len(part):,} requests, {WINDOW_REPLICATIONS} times")
        simulated = tuple(self._simulated(part, self.scenario.seed + number) for number in range(WINDOW_REPLICATIONS))
        return replace(draft, simulated_window=simulated, comparison=compare(simulated, draft.measured))

    def find_capacity(self, draft: Plan) -> Plan:
        """Search for the highest load that meets the targets."""
        self.on_progress("searching the highest load that keeps the targets")
        try:
            # A fault lasts for a part of a run: with it the answer would depend on how long the search runs.
            well = self.scenario.vary("faults", []) if self.scenario.faults else self.scenario
            found = capacity(well, screening=draft.screening, on_progress=self.on_progress)
            return replace(draft, capacity=found)
        except UsageError as error:
            return replace(draft, notes=(*draft.notes, f"no capacity: {error}"))

    def bill(self, draft: Plan) -> Plan:
        """Price a month's volume, and see when it grows beyond the capacity."""
        capacity_per_s = None if draft.capacity is None else draft.capacity.estimate.value
        try:
            found = cost(self.scenario, capacity_per_s=capacity_per_s)
            notes = (*found.notes, *refusals_billed(draft.simulated))
            return replace(draft, cost=replace(found, notes=notes))
        except UsageError as error:
            return replace(draft, notes=(*draft.notes, f"no bill: {error}"))

    def vary_numbers(self, draft: Plan) -> Plan:
        """Vary every low-confidence number."""
        self.on_progress("varying every number of low confidence")
        return replace(draft, sensitivity=sensitivity(self.scenario))

    def _simulated(self, planned: "Schedule", seed: int) -> Result:
        return play(self.scenario, planned, on=self.engine, seed=seed)

    def _live_part(self) -> "Schedule":
        return live_part_of(self.scenario, schedule(self.scenario))


def _unplayable(scenario: "Scenario", on: str) -> str:
    """Return why a deployment cannot have a scenario's faults at their times; empty if it can."""
    try:
        refuse_faults(scenario, on)
        live_part_of(scenario, schedule(scenario))
    except UsageError as error:
        return str(error)
    return ""
