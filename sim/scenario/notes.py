"""What a reader of a scenario's results must know of the scenario itself, a sentence each."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sim.foundation.schema import PAGE
from sim.scenario.arrivals import Closed, TraceReplay
from sim.scenario.messages import message_notes, message_routes
from sim.scenario.recorded import trace_notes
from sim.scenario.routes import expected_uses

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

STORED = "stored_bytes"


def loading_notes(scenario: "Scenario") -> tuple[str, ...]:
    """Return how the traffic was read: what the trace was taken for, and the arithmetic of messages."""
    arrivals = scenario.arrivals
    nominal_per_s = None if isinstance(arrivals, Closed | TraceReplay) else arrivals.nominal_per_s
    return (*trace_notes(scenario), *message_notes(scenario, nominal_per_s))


def scenario_notes(scenario: "Scenario") -> tuple[str, ...]:
    """Return the author's notes, how the traffic was read, what no route uses, and what grows unsaid."""
    return (*scenario.notes, *loading_notes(scenario), *_unused(scenario), *_without_bytes(scenario))


def _unused(scenario: "Scenario") -> Iterator[str]:
    unused = scenario.unused
    if unused:
        names = ", ".join(f"system.{name}" for name in unused)
        way_out = "add its operation to the steps of a route, or leave the table out"
        yield f"declared, but no route uses it: {names} ({way_out}; {PAGE})"


def _without_bytes(scenario: "Scenario") -> Iterator[str]:
    """Say which routes write without a word on how much stays."""
    if found := without_bytes(scenario):
        yield f"no bytes stated for {', '.join(found)}: growth of storage there is not predicted"


def without_bytes(scenario: "Scenario", shares: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """Return the routes that write without a word on how much stays, each with the operations that do.

    Parameters
    ----------
    scenario : Scenario
    shares : mapping of str to float, optional
        Of the routes in what is played, by default the scenario's; a route without one is left out.
    """
    derived = {made: f"{name}.messages" for made, name in message_routes(scenario.routes).items()}
    shares = scenario.shares if shares is None else shares
    found = []
    for name in scenario.routes:
        uses = dict.fromkeys(_growing_unsaid(scenario, name)) if shares[name] else ()
        if uses:
            found.append(f"routes.{derived.get(name, name)} ({', '.join(uses)})")
    return tuple(found)


def _growing_unsaid(scenario: "Scenario", name: str) -> Iterator[str]:
    """Yield the operations of a route that may store bytes, of which it does not say how many; 0 is said, too."""
    for step, _ in expected_uses(scenario.routes[name].steps):
        where, _, what = (step.use or "").partition(".")
        operation = scenario.system.instances[where].component.operations[what]
        unsaid = STORED in operation.parameters.model_fields and STORED not in step.parameters
        new = step.parameters.get("new_fraction", 1.0) > 0
        if unsaid or (operation.uploads and new and scenario.routes[name].size_bytes is None):
            yield f"{where}.{what}"
