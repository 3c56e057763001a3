"""Build the Flow of a scenario: every route's steps, from the operations of the system's instances.

Each route's steps are wrapped in the way to a Worker that stands elsewhere, then in its entry (network, tunnel), and
all routes in the client's timeout and retries.

Sources
-------
The routes are the scenario's; the order of steps is what ``reference_impl`` does with a request.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from sim.flow import Attempt, Branch, Chance, Flow, Hedge, Match, Parallel, Spawn
from sim.flow.validation import check
from sim.models import client
from sim.models.component import Instance
from sim.scenario.injection import Injected, with_faults
from sim.scenario.routes import Step, expected_uses

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.system import System


def deployment(scenario: "Scenario", *, faults: bool = True) -> Flow:
    """Return the Flow of *scenario*: every route, from the client and back.

    Parameters
    ----------
    scenario : Scenario
    faults : bool
        Whether its faults occur.

    Raises
    ------
    ModelError
        The scenario's numbers describe a part that cannot exist.
    """
    (policy,) = scenario.system.of("client")
    routes = paths(scenario, scenario.injected if faults else ())
    flow = client.with_retries(policy, (Match(tuple(routes.items())),))
    check(flow)
    return flow


def paths(scenario: "Scenario", faults: tuple[Injected, ...] = ()) -> dict[str, Flow]:
    """Return each route's Flow by name, without the client's timeout and retries."""
    found = {}
    for name, route in scenario.routes.items():
        entry = scenario.system.instances[route.enter]
        assert entry.component.entry is not None, "the scenario checks what requests come in by"
        inner = _Path(scenario.system, name, faults).flow(route.steps)
        for used in dict.fromkeys(operation.partition(".")[0] for operation in scenario.operations[name]):
            forward = scenario.system.instances[used].component.forward
            inner = inner if forward is None else forward(scenario.system.instances[used], inner, entry=entry.name)
        found[name] = with_faults(entry.component.entry(entry, inner), (entry.name,), faults=faults)
    return found


def findings(scenario: "Scenario") -> tuple[str, ...]:
    """Return what the components have to say of the routes' operations, such as an index that is missing."""
    found = []
    for name, route in scenario.routes.items():
        for step, _ in expected_uses(route.steps):
            assert step.use is not None
            where, _, operation = step.use.partition(".")
            instance = scenario.system.instances[where]
            wanted = instance.component.operations[operation]
            said = wanted.finding(instance, wanted.parameters.model_validate(step.parameters))
            found += [f"route {name}: {said}"] if said else []
    return tuple(dict.fromkeys(found))


class _Path:
    """Builds the steps of one route; each use of an instance is numbered, so that it has its own random numbers."""

    def __init__(self, system: "System", route: str, faults: tuple[Injected, ...]) -> None:
        self._system = system
        self._route = route
        self._faults = faults
        self._uses: dict[str, int] = {}

    def flow(self, steps: tuple[Step, ...]) -> Flow:
        """Return the Flow of steps in order."""
        return tuple(part for step in steps for part in self._step(step))

    def _step(self, step: Step) -> Flow:
        """Return the Flow of one step of a route, with its repetitions, chance, timeout and retries."""
        copies = [self._once(step) for _ in range(step.times)]
        at_once = [part for copy in copies for part in copy]
        if step.parallel and len(at_once) > 1:
            flow: Flow = (Parallel(tuple(at_once), len(at_once), self._name(step, "parallel")),)
        else:
            flow = tuple(part for branch in at_once for part in branch)
        if step.hedge_ms is not None:
            flow = (Hedge(flow, step.hedge_ms, self._name(step, "hedge")),)
        if step.timeout_ms is not None or step.retries:
            flow = (
                Attempt(
                    flow,
                    self._name(step, "attempt"),
                    timeout_ms=step.timeout_ms,
                    retries=step.retries,
                    backoff_ms=step.backoff_ms,
                    jitter=step.jitter,
                    final=client.FINAL,
                ),
            )
        if step.spawn:
            flow = (Spawn(flow, self._name(step, "spawn")),)
        if step.chance < 1:
            flow = (Branch(Chance(step.chance, self._name(step, "chance")), flow),)
        return flow

    def _once(self, step: Step) -> list[Flow]:
        """Return the Flows of one repetition: several only where they may run concurrently."""
        if step.use is not None:
            return [self._operation(step)]
        assert step.steps is not None
        if step.parallel:
            return [self._step(inner) for inner in step.steps]
        return [self.flow(step.steps)]

    def _operation(self, step: Step) -> Flow:
        assert step.use is not None
        name, _, operation = step.use.partition(".")
        instance = self._system.instances[name]
        wanted = instance.component.operations[operation].parameters
        flow = self._numbered(instance).flow(operation, wanted.model_validate(step.parameters))
        return with_faults(flow, _touched(instance), faults=self._faults)

    def _numbered(self, instance: Instance) -> Instance:
        """Return the instance numbered for its next use on this path, as are those that it is linked to."""
        touched = _touched(instance)
        use = 1 + max(self._uses.get(name, 0) for name in touched)
        self._uses.update(dict.fromkeys(touched, use))
        return replace(instance, use_number=use)

    def _name(self, step: Step, what: str) -> str:
        """Return the stream of a step's own random numbers: ``feed.d1.read.chance``; uses of one name are numbered."""
        return f"{self._route}.{step.use or 'group'}.{what}"


def _touched(instance: Instance) -> list[str]:
    """Return the names of an instance and of those that it is linked to."""
    return [instance.name, *(instance.linked(key).name for key in instance.component.links)]
