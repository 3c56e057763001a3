"""How many keys reach each instance of a scenario."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sim.scenario.recorded import recorded_keys

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.system import System


def keys_of(scenario: "Scenario") -> dict[str, int]:
    """Return the number of distinct keys of the requests that reach each instance, directly or through another one."""
    found: dict[str, int] = {}
    recorded = recorded_keys(scenario)
    for name, used in scenario.operations.items():
        count = scenario.population(name).count if recorded is None else recorded[name]
        for instance in touched(scenario.system, used):
            found[instance] = max(found.get(instance, 1), count)
    return found


def touched(system: "System", used: Iterable[str]) -> Iterator[str]:
    """Yield the instances that operations reach, directly or through another one."""
    for operation in used:
        instance = system.instances[operation.partition(".")[0]]
        yield instance.name
        yield from (instance.linked(key).name for key in instance.component.links)
