"""QUIC: the sockets of the device tunnel, with certificates demanded from both ends.

aioquic has no public way for a server to demand a client certificate. Its TLS context can be told
to ask for one and checks the signature, but accepts none at all, any issuer and any purpose. The
context here adds the three checks. They reach through private names, so the version of aioquic is
pinned and every refusal has a test (``tests/reference_impl/tunnel/test_tunnel.py``):

=========================================  =============================
no certificate                             alert 116, certificate_required
a certificate not meant for clients        alert 43, unsupported_certificate
an unknown issuer, or its time is over     alert 42 or 45
=========================================  =============================

There is no session resumption: tickets and client certificates do not go together in aioquic.

Sources
-------
RFC 8446, 4.4.2.4 (empty certificates) and 6.2 (alerts); RFC 9001, 4.8 (alerts become QUIC errors).
"""

import asyncio
import sys
import traceback
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
from reference_impl.errors import ImplError
from reference_impl.messages import error_response
from reference_impl.server.certs import CertificateFiles
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.tunnel.tunnel import REQUEST_BYTES_MAX, write_response

if TYPE_CHECKING:
    from aioquic._buffer import Buffer

ALPN = "superinstance"
DATAGRAM_BYTES_MAX = 65_536
IDLE_TIMEOUT_S = 60.0


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
    """Tell whether the certificate's extended key usage names client authentication."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages


def demand_certificate(connection: QuicConnection, authority_pem: bytes) -> None:
    """Make a server's *connection*, before its first packet, demand a client certificate."""
    initialize = connection._initialize  # noqa: SLF001  # no public way, see the module

    def initialize_and_demand(peer_cid: bytes) -> None:
        initialize(peer_cid)
        context: Any = connection.tls
        context.__class__ = DemandingContext
        context.authority_pem = authority_pem
        context._request_client_certificate = True  # noqa: SLF001  # no public way, see the module

    connection._initialize = initialize_and_demand  # type: ignore[method-assign]  # noqa: SLF001  # replaced on purpose


class TunnelProtocol(QuicConnectionProtocol):
    """One device's connection: collects each stream's message and sends the answer back."""

    def __init__(
        self,
        quic: QuicConnection,
        stream_handler: Any = None,
        *,
        deployment: Deployment,
        authority_pem: bytes,
    ) -> None:
        super().__init__(quic, stream_handler)
        demand_certificate(quic, authority_pem)
        self._deployment = deployment
        self._messages: dict[int, bytearray] = {}
        self._is_open = True
        self._arrived_ms = 0.0

    def datagram_received(self, data: bytes | str, addr: NetworkAddress) -> None:
        """Take one datagram; deciphering it is part of the request's way."""
        self._arrived_ms = self._deployment.clock.now_ms()
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take one event from the connection."""
        if isinstance(event, StreamDataReceived):
            self._receive(event)
        elif isinstance(event, DatagramFrameReceived):
            answer = self._deployment.tunnel.heartbeat(event.data)
            if answer is not None:
                self._quic.send_datagram_frame(answer)
                self.transmit()
        elif isinstance(event, StreamReset):
            self._messages.pop(event.stream_id, None)
        elif isinstance(event, ConnectionTerminated):
            self._is_open = False
            self._messages.clear()

    def _receive(self, event: StreamDataReceived) -> None:
        message = self._messages.setdefault(event.stream_id, bytearray())
        # One byte more than allowed is kept, so that the tunnel sees that it is too much.
        room = REQUEST_BYTES_MAX + 1 - len(message)
        message += event.data[:room]
        if event.end_stream:
            del self._messages[event.stream_id]
            stopwatch = self._deployment.stopwatch(started_ms=self._arrived_ms)
            answering = self._answer(event.stream_id, bytes(message), stopwatch=stopwatch)
            self._deployment.clock.spawn(answering)

    async def _answer(self, stream_id: int, message: bytes, *, stopwatch: Stopwatch) -> None:
        tunnel = self._deployment.tunnel
        try:
            answer = await tunnel.serve(message, stopwatch)
        except Exception:  # noqa: BLE001  # the last door, as in reference_impl.server.http
            traceback.print_exc(file=sys.stderr)
            defect = ImplError("a defect of the deployment; see its log")
            answer = write_response(error_response(defect))
        # The device may have gone meanwhile; the work is done all the same.
        if self._is_open:
            self._quic.send_stream_data(stream_id, answer, end_stream=True)
            self.transmit()
            tunnel.head_start.departed(stopwatch.late_ms())


async def serve_tunnel(
    deployment: Deployment, files: CertificateFiles, *, host: str, port: int
) -> tuple[QuicServer, int]:
    """Open the tunnel's socket; return the server and its port.

    Raises
    ------
    OSError
        If the port cannot be had.
    """
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        max_datagram_frame_size=DATAGRAM_BYTES_MAX,
        idle_timeout=IDLE_TIMEOUT_S,
    )
    configuration.load_cert_chain(str(files.server_cert), str(files.server_key))
    protocol = partial(TunnelProtocol, deployment=deployment, authority_pem=files.ca.read_bytes())
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: QuicServer(configuration=configuration, create_protocol=protocol),
        local_addr=(host, port),
    )
    return server, int(transport.get_extra_info("sockname")[1])
