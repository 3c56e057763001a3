"""Render a route's request for each row of a schedule: fill in the placeholders of its path and body."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sim.scenario.routes import PLACEHOLDER, SIZE, Request

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

Values = Mapping[str, Any]
"""Values of the placeholders in one request: numbers, and the run's name."""

REQUEST, ATTEMPT = "headroom-request", "headroom-attempt"
"""Headers with the numbers of a request and of its attempt, by which the reference looks its random numbers up."""

IDENTITY = {
    REQUEST: "request",
    "headroom-key": "key",
    "headroom-object": "object",
    "headroom-size-bytes": "size_bytes",
    "headroom-run": "run",
}
"""Headers with a request's attributes for a deployment of ours, and the value that each carries."""

PREPARE = {"headroom-prepare": "1"}
"""Header that asks a deployment of ours to create what the request will need, without pacing."""


def values_of(schedule: "Schedule", request: int, *, run: str, start_time_ms: float) -> dict[str, Any]:
    """Return the values of the placeholders for row *request*.

    Parameters
    ----------
    schedule : Schedule
    request : int
        Its number.
    run : str
        Part of ids, so that two runs against one deployment never send the same one.
    start_time_ms : float
        Wall clock at the first intended send.
    """
    return {
        "request": request,
        "run": run,
        "key": int(schedule.key[request]),
        "object": int(schedule.object_number[request]),
        "size_bytes": int(schedule.size_bytes[request]),
        "tokens_in": int(schedule.tokens_in[request]),
        "tokens_out": int(schedule.tokens_out[request]),
        "time_ms": int(start_time_ms + schedule.arrival_ms[request]),
    }


def path_of(request: Request) -> Callable[[Values], str]:
    """Return a function from values to the path."""
    return _text(request.path)


def body_of(request: Request, bodies: Mapping[str, Any]) -> Callable[[Values], bytes]:
    """Return a function from values to the JSON body; the body is empty for none, or for one of raw bytes."""
    if request.body in ("", SIZE):
        return lambda _: b""
    render = _json(bodies[request.body])
    return lambda values: json.dumps(render(values), separators=(",", ":")).encode()


def _json(node: Any) -> Callable[[Values], Any]:
    """Return a function that fills in a JSON value; a string that is one placeholder becomes the value itself."""
    if isinstance(node, dict):
        inside = {key: _json(value) for key, value in node.items()}
        return lambda values: {key: render(values) for key, render in inside.items()}
    if isinstance(node, list | tuple):
        entries = [_json(value) for value in node]
        return lambda values: [render(values) for render in entries]
    if not isinstance(node, str):
        return lambda _: node
    whole = PLACEHOLDER.fullmatch(node)
    return (lambda values: values[whole[1]]) if whole else _text(node)


def _text(template: str) -> Callable[[Values], str]:
    # Literals and names alternate: "/a/{key}/b" is "/a/", "key", "/b".
    parts = PLACEHOLDER.split(template)
    literals, names = parts[::2], parts[1::2]
    if not names:
        return lambda _: template
    return lambda values: (
        "".join(f"{literal}{values[name]}" for literal, name in zip(literals, names, strict=False)) + literals[-1]
    )
