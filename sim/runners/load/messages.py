"""Messages and answers of a live run.

All messages are built before the first one is sent, so that no time is spent on it during the run. A message is
independent of the libraries that send it, so that every transport sends the same one.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from sim.flow import OUTCOMES
from sim.foundation.errors import RunnerError
from sim.runners.load.requests import ATTEMPT, IDENTITY, PREPARE, REQUEST, Values, body_of, path_of, values_of
from sim.scenario.routes import SIZE, Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

UPLOAD_BLOCK_BYTES = 2**18
"""Uploads repeat one block of this size: memory stays small whatever the sizes, and a block fills a socket's buffer."""

Wire = Literal["http", "tunnel", "socket", "s3"]
"""What a message travels by: HTTP of any version, the QUIC tunnel, a WebSocket session, an S3 client."""

SERVER_TIMING = re.compile(r'(\w+)(?:;\s*desc="[^"]*")?;\s*dur=(\d{1,12}(?:\.\d+)?)')
OUTCOME = {name: np.int8(code) for code, name in enumerate(OUTCOMES)}


@dataclass(frozen=True, slots=True)
class Message:
    """One request, ready to be sent.

    Attributes
    ----------
    method, path : str
    body : bytes
        Empty for reads, and for uploads, whose body is *upload_bytes* of the shared block.
    upload_bytes : int
    download_bytes : int
        Required length of the answer; -1 for any.
    wire : {"http", "tunnel", "socket", "s3"}
        What it is sent by. *path* is then that of the handshake, or the object's key.
    headers : mapping of str to str
        Headers in addition to those of its body.
    route : str
        Of a message by WebSocket or S3: where the terms are looked up.
    """

    method: str
    path: str
    body: bytes = b""
    upload_bytes: int = 0
    download_bytes: int = -1
    wire: Wire = "http"
    headers: Mapping[str, str] = field(default_factory=dict)
    route: str = ""


def again(message: Message, retry: int) -> Message:
    """Return *message* as retry number *retry* sends it: a deployment of ours draws other numbers for it."""
    if not retry or REQUEST not in message.headers:
        return message
    return replace(message, headers={**message.headers, ATTEMPT: str(retry)})


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: HTTP *status*, the text of its Server-Timing header, and the length of its body.

    *retry_after_s* is the pause that an answer 429 or 503 asks for; 0 for none.
    """

    status: int
    server_timing: str
    body_bytes: int
    retry_after_s: float = 0.0


class Sender(Protocol):
    """What sends messages of one wire, or of several."""

    async def send(self, message: Message) -> Answer:
        """Send one message and wait for its whole answer."""
        ...


class SessionEndedError(RunnerError, ConnectionError):
    """A WebSocket session ended before the answer."""


HEALTH = Message("GET", "/health")


def messages(
    scenario: "Scenario",
    schedule: "Schedule",
    *,
    run: str,
    start_time_ms: float,
    identified: bool,
    rows: "NDArray[np.int64] | None" = None,
    stored: Collection[str] = (),
) -> dict[int, Message]:
    """Return the messages of a schedule by the request's number, in its order.

    Parameters
    ----------
    scenario : Scenario
        Provides each route's request.
    schedule : Schedule
    run : str
        Part of ids, so that two runs against one deployment never send the same one.
    start_time_ms : float
        Wall clock at the first intended send; events carry their intended time.
    identified : bool
        Whether to add headers with the request's attributes, for a deployment of ours.
    rows : ndarray of int, shape (m,), optional
        Requests that are wanted; by default all.
    stored : collection of str
        Routes whose uploads go to an S3 endpoint.
    """
    write = [
        _store(name)
        if name in stored
        else _writer(scenario, scenario.request(name), enter=scenario.routes[name].enter, identified=identified)
        if scenario.routes[name].socket is None
        else _speaker(scenario, name, identified=identified)
        for name in schedule.routes
    ]
    wanted = range(len(schedule)) if rows is None else rows.tolist()
    return {
        request: write[schedule.route_code[request]](values_of(schedule, request, run=run, start_time_ms=start_time_ms))
        for request in wanted
    }


def preparations(
    scenario: "Scenario", schedule: "Schedule", *, run: str, identified: bool
) -> list[tuple[Message, ...]]:
    """Return the messages that create the stored objects that the schedule will fetch: for each object, a sequence.

    A route's own ``prepare`` request creates it, and its request then verifies it. A deployment of ours that executes
    the steps of routes is asked by a header instead.
    """
    found: list[tuple[Message, ...]] = []
    for code, name in enumerate(schedule.routes):
        route = scenario.routes[name]
        rows = np.flatnonzero(schedule.route_code == code)
        if route.objects is None or route.socket is not None or not rows.size or not _fetches(scenario, name):
            continue
        by_request = route.prepare if scenario.api or not identified else None
        if by_request is None and not identified:
            continue
        own = _writer(scenario, scenario.request(name), enter=route.enter, identified=identified)
        _, first = np.unique(schedule.object_number[rows], return_index=True)
        for row in rows[first].tolist():
            values = values_of(schedule, row, run=f"{run}-prepare", start_time_ms=0.0)
            if by_request is None:
                ready = own(values)
                found.append((replace(ready, headers={**ready.headers, **PREPARE}),))
            else:
                put = _writer(scenario, by_request, enter=route.enter, identified=identified)
                found.append((put(values), own(values)))
    return found


def uploading_routes(scenario: "Scenario") -> frozenset[str]:
    """Return the routes whose requests upload the schedule's ``size_bytes``."""
    return frozenset(name for name in scenario.routes if _body_of_route(scenario, name) == SIZE)


