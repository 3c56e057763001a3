"""A reference deployment served on loopback from inside the test, so that its limits and its parts can be chosen."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reference_impl.deployment import Deployment
from reference_impl.deployment_file import Specification
from reference_impl.server.app import Options, _Server, listen, open_deployment
from reference_impl.server.asyncio_clock import AsyncioClock, new_event_loop
from reference_impl.server.http import http_config
from reference_impl.server.stalls import Limits
from reference_impl.workers.access import Gatekeeper

T = TypeVar("T")

WAIT_S = 600.0
"""After so long, on the loop's clock, a test gives up: a bound on its own time, never on what it measures."""


@dataclass
class Served:
    """A deployment that is being served.

    Parameters
    ----------
    runner
        The event loop that it lives in; it runs while the test runs something in it.
    deployment
        The deployment.
    server
        uvicorn's.
    address
        Host and port.
    """

    runner: asyncio.Runner
    deployment: Deployment
    server: _Server
    address: tuple[str, int]

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def connections(self) -> int:
        """How many connections it has."""
        return len(self.server.server_state.connections)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a client in the same loop, for at most :data:`WAIT_S`."""
        return self.runner.run(asyncio.wait_for(coroutine, WAIT_S))


@contextmanager
def serving(
    data: Path,
    *,
    access: Gatekeeper | None = None,
    limits: Limits | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> Iterator[Served]:
    """Serve a deployment whose state is in the folder *data*."""
    options = Options("127.0.0.1", 0, 0, data, Specification.full_speed(), "off", access, limits or Limits())
    with asyncio.Runner(loop_factory=loop_factory) as runner, listen(options.host, 0) as listener:
        clock = runner.run(_clock())
        with open_deployment(options, clock) as deployment:
            served = runner.run(_started(runner, deployment, listener, options.limits))
            try:
                yield served
            finally:
                runner.run(_stopped(served, clock))


async def _clock() -> AsyncioClock:
    return AsyncioClock()


async def _started(runner: asyncio.Runner, deployment: Deployment, listener: socket.socket, limits: Limits) -> Served:
    server = _Server(http_config(deployment, limits=limits))
    served = Served(runner, deployment, server, listener.getsockname())
    server.serving = asyncio.create_task(server.serve(sockets=[listener]))  # type: ignore[attr-defined]  # kept
    await server.has_started.wait()
    return served


async def _stopped(served: Served, clock: AsyncioClock) -> None:
    served.server.should_exit = True
    await served.server.serving  # type: ignore[attr-defined]  # see above
    await clock.cancel_all()


async def gone(running: Served, *, left: int = 0) -> None:
    """Wait until the server has no more than *left* connections."""
    while running.connections > left:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.1)
