"""The runtime without anything around it, where a deployment needs none: only Durable Objects, no D1, R2 or KV.

Miniflare brings D1, R2 and KV as Workers of its own, and takes a process for it. A deployment whose routes use none of
them runs on workerd alone, from a configuration that is written here: no Node runs beside it, and it is ready in a
few tens of milliseconds.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.foundation.errors import RunnerError
from sim.runners.lifetime import attended
from sim.runners.runtime import Runtime

ALONE = frozenset({"workers", "durable_objects"})
"""Components whose operations the runtime does by itself."""
COMPATIBILITY_DATE = "2026-11-01"

CONFIG = """\
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "state", disk = (path = {state}, writable = true)),
  ],
  sockets = [(name = "http", address = {address}, http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [(name = "main.mjs", esModule = embed "main.mjs")],
  compatibilityDate = {date},
  bindings = [
    (name = "DEPLOYMENT", json = {deployment}),
    (name = "ROUTE_OBJECTS", durableObjectNamespace = "RouteObject"),
  ],
  durableObjectNamespaces = [(className = "RouteObject", uniqueKey = "main-RouteObject", enableSql = true)],
  durableObjectStorage = (localDisk = "state"),
);
"""
"""Keys of the objects' storage are Miniflare's, so that either way of starting finds the other's state."""


def suffices(deployment: Mapping[str, Any]) -> bool:
    """Whether the routes of a deployment use nothing that the runtime does not do by itself."""
    system = deployment["system"]
    used = {use.partition(".")[0] for route in deployment["routes"].values() for use in _uses(route["steps"])}
    components = {system.get(name, {}).get("component", name) for name in used}
    return not deployment.get("api") and bool(used) and components <= ALONE


def _uses(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        if step.get("use"):
            yield step["use"]
        yield from _uses(step.get("steps") or ())


def command(
    scratch: Path, deployment: Mapping[str, Any], *, runtime: Runtime, state: Path, port: int, worker: str
) -> list[str | Path]:
    """Write the configuration and return the command that serves it.

    Raises
    ------
    RunnerError
        The Worker cannot be built.
    """
    _bundle(runtime, worker=worker, to=scratch / "main.mjs")
    objects = state / "do"
    objects.mkdir(parents=True, exist_ok=True)
    texts = {
        "state": str(objects),
        "address": f"127.0.0.1:{port}",
        "date": COMPATIBILITY_DATE,
        "deployment": json.dumps(deployment),
    }
    config = scratch / "config.capnp"
    # A text of Cap'n Proto is written as one of JSON; what JSON would write as \\u is ASCII here, or kept as it is.
    config.write_text(CONFIG.format(**{name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()}))
    return attended(scratch, command=[runtime.workerd, "serve", "--control-fd=1", config])


def _bundle(runtime: Runtime, *, worker: str, to: Path) -> None:
    esbuild = runtime.deploy / "node_modules" / "esbuild" / "bin" / "esbuild"
    options = ["--bundle", "--format=esm", "--target=es2024", "--conditions=workerd,worker", "--log-level=error"]
    options += ["--external:cloudflare:*", "--external:node:*", f"--outfile={to}"]
    built = subprocess.run(
        [runtime.node, esbuild, runtime.deploy / worker, *options], capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise RunnerError(f"{worker} cannot be built: {(built.stderr.strip() or 'no reason given').splitlines()[0]}")


def read_listening(line: str) -> str:
    """Return the address that the runtime says it listens on.

    Raises
    ------
    RunnerError
        The line is not what it writes when a socket is open.
    """
    try:
        return f"http://127.0.0.1:{int(json.loads(line)['port'])}"
    except (ValueError, KeyError, TypeError):
        raise RunnerError(f"workerd said {line.strip()[:80]!r} in place of the port that it listens on") from None