def socket_routes(scenario: "Scenario") -> frozenset[str]:
    """Return the routes whose requests are messages on WebSockets."""
    return frozenset(name for name, route in scenario.routes.items() if route.socket is not None)


def _body_of_route(scenario: "Scenario", name: str) -> str:
    socket = scenario.routes[name].socket
    return scenario.request(name).body if socket is None else socket.message


def routes_played(schedule: "Schedule") -> set[str]:
    """Return the routes that occur at least once."""
    return {schedule.routes[code] for code in np.unique(schedule.route_code)}


def tunnelled_routes(scenario: "Scenario") -> frozenset[str]:
    """Return the routes whose requests go through a QUIC tunnel."""
    instances = scenario.system.instances
    return frozenset(
        name for name, route in scenario.routes.items() if instances[route.enter].component.transport == "quic"
    )


def _fetches(scenario: "Scenario", route: str) -> bool:
    """Whether some operation of the route downloads a stored object."""
    operations = (operation.partition(".") for operation in scenario.operations[route])
    instances = scenario.system.instances
    return any(instances[name].component.operations[what].downloads for name, _, what in operations)


def _writer(scenario: "Scenario", request: Request, *, enter: str, identified: bool) -> Callable[[Values], Message]:
    """Return a function from the values of a request to its message."""
    path, body = path_of(request), body_of(request, scenario.bodies)
    wire: Wire = "tunnel" if scenario.system.instances[enter].component.transport == "quic" else "http"
    uploads, downloads = request.body == SIZE, request.answer == SIZE

    def write(values: Values) -> Message:
        return Message(
            method=request.method,
            path=path(values),
            body=body(values),
            upload_bytes=values[SIZE] if uploads else 0,
            download_bytes=values[SIZE] if downloads else -1,
            wire=wire,
            headers=_identity(values) if identified else {},
        )

    return write


def _speaker(scenario: "Scenario", name: str, *, identified: bool) -> Callable[[Values], Message]:
    """Return a function from the values of a request to its message on a WebSocket."""
    socket = scenario.routes[name].socket
    assert socket is not None, "asked of routes with a WebSocket"
    asked = Request(method="GET", path=socket.path, body=socket.message)
    path, body = path_of(asked), body_of(asked, scenario.bodies)
    uploads = socket.message == SIZE

    def write(values: Values) -> Message:
        return Message(
            method="GET",
            path=path(values),
            body=body(values),
            upload_bytes=values[SIZE] if uploads else 0,
            wire="socket",
            headers=_identity(values) if identified else {},
            route=name,
        )

    return write


def _store(name: str) -> Callable[[Values], Message]:
    """Return a function from the values of a request to its upload by S3; the key has the run's name in front."""

    def write(values: Values) -> Message:
        key = f"{values['run']}/{name}/{values['object'] if values['object'] >= 0 else values['request']}"
        return Message(method="PUT", path=key, upload_bytes=values[SIZE], wire="s3", route=name)

    return write


def _identity(values: Values) -> dict[str, str]:
    return {header: str(values[name]) for header, name in IDENTITY.items()}


def upload_block(seed: int) -> memoryview:
    """Return the block of bytes that all uploads repeat: random, so that it cannot be compressed."""
    return memoryview(np.random.default_rng(seed).bytes(UPLOAD_BLOCK_BYTES))


def upload_parts(block: memoryview, *, size_bytes: int) -> Iterator[memoryview]:
    """Cut *size_bytes* into slices of the shared block."""
    for start in range(0, size_bytes, len(block)):
        yield block[: min(len(block), size_bytes - start)]


SWITCHED = 101
"""Status of an accepted WebSocket handshake."""


def outcome_of(message: Message, answer: Answer) -> str:
    """Return the outcome of a request from its answer's status; a download of the wrong length is an error."""
    status = answer.status
    if message.wire == "socket" and status < 300:
        return "ok" if status == SWITCHED else "error"
    if 200 <= status < 300:
        wrong = message.download_bytes >= 0 and answer.body_bytes != message.download_bytes
        return "error" if wrong else "ok"
    if status == 503:
        return "overloaded"
    if status == 504:
        return "timeout"
    if status == 413:
        return "too_large"
    return "error" if status >= 500 else "refused"


THROTTLING = (429, 503)
"""Statuses whose Retry-After asks for a pause."""


def retry_after_s(text: str, *, now_s: float) -> float:
    """Return the seconds that a Retry-After header asks for; 0 for one that cannot be read.

    Parameters
    ----------
    text : str
        Whole seconds, or a date.
    now_s : float
        The client's wall clock, in seconds since 1970.

    Sources
    -------
    RFC 9110, section 10.2.3.
    """
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return 0.0


def read_server_timing(text: str) -> list[tuple[str, float]]:
    """Return pairs of name and milliseconds from a Server-Timing header.

    Sources
    -------
    W3C Server Timing, section 3 (header syntax).
    """
    return [(name, float(dur_ms)) for name, dur_ms in SERVER_TIMING.findall(text)]
