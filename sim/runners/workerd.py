"""The real runtime, started for one run on this machine and gone after it.

A scenario's routes are played by the *twin*, a Worker of ``deploy/`` for which routes are data, on real D1, R2, Durable
Object and KV bindings; where the scenario has the brief's API, the brief's Worker answers its paths. No account is
needed. The processes are tethered: whatever becomes of this one, they end too and their scratch folder goes with them.
"""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any

from sim.foundation.errors import UsageError
from sim.results.result import Result
from sim.runners import live, raw_workerd
from sim.runners.lifetime import tethered
from sim.runners.load.address import Deployment, read_ready_line
from sim.runners.load.messages import routes_played, socket_routes
from sim.runners.reference import PORT_MAX, Running, as_interrupt, deployment_tables, stop, wait_until_ready
from sim.runners.runtime import Runtime, find
from sim.scenario.routes import expected_uses

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

NAME = "workerd"
TWIN = "twin/index.ts"
"""Module of the Worker that plays routes."""
ALONE = frozenset({"runtime/counter.ts"})
"""Modules that need objects only, so that the runtime serves them by itself."""

PLAYED = frozenset(
    "workers.compute d1.read d1.write r2.put r2.get kv.get kv.put kv.delete kv.list cache.get cache.put cache.delete "
    "queues.send durable_objects.read durable_objects.write ledger.append ledger.balance ledger.flush".split()
)
"""Operations of components that the twin plays (``deploy/twin/operations.ts``)."""

BRIEF: Mapping[str, Any] = {"api": "superinstance", "system": {}, "routes": {}}
"""What is served where no scenario is given: the brief's API, with an instance of every component that it needs."""

DISTANCES = (
    "the runtime ran on this machine: no network, no distant storage and no neighbour is in its times, "
    "so they say nothing about the platform's"
)
"""What must be said wherever a run of it is shown."""

NOT_EXECUTED = (
    "the runtime did not execute the sql of {routes}: it read and wrote as many rows of a table of its own "
    "(headroom d1 --on workerd executes statements)"
)

COPIES = "the runtime has one copy of {name} and no replica: it served every session itself, at once"


def play(scenario: "Scenario", schedule: "Schedule", *, seed: int, progress: bool = False, **options: Any) -> Result:
    """Play *schedule* on the real runtime, which is started for it.

    Parameters
    ----------
    scenario, schedule, seed, progress, **options
        As for :func:`sim.runners.live.play`.

    Raises
    ------
    UsageError
        The runtime is not set up, or a route needs what it does not have: a tunnel.
    RunnerError
        It did not start.
    """
    _refuse_rooms(scenario, socket_routes(scenario) & routes_played(schedule))
    _refuse_operations(scenario, routes_played(schedule) - socket_routes(scenario))
    with running(scenario, seed=seed) as runtime:
        result = live.play(
            scenario, schedule, seed=seed, url=runtime.deployment.http, on=NAME, progress=progress, **options
        )
        return runtime.judged(replace(result, notes=(*result.notes, *_notes(scenario))))


def _notes(scenario: "Scenario") -> tuple[str, ...]:
    """Return what must be said of a run: what is missing on this machine."""
    replicated = [one.name for one in scenario.met if getattr(one.table, "replicas", None) is not None]
    steps = [(name, step) for name, route in scenario.routes.items() for step, _ in expected_uses(route.steps)]
    stated = dict.fromkeys(name for name, step in steps if "sql" in step.parameters)
    said = [NOT_EXECUTED.format(routes=", ".join(stated))] if stated else []
    return (DISTANCES, *(COPIES.format(name=name) for name in replicated), *said)


def _refuse_operations(scenario: "Scenario", routes: Collection[str]) -> None:
    """Refuse routes that use what the twin has no binding for.

    Raises
    ------
    UsageError
        There are such routes.
    """
    instances = scenario.system.instances
    needed: dict[str, list[str]] = {}
    for route in (name for name in scenario.routes if name in routes):
        missing = [
            use
            for use in scenario.operations[route]
            if f"{instances[use.partition('.')[0]].component.name}.{use.partition('.')[2]}" not in PLAYED
        ]
        if missing:
            needed[route] = missing
    if needed:
        said = "; ".join(
            f"route {route} needs {', '.join(dict.fromkeys(missing))}" for route, missing in needed.items()
        )
        way_out = " ".join(f"--set routes.{route}.share=0" for route in needed)
        raise UsageError(f"{said}: the runtime's twin does not play that (on=reference, or {way_out})")


def _refuse_rooms(scenario: "Scenario", routes: Collection[str]) -> None:
    """Refuse routes on WebSockets but those of the brief's API, which are all that the twin serves.

    Raises
    ------
    UsageError
        Such a route uses a room, or there is no such API.
    """
    instances = scenario.system.instances
    for route in sorted(routes):
        used = {instances[name.partition(".")[0]].component.name for name in scenario.operations[route]}
        if not scenario.api or "websocket" in used:
            way_out = f"on=reference, or routes.{route}.share = 0"
            raise UsageError(
                f"route {route} needs rooms on WebSockets, which the runtime's twin does not have ({way_out})"
            )


