"""The QUIC adapter: the socket of the device tunnel, with mutual TLS.

aioquic has no public API for a server that requires a client certificate. Its TLS context can request one and
verifies the signature, but it accepts a client without a certificate, any issuer and any purpose. The
context here adds these three checks. They use private attributes, so the version of aioquic is
pinned and every refusal has a test (``tests/reference_impl/tunnel/test_tunnel.py``):

=========================================  =============================
no certificate                             alert 116, certificate_required
a certificate not meant for clients        alert 43, unsupported_certificate
an unknown issuer, or expired              alert 42 or 45
=========================================  =============================

There is no session resumption: aioquic does not support session tickets together with client certificates.

A connection without traffic ends after :data:`IDLE_TIMEOUT_S`. A message that stops in the middle while heartbeats keep
the connection alive is refused with 408, as over HTTP, and the rest of its stream is not read.

Sources
-------
RFC 8446, 4.4.2.4 (empty certificates) and 6.2 (alerts); RFC 9001, 4.8 (alerts become QUIC errors); RFC 9000, 3.5 (a
stream that is not wanted is stopped).
"""

import asyncio
import sys
import traceback
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aioquic import tls
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import NetworkAddress, QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from reference_impl.deployment import Deployment
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import error_response
from reference_impl.server.certs import CertificateFiles
from reference_impl.server.stalls import Limits, Watch
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.tunnel.tunnel import REQUEST_BYTES_MAX, write_response

if TYPE_CHECKING:
    from aioquic._buffer import Buffer

ALPN = "superinstance"
DATAGRAM_BYTES_MAX = 65_536
IDLE_TIMEOUT_S = 60.0
SLOW_MESSAGE = 408
"""Application error code that stops the stream of a stalled message; it equals the HTTP status."""


class AlertCertificateRequired(tls.Alert):
    """The client sent no certificate."""

    description = tls.AlertDescription.certificate_required


class DemandingContext(tls.Context):
    """A server's TLS context that admits only clients certified by one authority."""

    authority_pem: bytes

    def _server_handle_certificate(self, input_buf: "Buffer") -> None:
        super()._server_handle_certificate(input_buf)
        certificate = self._peer_certificate
        if certificate is None:
            raise AlertCertificateRequired("the tunnel admits no client without a certificate")
        if not is_for_clients(certificate):
            raise tls.AlertUnsupportedCertificate("the certificate is not meant for clients")
        tls.verify_certificate(certificate, chain=self._peer_certificate_chain, cadata=self.authority_pem)


def is_for_clients(certificate: x509.Certificate) -> bool:
    """Return whether the certificate's extended key usage includes client authentication."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages


def demand_certificate(connection: QuicConnection, authority_pem: bytes) -> None:
    """Make a server's *connection* require a client certificate; call it before the first packet."""
    initialize = connection._initialize  # noqa: SLF001  # no public way, see the module

    def initialize_and_demand(peer_cid: bytes) -> None:
        initialize(peer_cid)
        context: Any = connection.tls
        context.__class__ = DemandingContext
        context.authority_pem = authority_pem
        context._request_client_certificate = True  # noqa: SLF001  # no public way, see the module

    connection._initialize = initialize_and_demand  # type: ignore[method-assign]  # noqa: SLF001  # replaced on purpose


@dataclass
class Incoming:
    """A message that is being received: its content, the bytes received, and the watch on its progress."""

    content: bytearray = field(default_factory=bytearray)
    received_bytes: int = 0
    watch: Watch | None = None

    def take(self, data: bytes) -> None:
        """Append received bytes."""
        # One byte more than the limit is stored, so that the tunnel sees that the message is too long.
        self.content += data[: REQUEST_BYTES_MAX + 1 - len(self.content)]
        self.received_bytes += len(data)

    def end(self) -> None:
        """Stop the watch."""
        if self.watch is not None:
            self.watch.stop()


