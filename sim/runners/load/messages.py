"""What one request looks like on its way out, and what its answer says.

All messages are built before the first one is sent: the time of sending is for sending. A message knows nothing of
HTTP or QUIC libraries, so that both ways in carry the same one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import UsageError
from sim.flow import OUTCOMES
from sim.results.result import TIME_COLUMNS

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

UPLOAD_BLOCK_BYTES = 2**18
"""Uploads repeat one block of this size: memory stays small whatever the sizes, and a block fills a socket's buffer."""

SERVER_TIMING = re.compile(r'(\w+)(?:;\s*desc="[^"]*")?;\s*dur=(\d{1,12}(?:\.\d+)?)')
TIME_COLUMN = {column.removesuffix("_ms"): n for n, column in enumerate(TIME_COLUMNS)}
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
        Length that the answer must have; -1 where any will do.
    tunnel : bool
        Goes through the QUIC tunnel.
    """

    method: str
    path: str
    body: bytes = b""
    upload_bytes: int = 0
    download_bytes: int = -1
    tunnel: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: HTTP *status*, the text of its Server-Timing header, and the length of its body."""

    status: int
    server_timing: str
    body_bytes: int


HEALTH = Message("GET", "/health")


def messages(schedule: "Schedule", *, run: str, start_time_ms: float) -> list[Message]:
    """The messages of a schedule, in its order.

    Parameters
    ----------
    schedule : Schedule
    run : str
        Goes into every event's id, so that two runs against one deployment never send the same event.
    start_time_ms : float
        Wall clock at the first intended send; events carry the time at which they are meant to happen.

    Raises
    ------
    UsageError
        The schedule holds a route that has no message.
    """
    unknown = sorted(routes_played(schedule) - set(ROUTES))
    if unknown:
        raise UsageError(f"route={unknown[0]!r} must be one of {', '.join(ROUTES)}")
    write = [ROUTES.get(route, _search) for route in schedule.routes]
    return [
        write[code](schedule, request, f"{run}-{request}", start_time_ms)
        for request, code in enumerate(schedule.route_code.tolist())
    ]


def routes_played(schedule: "Schedule") -> set[str]:
    """Routes that occur at least once."""
    return {schedule.routes[code] for code in np.unique(schedule.route_code)}


def catalogue(schedule: "Schedule") -> dict[int, int]:
    """Objects that must be there before the first download: size in bytes by LoRA number."""
    is_download = np.array([route == "download" for route in schedule.routes])[schedule.route_code]
    lora, first = np.unique(schedule.lora[is_download], return_index=True)
    sizes = schedule.size_bytes[is_download][first]
    return dict(zip(lora.tolist(), sizes.tolist(), strict=True))


def put_lora(lora: int, *, size_bytes: int) -> Message:
    """Upload of adapter number *lora*."""
    return Message("PUT", f"/loras/lora-{lora}/adapter.safetensors", upload_bytes=size_bytes)


def get_lora(lora: int, *, size_bytes: int) -> Message:
    """Download of adapter number *lora*, which must be *size_bytes* long."""
    return Message("GET", f"/loras/lora-{lora}/adapter.safetensors", download_bytes=size_bytes)


def upload_block(seed: int) -> memoryview:
    """The block of bytes that all uploads repeat: noise, so that nothing on the way can compress it."""
    return memoryview(np.random.default_rng(seed).bytes(UPLOAD_BLOCK_BYTES))


def upload_parts(block: memoryview, *, size_bytes: int) -> Iterator[memoryview]:
    """Cut *size_bytes* into slices of the shared block."""
    for start in range(0, size_bytes, len(block)):
        yield block[: min(len(block), size_bytes - start)]


def outcome_of(message: Message, answer: Answer) -> str:
    """How a request ended, by its answer's status; a download of the wrong length is an error."""
    status = answer.status
    if 200 <= status < 300:
        wrong = message.download_bytes >= 0 and answer.body_bytes != message.download_bytes
        return "error" if wrong else "ok"
    if status == 503:
        return "overloaded"
    if status == 413:
        return "too_large"
    return "error" if status >= 500 else "refused"


def read_server_timing(text: str) -> list[tuple[int, float]]:
    """Pairs of (index into TIME_COLUMNS, milliseconds) from a Server-Timing header; unknown names are left out.

    Sources
    -------
    W3C Server Timing, section 3 (header syntax).
    """
    return [(TIME_COLUMN[name], float(dur_ms)) for name, dur_ms in SERVER_TIMING.findall(text) if name in TIME_COLUMN]


def _event(schedule: "Schedule", request: int, event_id: str, start_time_ms: float) -> bytes:
    key = int(schedule.key[request])
    event = {
        "event_id": event_id,
        "organization_id": f"org-{key}",
        "user_id": f"user-{key}",
        "model": "sonnet",
        "tokens_in": int(schedule.tokens_in[request]),
        "tokens_out": int(schedule.tokens_out[request]),
        "event_time_ms": int(start_time_ms + schedule.arrival_ms[request]),
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _log(schedule: "Schedule", request: int, event_id: str, start_time_ms: float) -> Message:
    return Message("POST", "/log", _event(schedule, request, event_id, start_time_ms))


def _device_log(schedule: "Schedule", request: int, event_id: str, start_time_ms: float) -> Message:
    body = _event(schedule, request, event_id, start_time_ms)
    return Message("POST", "/log", body, tunnel=True)


def _balance(schedule: "Schedule", request: int, *_: object) -> Message:
    return Message("GET", f"/balance?organization_id=org-{schedule.key[request]}")


def _search(*_: object) -> Message:
    return Message("GET", "/loras?domain=code&limit=20")


def _flush(schedule: "Schedule", request: int, *_: object) -> Message:
    return Message("POST", f"/flush?organization_id=org-{schedule.key[request]}")


def _upload(schedule: "Schedule", request: int, *_: object) -> Message:
    return put_lora(int(schedule.lora[request]), size_bytes=int(schedule.size_bytes[request]))


def _download(schedule: "Schedule", request: int, *_: object) -> Message:
    return get_lora(int(schedule.lora[request]), size_bytes=int(schedule.size_bytes[request]))


ROUTES = {
    "log": _log,
    "balance": _balance,
    "search": _search,
    "upload": _upload,
    "download": _download,
    "device_log": _device_log,
    "flush": _flush,
}
"""How each route of a schedule becomes a message."""
