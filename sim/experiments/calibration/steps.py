"""The steps of routes, by name: which of them a stream of random numbers belongs to, and which shares are chances.

A Flow names the streams of a route's steps after the route and the operation
(:mod:`sim.scenario.deployment`); a calibration speaks of ``routes.feed.steps[1]``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.scenario.routes import Step

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario


def steps_of(scenario: "Scenario", route: str) -> Iterator[tuple[str, Step]]:
    """Yield the steps of a route with their paths, those of groups after their group."""
    yield from _walk(f"routes.{route}.steps", scenario.routes[route].steps)


def _walk(path: str, steps: tuple[Step, ...]) -> Iterator[tuple[str, Step]]:
    for number, step in enumerate(steps):
        here = f"{path}[{number}]"
        yield here, step
        if step.steps is not None:
            yield from _walk(f"{here}.steps", step.steps)


def step_of(scenario: "Scenario", route: str, *, stream: str) -> str:
    """Return which step of a route a stream of its own belongs to: its path and what it uses.

    Two steps that use one operation share the name of a stream; then both are named.
    """
    name, _, kind = stream.partition("#")[0].rpartition(".")
    is_kind = {"parallel": _is_parallel, "hedge": _is_hedged}.get(kind)
    found = [
        f"{path} ({', '.join(uses(step))})"
        for path, step in steps_of(scenario, route)
        if name == f"{route}.{step.use or 'group'}" and (is_kind is None or is_kind(step))
    ]
    return " or ".join(found) or stream


def uses(step: Step) -> list[str]:
    """Return the operations that a step uses, each once, in order."""
    inside = [step.use] if step.use is not None else [use for inner in step.steps or () for use in uses(inner)]
    return list(dict.fromkeys(inside))


def _is_parallel(step: Step) -> bool:
    return step.parallel


def _is_hedged(step: Step) -> bool:
    return step.hedge_ms is not None


def chances(scenario: "Scenario") -> dict[str, float]:
    """Return every share of requests that take a step or a path, by its path in the scenario; none is 0 or 1."""
    found = {}
    for route in scenario.routes:
        for path, step in steps_of(scenario, route):
            found[f"{path}.chance"] = step.chance
    for instance in scenario.met:
        for name, field in type(instance.table).model_fields.items():
            bounds = {
                (rule, value)
                for one in field.metadata
                for rule in ("ge", "gt", "le", "lt")
                if (value := getattr(one, rule, None)) is not None
            }
            if field.annotation is float and bounds == {("ge", 0), ("le", 1)}:
                found[f"system.{instance.name}.{name}"] = getattr(instance.table, name)
    return {path: share for path, share in found.items() if 0 < share < 1}