class TunnelProtocol(QuicConnectionProtocol):
    """The connection of one device: collects the message of each stream and sends the response."""

    def __init__(
        self,
        quic: QuicConnection,
        stream_handler: Any = None,
        *,
        deployment: Deployment,
        authority_pem: bytes,
        limits: Limits,
    ) -> None:
        super().__init__(quic, stream_handler)
        demand_certificate(quic, authority_pem)
        self._deployment = deployment
        self._limits = limits
        self._messages: dict[int, Incoming] = {}
        self._refused: set[int] = set()
        self._is_open = True
        self._arrived_ms = 0.0

    def datagram_received(self, data: bytes | str, addr: NetworkAddress) -> None:
        """Process one datagram; the time to decrypt it counts towards the request."""
        self._arrived_ms = self._deployment.clock.now_ms()
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Process one event of the connection."""
        if isinstance(event, StreamDataReceived):
            self._receive(event)
        elif isinstance(event, DatagramFrameReceived):
            answer = self._deployment.tunnel.heartbeat(event.data)
            if answer is not None:
                self._quic.send_datagram_frame(answer)
                self.transmit()
        elif isinstance(event, StreamReset):
            self._refused.discard(event.stream_id)
            self._drop(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            self._is_open = False
            for stream_id in list(self._messages):
                self._drop(stream_id)

    def _receive(self, event: StreamDataReceived) -> None:
        stream_id = event.stream_id
        if stream_id in self._refused:
            if event.end_stream:
                self._refused.discard(stream_id)
            return
        message = self._messages.setdefault(stream_id, Incoming())
        message.take(event.data)
        if event.end_stream:
            self._drop(stream_id)
            stopwatch = self._deployment.stopwatch(started_ms=self._arrived_ms)
            answering = self._answer(stream_id, bytes(message.content), stopwatch=stopwatch)
            self._deployment.clock.spawn(answering)
        elif message.watch is None:
            message.watch = Watch(
                rest_s=self._limits.rest_s,
                bytes_per_s=self._limits.bytes_per_s,
                moved_bytes=lambda: message.received_bytes,
                on_stall=lambda: self._refuse(stream_id),
            )
            message.watch.start()

    def _drop(self, stream_id: int) -> None:
        message = self._messages.pop(stream_id, None)
        if message is not None:
            message.end()

    def _refuse(self, stream_id: int) -> None:
        """Answer a message that has stalled with 408, and stop its stream."""
        message = self._messages[stream_id]
        self._drop(stream_id)
        self._refused.add(stream_id)
        said = f"the message stopped after {message.received_bytes} bytes; send it without long rests"
        refusal = error_response(RequestError(408, "slow_body", said))
        self._quic.send_stream_data(stream_id, write_response(refusal), end_stream=True)
        self._quic.stop_stream(stream_id, SLOW_MESSAGE)
        self.transmit()

    async def _answer(self, stream_id: int, message: bytes, *, stopwatch: Stopwatch) -> None:
        tunnel = self._deployment.tunnel
        try:
            answer = await tunnel.serve(message, stopwatch)
        except Exception:  # noqa: BLE001  # the outermost handler, as in reference_impl.server.http
            traceback.print_exc(file=sys.stderr)
            defect = ImplError("a defect of the deployment; see its log")
            answer = write_response(error_response(defect))
        # The device may have disconnected meanwhile; the request was still executed.
        if self._is_open:
            self._quic.send_stream_data(stream_id, answer, end_stream=True)
            self.transmit()
            tunnel.head_start.departed(stopwatch.late_ms())


async def serve_tunnel(
    deployment: Deployment, files: CertificateFiles, *, host: str, port: int, limits: Limits | None = None
) -> tuple[QuicServer, int]:
    """Open the tunnel's socket; return the server and its port.

    Raises
    ------
    OSError
        If the port is not available.
    """
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        max_datagram_frame_size=DATAGRAM_BYTES_MAX,
        idle_timeout=IDLE_TIMEOUT_S,
    )
    configuration.load_cert_chain(str(files.server_cert), str(files.server_key))
    protocol = partial(
        TunnelProtocol, deployment=deployment, authority_pem=files.ca.read_bytes(), limits=limits or Limits()
    )
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: QuicServer(configuration=configuration, create_protocol=protocol),
        local_addr=(host, port),
    )
    return server, int(transport.get_extra_info("sockname")[1])