def deployment_of(scenario: "Scenario | None", *, seed: int) -> Mapping[str, Any]:
    """Return the deployment of a scenario; of none, the brief's API."""
    return BRIEF if scenario is None else deployment_tables(scenario, seed=seed)


@contextmanager
def running(scenario: "Scenario | None" = None, *, seed: int = 0, state: Path | None = None) -> Iterator[Running]:
    """Serve a scenario's routes on the real runtime, on any free port; stop it on every way out.

    Parameters
    ----------
    scenario : Scenario, optional
        Whose routes are played; None: the brief's API.
    seed : int
        Decides what routes do by chance.
    state : Path, optional
        Folder of all state, which survives; by default it is gone at the end.

    Raises
    ------
    UsageError
        The runtime is not set up.
    RunnerError
        It ended, or was not ready in time.
    """
    with serving(deployment_of(scenario, seed=seed), state=state) as started:
        yield started


@contextmanager
def serving(
    deployment: Mapping[str, Any], *, state: Path | None = None, port: int = 0, worker: str = TWIN, raw: bool = False
) -> Iterator[Running]:
    """Serve a deployment as :func:`running` does a scenario's; *worker* is the module in ``deploy/`` that answers.

    With *raw* it needs nothing but Durable Objects of class ``RouteObject``, as the twin does for some deployments.
    """
    alone = worker in ALONE or (worker == TWIN and raw_workerd.suffices(deployment))
    runtime, is_raw = find(), raw or alone
    with TemporaryDirectory(prefix="headroom-workerd-", ignore_cleanup_errors=True) as folder, TemporaryFile() as said:
        scratch = Path(folder)
        kept = _state(scratch, state)
        if is_raw:
            command = raw_workerd.command(scratch, deployment, runtime=runtime, state=kept, port=port, worker=worker)
        else:
            options = _options(scratch, deployment, state=kept, port=port, worker=worker)
            command = tethered(os.getpid(), signal.SIGTERM, command=runtime.starter(options))
        # A session of its own, so that a Ctrl-C meant for the load run does not reach it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
            env=_environment(scratch, runtime),
        )
        try:
            started = Running(Deployment(""), process, said, NAME)
            line = wait_until_ready(started)
            at = Deployment(raw_workerd.read_listening(line)) if is_raw else read_ready_line(line)
            yield replace(started, deployment=at)
        finally:
            stop(process)


def serve(scenario: "Scenario | None" = None, *, port: int = 0, data: Path | None = None) -> int:
    """Serve on the real runtime in the foreground until Ctrl-C or SIGTERM; return its exit status, 0 if it was stopped.

    It prints its ready line, a JSON object that says where it listens.

    Parameters
    ----------
    scenario : Scenario, optional
        Whose routes are played; None: the brief's API.
    port : int
        On 127.0.0.1; 0 takes any that is free.
    data : Path, optional
        Folder of all state; by default it is gone at the end.

    Raises
    ------
    UsageError
        The port is none, or the runtime is not set up.
    """
    if not 0 <= port <= PORT_MAX:
        raise UsageError(f"port={port} must be 0 to {PORT_MAX} (0 takes any that is free)")
    runtime = find()
    with (
        TemporaryDirectory(prefix="headroom-serve-", ignore_cleanup_errors=True) as folder,
        as_interrupt(signal.SIGTERM),
    ):
        deployment = deployment_of(scenario, seed=0 if scenario is None else scenario.seed)
        options = _options(Path(folder), deployment, state=_state(Path(folder), data), port=port, worker=TWIN)
        command = tethered(os.getpid(), signal.SIGTERM, command=runtime.starter(options))
        # A session of its own: a Ctrl-C that comes to this process alone must stop it as one from the terminal does.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, env=_environment(Path(folder), runtime)
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            stop(process)


def _options(scratch: Path, deployment: Mapping[str, Any], *, state: Path, port: int, worker: str) -> Path:
    """Write what is to be started."""
    options = {
        "deployment": deployment,
        "worker": worker,
        "port": port,
        "state": str(state),
        "scratch": str(scratch),
    }
    file = scratch / "options.json"
    file.write_text(json.dumps(options))
    return file


def _state(scratch: Path, asked: Path | None) -> Path:
    return scratch / "state" if asked is None else asked.absolute()


def _environment(scratch: Path, runtime: Runtime) -> dict[str, str]:
    """Return the environment in which Node starts the runtime: tethered, so that a killed Node leaves none behind."""
    command = tethered(0, signal.SIGKILL, command=[runtime.workerd])
    words = [shlex.quote(str(word)) for word in command]
    words[words.index("0")] = "$PPID"
    starter = scratch / "workerd"
    note = f"echo $$ > {shlex.quote(str(scratch / 'workerd.pid'))}"
    starter.write_text(f'#!/bin/sh\n{note}\nexec {" ".join(words)} "$@"\n')
    starter.chmod(0o700)
    return {**os.environ, "MINIFLARE_WORKERD_PATH": str(starter), "NO_COLOR": "1"}
