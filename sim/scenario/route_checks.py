"""Check routes: the instances, operations, populations and bodies that they name must exist."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sim.foundation.schema import NAME, PAGE, Place, as_tuples, dotted, nearest, problems
from sim.models.component import Instance
from sim.scenario.routes import PLACEHOLDER, PLACEHOLDERS, SIZE, Request, Route, Step
from sim.scenario.sockets import Socket
from sim.scenario.system import System


@dataclass(frozen=True)
class Surroundings:
    """The names that routes may refer to: instances of the system, populations of keys, bodies."""

    system: System
    populations: Mapping[str, Any]
    bodies: Mapping[str, Any]


def route_problems(routes: Mapping[str, Route], around: Surroundings) -> Iterator[str]:
    """Yield the problems of *routes*, one line each."""
    if not routes:
        yield f"routes must hold at least one route: [routes.NAME] with share and steps ({PAGE})"
    elif not sum(route.share for route in routes.values()) > 0:
        yield f"routes must hold a share > 0 ({PAGE})"
    if len(around.system.of("client")) != 1:
        yield f"system must hold one client: [system.client] ({PAGE})"
    for name in {**routes, **around.bodies, **around.populations}:
        if not NAME.fullmatch(name):
            yield f'"{name}" must be a name of lower-case letters, digits and _, beginning with a letter ({PAGE})'
    for name, route in routes.items():
        yield from _route(around, name, route)
    yield from _alike(routes)


def _route(around: Surroundings, name: str, route: Route) -> Iterator[str]:
    instances, populations = around.system.instances, around.populations
    entries = [one.name for one in instances.values() if one.component.entry is not None]
    if route.enter not in entries:
        near = nearest(route.enter, entries)
        yield f'routes.{name}.enter="{route.enter}" must be an instance to come in by; {near} ({PAGE})'
    if route.keys and route.keys not in populations:
        near = nearest(route.keys, populations) if populations else "add [workload.populations.NAME]"
        yield f'routes.{name}.keys="{route.keys}" is not a population; {near} ({PAGE})'
    if route.objects is not None and route.size_bytes is None:
        yield f"routes.{name}.objects={route.objects} needs size_bytes: stored objects have sizes ({PAGE})"
    for key in ("request", "prepare"):
        request = getattr(route, key)
        if request is not None:
            yield from _request(around.bodies, request, ("routes", name, key))
    yield from _socket(around, name, route)
    yield from _steps(instances, route.steps, ("routes", name, "steps"))
    if route.messages is not None:
        place = ("routes", name, "messages")
        yield from _socket_texts(around, route.messages.socket, (*place, "socket"))
        yield from _steps(instances, route.messages.steps or (), (*place, "steps"))


def _socket(around: Surroundings, name: str, route: Route) -> Iterator[str]:
    """Yield what is wrong with a route's WebSocket."""
    if route.socket is None:
        return
    place: Place = ("routes", name, "socket")
    yield from _socket_texts(around, route.socket, place)
    entry = around.system.instances.get(route.enter)
    if entry is not None and entry.component.transport != "http":
        rule = f'must not be there with enter="{route.enter}": a WebSocket is opened over HTTP'
        yield f"{dotted(place)} {rule} ({PAGE})"


def _socket_texts(around: Surroundings, socket: Socket | None, place: Place) -> Iterator[str]:
    if socket is not None:
        yield from _texts_of_request(around.bodies, socket.path, socket.message, place, key="message")


def _request(bodies: Mapping[str, Any], request: Request, place: Place) -> Iterator[str]:
    yield from _texts_of_request(bodies, request.path, request.body, place, key="body")


def _texts_of_request(bodies: Mapping[str, Any], path: str, body: str, place: Place, *, key: str) -> Iterator[str]:
    """Yield what is wrong with a path and with a body, which stands under *key*."""
    if body not in ("", SIZE, *bodies):
        near = nearest(body, (SIZE, *bodies))
        yield f'{dotted((*place, key))}="{body}" is not a body; {near} ({PAGE})'
    texts = [("path", path), *((key, text) for text in _texts(bodies.get(body)))]
    for where, text in texts:
        for word in PLACEHOLDER.findall(text):
            if word not in PLACEHOLDERS:
                yield f"{dotted((*place, where))} has {{{word}}}; {nearest(word, PLACEHOLDERS)} ({PAGE})"


def _texts(body: Any) -> Iterator[str]:
    """Yield every string in a JSON body."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for value in body.values():
            yield from _texts(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _texts(value)


def _steps(instances: Mapping[str, Instance], steps: tuple[Step, ...], place: Place) -> Iterator[str]:
    for number, step in enumerate(steps):
        here = (*place, number)
        if step.steps is not None:
            yield from _steps(instances, step.steps, (*here, "steps"))
        elif step.use is not None:
            yield from _operation(instances, step, here)


def _operation(instances: Mapping[str, Instance], step: Step, place: Place) -> Iterator[str]:
    assert step.use is not None
    said = f'{dotted((*place, "use"))}="{step.use}"'
    name, _, operation = step.use.partition(".")
    known = [f"{one.name}.{what}" for one in instances.values() for what in one.component.operations]
    if step.use not in known:
        yield f"{said} is not an operation of the system; {nearest(step.use, known)} ({PAGE})"
        return
    parameters = instances[name].component.operations[operation].parameters
    known = [*parameters.model_fields, *Step.model_fields]
    for key in step.parameters:
        if key not in parameters.model_fields:
            yield f"{dotted((*place, key))} is not a key of {step.use}; {nearest(key, known)} ({PAGE})"
            return
    try:
        parameters.model_validate(as_tuples(step.parameters), strict=True)
    except ValidationError as error:
        yield from problems(error, model=parameters, raw=step.parameters, place=place)


def _alike(routes: Mapping[str, Route]) -> Iterator[str]:
    """Yield routes with the same entry whose requests cannot be distinguished."""
    seen: dict[tuple[str, str, str], str] = {}
    for name, route in routes.items():
        if route.request is None:
            continue
        path = re.sub(PLACEHOLDER, "{}", route.request.path.partition("?")[0])
        alike = (route.enter, route.request.method, path)
        if alike in seen:
            rule = "two requests must differ in method or path"
            yield f"routes.{name}.request is that of routes.{seen[alike]}; {rule} ({PAGE})"
        seen[alike] = name
