"""The registry of components: the modules of this package, and those that a user registers.

The modules beside this one that export ``COMPONENT`` are discovered; a user's own component is added by one call of
:func:`register`. All lists of components, their columns, metrics and meters come from here.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.foundation.schema import nearest
from sim.models.billing import Meter
from sim.models.component import Component, Instance, Metric, Uses, cpu_category

if TYPE_CHECKING:
    from collections.abc import Sequence

_registered: dict[str, Component] = {}


@cache
def _built_in() -> Mapping[str, Component]:
    package = __name__.rpartition(".")[0]
    names = [module.name for module in iter_modules(import_module(package).__path__)]
    found = [getattr(import_module(f"{package}.{name}"), "COMPONENT", None) for name in names]
    return {component.name: component for component in found if component is not None}


def register(component: Component) -> Component:
    """Add a user's own component; a later one of the same name replaces it.

    Raises
    ------
    UsageError
        The name belongs to a component of this package.
    """
    if component.name in _built_in():
        raise UsageError(f"component={component.name!r} is built in; give yours another name")
    _registered[component.name] = component
    return component


def components() -> tuple[Component, ...]:
    """List all components in the order of a request's path."""
    known = {**_built_in(), **_registered}
    return tuple(sorted(known.values(), key=lambda component: (component.tier, component.name)))


def component(name: str) -> Component:
    """Return the component *name*.

    Raises
    ------
    UsageError
        There is none; the message names the nearest.
    """
    known = {one.name: one for one in components()}
    if name not in known:
        raise UsageError(f"component={name!r} does not exist; {nearest(name, known)}")
    return known[name]


def meters() -> tuple[Meter, ...]:
    """List the lines of the bill, in order."""
    return tuple(line for one in components() for line in one.meters)


def metrics() -> dict[str, tuple[Component, Metric]]:
    """List the components' metrics by name, each with its component."""
    return {metric.name: (one, metric) for one in components() for metric in one.metrics}


def ordered(instances: Iterable[Instance]) -> "Sequence[Instance]":
    """Sort instances by their position on a request's path; those of one component keep the scenario's order."""
    return sorted(instances, key=lambda instance: (instance.component.tier, instance.component.name))


def time_columns(instances: Iterable[Instance]) -> tuple[str, ...]:
    """Name the columns of a result that break down a request's time, in ms.

    Each instance has a column ``NAME_ms``; one with a station also ``NAME_queue_ms``, before it; one that reports CPU
    time also ``NAME_cpu_ms``, after it, which is part of ``NAME_ms``.
    """
    names: list[str] = []
    for instance in ordered(instances):
        queue = [f"{instance.name}_queue_ms"] if instance.component.station is not None else []
        names += [*queue, f"{instance.name}_ms", *(f"{inner}_ms" for inner in _inner(instance))]
    return tuple(names)


def inner_columns(instances: Iterable[Instance]) -> dict[str, str]:
    """Map each column whose time is part of another column's to that column."""
    return {f"{inner}_ms": f"{instance.name}_ms" for instance in instances for inner in _inner(instance)}


def queues(instances: Iterable[Instance]) -> tuple[str, ...]:
    """Name the instances with a queue, in the order of a request's path."""
    return tuple(instance.name for instance in ordered(instances) if instance.component.station is not None)


def uses(name: str, instances: Iterable[Instance], *, operations: Mapping[str, Mapping[str, int]]) -> Uses:
    """Return what routes use of the component *name*; *operations* are all of each route's, and how often."""
    own = tuple(instance.name for instance in instances if instance.component.name == name)
    mine = {
        route: {one: often for one, often in used.items() if one.partition(".")[0] in own}
        for route, used in operations.items()
    }
    return Uses(own, mine)


def _inner(instance: Instance) -> tuple[str, ...]:
    return (cpu_category(instance.name),) if instance.component.cpu else ()
