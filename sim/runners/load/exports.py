"""Write a schedule for other load generators: a k6 script, or a Locust user class, with the requests as data.

Both play what our own driver plays: the same requests at the same intended times, an open loop with a bound on what is
in flight, and latency counted from the intended send. Secrets are not written: the scripts read the same environment
variables.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.foundation.errors import UsageError
from sim.foundation.files import whole_file
from sim.runners.load.messages import Message, messages

if TYPE_CHECKING:
    from sim.runners.load.options import LoadOptions
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

TEMPLATES = Path(__file__).with_name("templates")

SCRIPTS = {"k6": "k6.js", "locust": "locustfile.py"}
"""Script of each tool; its data stand beside it in ``schedule.json``."""

DATA = "schedule.json"

NEEDED = {"tunnel": "a tunnel", "socket": "a WebSocket", "s3": "an S3 client"}
"""What neither script has."""


def export(
    scenario: "Scenario", schedule: "Schedule", *, folder: Path, tool: str, url: str, options: "LoadOptions", run: str
) -> tuple[Path, ...]:
    """Write script and data of *tool* into *folder*; return their paths.

    Parameters
    ----------
    scenario, schedule
        An open loop, without routes through a tunnel, which neither tool has.
    folder : Path
        Made if it does not exist; the files must not.
    tool : {"k6", "locust"}
    url : str
        That the script sends to.
    options : LoadOptions
        Headers, timeout and bound of the script.
    run : str
        Part of ids.

    Raises
    ------
    UsageError
        Another tool, a closed loop, a route through a tunnel, or a file that exists.
    """
    if tool not in SCRIPTS:
        raise UsageError(f"to={tool!r} must be one of {', '.join(SCRIPTS)}")
    if schedule.user is not None:
        raise UsageError("workload.arrivals.kind='closed' has no times to export; an open loop has")
    made = messages(scenario, schedule, run=run, start_time_ms=0.0, identified=False)
    for request, message in made.items():
        if message.wire != "http":
            name, needed = schedule.routes[schedule.route_code[request]], NEEDED[message.wire]
            raise UsageError(f"route {name} needs {needed}, which is not exported (set routes.{name}.share = 0)")
    document = {
        "url": url,
        "timeout_ms": scenario.system.client.timeout_ms,
        "in_flight": options.caps.in_flight,
        "duration_ms": schedule.duration_ms,
        "headers": dict(options.headers.given),
        "requests": [_row(schedule, request, message) for request, message in made.items()],
    }
    script = (TEMPLATES / SCRIPTS[tool]).read_text(encoding="utf-8")
    texts = {folder / SCRIPTS[tool]: script, folder / DATA: json.dumps(document) + "\n"}
    for path in texts:
        if path.exists():
            raise UsageError(f"out={str(path)!r} must not exist")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with whole_file(path) as file:
                file.write(text.encode())
    except OSError as error:
        raise UsageError(f"out={str(folder)!r} cannot be written to: {error.strerror}") from None
    return tuple(texts)


def _row(schedule: "Schedule", request: int, message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {
        "at_ms": round(float(schedule.arrival_ms[request]), 3),
        "route": schedule.routes[schedule.route_code[request]],
        "method": message.method,
        "path": message.path,
    }
    if message.upload_bytes:
        row["upload_bytes"] = message.upload_bytes
    elif message.body:
        row["body"] = message.body.decode()
    if message.download_bytes >= 0:
        row["download_bytes"] = message.download_bytes
    return row
