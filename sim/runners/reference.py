"""The embedded reference deployment, started for one run and stopped after it.

It is a process of its own, reached over HTTP and QUIC like any deployment: the two sides share only a file with the
scenario's numbers, and the ready line. When this process ends, whether by an exception, Ctrl-C or SIGKILL, the
reference ends too and its data directory is removed (:mod:`sim.runners.sitter`).
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from sim.flow import settled
from sim.foundation.errors import RunnerError, UsageError
from sim.results.result import Result
from sim.runners import live
from sim.runners.lifetime import attended
from sim.runners.load.address import Deployment, read_ready_line
from sim.runners.load.self_check import SelfCheck
from sim.runners.statement_rows import as_dicts, not_executed, statement_rows
from sim.scenario.routes import expected_uses

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

PROCESS = "sim.runners.reference_process"
"""Module that is run as the reference's process."""

READY_S = 30.0
"""Time limit for the ready line: it takes about one second, on a loaded machine several."""

STOP_S = 5.0
"""Time to stop when asked; then it is killed."""

DUE_REQUESTS = 200
"""Requests whose arrivals tell the reference when the schedule began: the timeliest of so many counts."""

UNKEPT_SHARE_MAX = 0.10
"""A tenth of the median is the smallest tolerance of a comparison: where so much of it is in no component of the
reference, beyond what the wire and an idle server take, the comparison would be with this machine."""

LINE_BYTES_MAX = 2**16
PORT_MAX = 65_535


@dataclass(frozen=True)
class Running:
    """A running reference deployment."""

    deployment: Deployment
    process: "subprocess.Popen[bytes]"
    messages: IO[bytes]
    name: str = "reference"

    def last_message(self) -> str:
        """The last line that it wrote on its standard error."""
        self.messages.seek(0)
        lines = self.messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def judged(self, result: Result) -> Result:
        """Return *result*, marked INVALID if the deployment ended while it was played."""
        status = self.process.poll()
        if status is None:
            return result
        note = f"INVALID: {self.spoken} ended with status {status}: {self.last_message()}"
        return replace(result, interrupted=True, valid=False, notes=(*result.notes, note))

    @property
    def spoken(self) -> str:
        """Its name in a sentence."""
        return f"the {self.name}" if self.name == "reference" else self.name


def play(scenario: "Scenario", schedule: "Schedule", *, seed: int, progress: bool = False, **options: Any) -> Result:
    """Play *schedule* on a reference that is started for it, paced by the scenario's numbers.

    Parameters
    ----------
    scenario, schedule, seed, progress, **options
        As for :func:`sim.runners.live.play`.

    Raises
    ------
    RunnerError
        The reference did not start.
    """
    with running(scenario, seed=seed, schedule=schedule) as reference:
        result = live.play(
            scenario, schedule, seed=seed, url=reference.deployment.http,
            tunnel=reference.deployment.tunnel, on="reference", progress=progress, **options,
        )  # fmt: skip
        return with_statements(in_pace(reference.judged(result)), reference.deployment.http)


def in_pace(result: Result) -> Result:
    """Return *result*, marked INVALID if the machine was too busy for the reference to keep the scenario's times."""
    if not result.valid or result.frame.empty:
        return result
    check = SelfCheck.from_dict(result.generator)
    late_ms = check.overhead_ms_p50 - check.floor_ms_p50
    if not late_ms > UNKEPT_SHARE_MAX * check.latency_ms_p50:  # Without an answer it is nan.
        return result
    share = f"{late_ms / check.latency_ms_p50:.0%}".replace("%", " %")
    note = (
        f"INVALID: {late_ms:.3g} ms, {share} of the P50 of latency, are in no component, more than "
        f"{100 * UNKEPT_SHARE_MAX:.0f} %: the machine was too busy (less load, or a quieter machine)"
    )
    return replace(result, valid=False, notes=(note, *result.notes))


