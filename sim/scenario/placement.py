"""Where instances stand because of others: a Worker that is placed near a database has a short way to it."""

from collections.abc import Iterator
from dataclasses import replace

from sim.foundation.schema import PAGE, nearest
from sim.models.component import Instance
from sim.scenario.system import System

RTT = "rtt_ms"
"""Key of an instance's table that holds its distance from a Worker."""


def placed(system: System) -> System:
    """Return the system with the distances that its placements make."""
    changed = {name: rtt for one in system.instances.values() for name, rtt in _round_trips(one).items()}
    others: dict[str, Instance] = {}
    for name, instance in system.instances.items():
        update = {RTT: changed[name]} if name in changed else {}
        others[name] = replace(instance, table=instance.table.model_copy(update=update), others=others)
    return System(others)


def placement_problems(system: System) -> Iterator[str]:
    """Yield what is wrong with the placements, one line each."""
    known = [name for name, one in system.instances.items() if RTT in type(one.table).model_fields]
    first: dict[str, tuple[str, object]] = {}
    for instance in system.instances.values():
        for name, rtt in _round_trips(instance).items():
            said = f"system.{instance.name}.calls_{RTT}.{name}"
            mover, known_rtt = first.setdefault(name, (instance.name, rtt))
            if name not in known:
                yield f"{said} must name an instance that has {RTT}; {nearest(name, known)} ({PAGE})"
            elif rtt != known_rtt:
                yield f"{said} must be that of system.{mover}: {name} has one distance ({PAGE})"


def _round_trips(instance: Instance) -> dict[str, object]:
    ask = instance.component.round_trips
    return {} if ask is None else dict(ask(instance))
