"""The server process: opens files and sockets, prints the ready line, serves, and shuts down cleanly."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from uvicorn.server import Server

from reference_impl.deployment import Deployment
from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.server.asyncio_clock import AsyncioClock, new_event_loop
from reference_impl.server.certs import SERVER_NAME, CertificateFiles, ensure_files
from reference_impl.server.connections import raise_descriptor_limit
from reference_impl.server.disks import FileVolumes, Fsync
from reference_impl.server.http import http_config
from reference_impl.server.quic import serve_tunnel
from reference_impl.server.stalls import Limits
from reference_impl.workers.access import Gatekeeper

BACKLOG = 1_024
SYSTEM_FOLDER = "system"
"""Below the data folder: a folder for each instance."""
PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    """The options of the server process.

    Parameters
    ----------
    host, port, quic_port
        Address to listen on; port 0 takes any free one.
    data
        Folder of all state; created if it does not exist.
    specification
        Instances and routes of the deployment.
    fsync
        Durability of writes, see :mod:`reference_impl.server.disks`.
    access
        The keys; None: no key is required.
    limits
        Time limits of connections.
    """

    host: str
    port: int
    quic_port: int
    data: Path
    specification: Specification
    fsync: Fsync
    access: Gatekeeper | None = None
    limits: Limits = field(default_factory=Limits)


def run(options: Options) -> None:
    """Serve until the process gets a signal to stop.

    Raises
    ------
    ConfigError
        If a port or the data folder is not available, or a migration fails.
    """
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(options))


async def _serve(options: Options) -> None:
    listener = listen(options.host, options.port)
    clock = AsyncioClock()
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        deployment = stack.enter_context(open_deployment(options, clock))
        files = ensure_files(options.data / "certs")
        try:
            quic, quic_port = await serve_tunnel(deployment, files, host=options.host, port=options.quic_port)
        except OSError as error:
            raise _port_taken("quic-port", options.quic_port, error=error) from None
        stack.callback(quic.close)
        http = _Server(http_config(deployment, limits=options.limits))
        _stop_on_signal(http)
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        await http.has_started.wait()
        # Objects that exist now live as long as the process, so the collector need not scan them again.
        gc.collect()
        gc.freeze()
        _say_ready(options.host, listener.getsockname()[1], quic_port, files)
        await serving
        await clock.cancel_all()


@contextlib.contextmanager
def open_deployment(options: Options, clock: AsyncioClock) -> Iterator[Deployment]:
    """Build a deployment on files in the data folder; close them at exit."""
    volumes = FileVolumes(options.data / SYSTEM_FOLDER, fsync=options.fsync)
    with contextlib.closing(volumes):
        try:
            options.data.mkdir(parents=True, exist_ok=True)
            deployment = Deployment(
                options.specification, volumes, clock=clock, migrations=migration_files(), access=options.access
            )
        except OSError as error:
            raise ConfigError(f"data={str(options.data)!r} must be a writable folder: {error}") from None
        yield deployment


def migration_files() -> dict[str, str]:
    """Return the SQL of every migration by file name, from the wheel or from the repository."""
    for folder in (PACKAGE / "_migrations", PACKAGE.parent / "deploy" / "migrations"):
        if folder.is_dir():
            return {path.name: path.read_text() for path in sorted(folder.glob("*.sql"))}
    raise ConfigError("no migrations found; deploy/migrations belongs to the installation")


def listen(host: str, port: int) -> socket.socket:
    """Open the HTTP socket.

    Raises
    ------
    ConfigError
        If the port is not available.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol is given explicitly because asyncio disables Nagle's algorithm only then; with Nagle's
        # algorithm a response of two writes waits up to 40 ms for a delayed acknowledgement.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise _port_taken("port", port, error=error) from None
    return listener


def _port_taken(option: str, port: int, *, error: OSError) -> ConfigError:
    reason = error.strerror or str(error)
    return ConfigError(f"{option}={port} cannot be had: {reason}; choose another or 0 for any")


class _Server(Server):
    """uvicorn that signals when it has started and leaves signals alone.

    uvicorn's own handlers would end the process by the signal instead of with status 0.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.has_started.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop_on_signal(http: Server) -> None:
    def stop() -> None:
        http.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _say_ready(host: str, port: int, quic_port: int, files: CertificateFiles) -> None:
    ready = {
        "http": f"http://{host}:{port}",
        "quic": {
            "host": host,
            "port": quic_port,
            "server_name": SERVER_NAME,
            "ca": str(files.ca),
            "cert": str(files.device_cert),
            "key": str(files.device_key),
        },
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