def with_statements(result: Result, url: str) -> Result:
    """Return *result* with what its statements read and wrote, beside the bill, and what was not executed."""
    scenario = result.scenario
    notes = tuple(said for instance, asked in _asked(scenario) if (said := not_executed(instance, asked)))
    try:
        rows = statement_rows(scenario, url)
    except OSError as error:  # It ended, which the result says already.
        rows, notes = (), (*notes, f"the rows of statements are not known: {error}")
    generator = result.generator | ({"statements": as_dicts(rows)} if rows else {})
    return replace(result, generator=generator, notes=(*result.notes, *notes, *(row.sentence() for row in rows)))


def _asked(scenario: "Scenario") -> Iterator[tuple["Instance", list[Any]]]:
    """Yield every instance with the parameters of all steps that use it."""
    found: dict[str, list[Any]] = {}
    for route in scenario.routes.values():
        for step, _ in expected_uses(route.steps):
            name, _, operation = str(step.use).partition(".")
            wanted = scenario.system.instances[name].component.operations[operation]
            found.setdefault(name, []).append(wanted.parameters.model_validate(step.parameters))
    return ((scenario.system.instances[name], asked) for name, asked in found.items())


@contextmanager
def running(
    scenario: "Scenario | None" = None, *, seed: int = 0, schedule: "Schedule | None" = None
) -> Iterator[Running]:
    """Start a reference on free ports of this machine, and stop it in any case.

    Parameters
    ----------
    scenario : Scenario, optional
        Whose platform latencies it keeps; None: full speed.
    seed : int
        Chooses its draws, which are its own: the reference shares no code with the model.
    schedule : Schedule, optional
        What will be played on it: its faults have the times of these requests. Without it there are none.

    Raises
    ------
    RunnerError
        It ended, or was not ready in time.
    """
    with TemporaryDirectory(prefix="headroom-reference-") as folder, TemporaryFile() as messages:
        process = _start(Path(folder), scenario, seed=seed, schedule=schedule, messages=messages)
        try:
            reference = Running(Deployment(""), process, messages)
            yield replace(reference, deployment=read_ready_line(wait_until_ready(reference)))
        finally:
            stop(process)


def serve(scenario: "Scenario | None" = None, *, port: int = 0, quic_port: int = 0, data: Path | None = None) -> int:
    """Run a reference in the foreground until it is stopped; return its exit status.

    It prints its ready line, a JSON object that says where it listens. Ctrl-C and SIGTERM end it and free its ports; so
    does the end of this process, whatever ends it.

    Parameters
    ----------
    scenario : Scenario, optional
        Whose platform latencies it keeps; None: full speed.
    port, quic_port : int
        Ports on 127.0.0.1; 0 takes any free one.
    data : Path, optional
        Folder for all state; by default a temporary one.

    Raises
    ------
    UsageError
        A port number is out of range.
    """
    for name, number in (("port", port), ("quic_port", quic_port)):
        if not 0 <= number <= PORT_MAX:
            raise UsageError(f"{name}={number} must be 0 to {PORT_MAX} (0 takes any that is free)")
    with TemporaryDirectory(prefix="headroom-serve-") as folder, as_interrupt(signal.SIGTERM):
        arguments: list[str | Path] = ["--host", "127.0.0.1", "--port", str(port), "--quic-port", str(quic_port)]
        if data is not None:
            arguments += ["--data", data.absolute()]
        arguments += _arguments(Path(folder), scenario, seed=0 if scenario is None else scenario.seed)
        process = _attended(Path(folder), arguments)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()
        finally:
            stop(process)


@contextmanager
def as_interrupt(number: signal.Signals) -> Iterator[None]:
    """Let a signal end the block as Ctrl-C does; only a main thread hears signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def deployment_tables(scenario: "Scenario", *, seed: int, schedule: "Schedule | None" = None) -> dict[str, Any]:
    """Return the description of a deployment: the system's numbers, the routes that it answers, its faults."""
    tables = scenario.model_dump(mode="json", include={"api", "system"})
    tables["routes"] = {name: route.model_dump(mode="json") for name, route in scenario.routes.items()}
    for name, route in tables["routes"].items():
        route["request"] = scenario.request(name).model_dump(mode="json", include={"method", "path"})
        tables["routes"][name] = {key: route[key] for key in ("enter", "request", "steps")}
        for step in route["steps"]:
            _complete(step, scenario)
    for instance, asked in _asked(scenario):
        if not not_executed(instance, asked):
            tables["system"][instance.name] |= instance.component.played(instance, asked)
    if schedule is not None and scenario.faults:
        tables["faults"] = _fault_tables(scenario, schedule, seed=seed)
    return {"seed": seed, **tables}


