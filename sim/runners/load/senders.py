"""The senders of one process of a load run, by what messages travel by: opened together, closed in any case."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from sim.foundation.errors import RunnerError
from sim.runners.load.address import Deployment
from sim.runners.load.h3_sender import H3Sender
from sim.runners.load.http_sender import HttpSender
from sim.runners.load.messages import Sender, Wire, upload_block
from sim.runners.load.options import LoadOptions
from sim.runners.load.quic_sender import QuicSender
from sim.runners.load.s3_sender import S3Sender
from sim.runners.load.s3_target import UploadTerms
from sim.runners.load.socket_sender import SocketSender

if TYPE_CHECKING:
    from sim.scenario.sockets import Socket

WARM_CONNECTIONS = 16
"""Connections opened before the run: 60 requests/s that each take 250 ms occupy 15."""

PREPARE_S = 120.0
"""Time limit for warming up and for sixteen paced uploads, which take seconds."""

UNREACHABLE = (OSError, aiohttp.ClientError)

Other = QuicSender | SocketSender | S3Sender


@dataclass(frozen=True)
class Wanted:
    """The senders that a run needs.

    Attributes
    ----------
    deployment : Deployment
    options : LoadOptions
    seed : int
        Of the upload bytes.
    http : bool
        Whether some request goes to the deployment at all.
    tunnel : bool
        Whether some request goes through the tunnel.
    sockets : mapping of str to Socket
        Terms of the routes that are played on WebSockets.
    uploads : mapping of str to UploadTerms
        Of the routes that upload to an S3 endpoint.
    timeout_s : float
        Of the scenario's client.
    """

    deployment: Deployment
    options: LoadOptions
    seed: int
    http: bool
    tunnel: bool
    sockets: "Mapping[str, Socket]"
    uploads: Mapping[str, UploadTerms]
    timeout_s: float


class Senders:
    """The open senders: *by_wire*, with the HTTP one as *http*."""

    def __init__(self, http: HttpSender | H3Sender, others: Mapping[Wire, Other]) -> None:
        self.http = http
        self.others = others
        self.by_wire: dict[Wire, Sender] = {"http": http, **others}

    def facts(self) -> dict[str, Any]:
        """Return the counts of all of them, for ``Result.generator``; they are whole once these are closed."""
        return {name: value for sender in self.others.values() for name, value in sender.facts().items()}


def _refusal(error: BaseException) -> str:
    """Return why nothing can be sent, and the way out, in one line."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"what came back is no HTTP: {' '.join(error.message.split())} (another port, or another protocol?)"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        trusted = "SSL_CERT_FILE=authority.pem trusts its own authority"
        return f"its certificate does not fit: {one_line(error.certificate_error)} ({trusted})"
    return f"{one_line(error)} (is it running? headroom serve)"


@asynccontextmanager
async def opened(wanted: Wanted) -> AsyncIterator[Senders]:
    """Yield open senders, and close them in any case.

    Raises
    ------
    RunnerError
        The deployment does not answer.
    """
    deployment, options = wanted.deployment, wanted.options
    block, headers = upload_block(wanted.seed), options.headers.values()
    http = (H3Sender if options.http3 else HttpSender)(
        deployment.http,
        connections_max=options.connections_max,
        block=block,
        headers=headers,
        keep_alive=options.keep_alive,
    )
    others: dict[Wire, Other] = {}
    if wanted.tunnel and deployment.tunnel is not None:
        others["tunnel"] = QuicSender(deployment.tunnel)
    if wanted.sockets:
        others["socket"] = SocketSender(deployment.http, terms=wanted.sockets, block=block, headers=headers)
    if wanted.uploads and options.s3 is not None:
        others["s3"] = S3Sender(
            options.s3,
            terms=wanted.uploads,
            block=block,
            timeout_s=wanted.timeout_s,
            uploads_max=options.connections_max,
        )
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(PREPARE_S):
                stack.push_async_callback(http.close)
                await http.open(warm_connections=min(WARM_CONNECTIONS, options.connections_max) if wanted.http else 0)
                for sender in others.values():
                    stack.push_async_callback(sender.close)
                    await sender.open()
        except (*UNREACHABLE, TimeoutError) as error:
            said = options.headers.hide(_refusal(error))
            raise RunnerError(f"{deployment.http} does not answer: {said}") from None
        yield Senders(http, others)


def summed(facts: "list[dict[str, Any]]") -> dict[str, Any]:
    """Return the counts of several processes added up: numbers, and numbers by name."""
    total: dict[str, Any] = {}
    for one in facts:
        for name, value in one.items():
            if isinstance(value, dict):
                total[name] = summed([total.get(name, {}), value])
            else:
                total[name] = total.get(name, 0) + value
    return total


def one_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0]