def _fault_tables(scenario: "Scenario", schedule: "Schedule", *, seed: int) -> dict[str, Any]:
    """Return when the first requests are due, and each fault of each instance with its windows."""
    found = []
    for one in scenario.injected:
        windows, fault = settled(one.windows, seed), one.fault
        table = {
            "instance": one.name,
            "kind": fault.kind,
            "edges_ms": [edge for span in windows.spans for edge in span],
            "keys": list(windows.keys),
            "instances": windows.instances,
            "error": fault.error,
        }
        optional = {"factor": fault.factor, "share": fault.share}
        found.append(table | {key: value for key, value in optional.items() if value is not None})
    return {"due_ms": schedule.arrival_ms[:DUE_REQUESTS].tolist(), "list": found}


def _deployment_file(folder: Path, scenario: "Scenario", *, seed: int, schedule: "Schedule | None") -> Path:
    """Write that description to a file."""
    file = folder / "deployment.json"
    file.write_text(json.dumps(deployment_tables(scenario, seed=seed, schedule=schedule)))
    return file


def _complete(step: dict[str, Any], scenario: "Scenario") -> None:
    """Add what the model knows of an operation's parameters and the reference cannot."""
    for inner in step["steps"] or ():
        _complete(inner, scenario)
    if step["use"] is not None:
        where, _, name = step["use"].partition(".")
        instance = scenario.system.instances[where]
        operation = instance.component.operations[name]
        asked = operation.parameters.model_validate(step["parameters"])
        step["parameters"] = {**step["parameters"], **operation.played(instance, asked)}


def _arguments(
    folder: Path, scenario: "Scenario | None", *, seed: int, schedule: "Schedule | None" = None
) -> list[str | Path]:
    """Return the command-line arguments for a deployment as *scenario* describes it."""
    if scenario is None:
        return []
    own = dict.fromkeys(instance.component.reference for instance in scenario.system.instances.values())
    parts = [argument for file in own if file is not None for argument in ("--part", file)]
    return [*parts, "--deployment", _deployment_file(folder, scenario, seed=seed, schedule=schedule)]


def _start(
    folder: Path, scenario: "Scenario | None", *, seed: int, schedule: "Schedule | None", messages: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start the process on free ports, to be read and not to be seen."""
    arguments: list[str | Path] = ["--host", "127.0.0.1", "--port", "0", "--quic-port", "0", "--data", folder / "data"]
    arguments += _arguments(folder, scenario, seed=seed, schedule=schedule)
    return _attended(folder, arguments, stdout=subprocess.PIPE, stderr=messages)


def _attended(folder: Path, arguments: "list[str | Path]", **streams: Any) -> "subprocess.Popen[bytes]":
    """Start the process in a session of its own, so that a Ctrl-C meant for this process does not reach it."""
    return subprocess.Popen(
        attended(folder, command=[sys.executable, "-P", "-m", PROCESS, *arguments]),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **streams,
    )


def wait_until_ready(reference: Running) -> str:
    """Return the first line that a deployment prints.

    Raises
    ------
    RunnerError
        The deployment ended, or was not ready in time.
    """
    assert reference.process.stdout is not None
    pipe = reference.process.stdout
    line = b""
    deadline_s = time.monotonic() + READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                raise RunnerError(f"{reference.spoken} was not ready after {READY_S:g} s: {reference.last_message()}")
            part = os.read(pipe.fileno(), LINE_BYTES_MAX)
            if not part:
                raise RunnerError(f"{reference.spoken} did not start: {reference.last_message()}")
            line += part
    return line.decode(errors="replace")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to stop; kill it if it does not, or on a further interrupt."""
    with process:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
