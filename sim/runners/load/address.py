"""Addresses of a running deployment: HTTP, and its QUIC tunnel.

A deployment prints one *ready line* of JSON on standard output when it is ready. A runner knows nothing else about it:
there is no shared memory and no shared code.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.foundation.errors import RunnerError


@dataclass(frozen=True)
class TunnelAddress:
    """The address of a QUIC tunnel with mutual TLS, and the files that a client needs.

    Attributes
    ----------
    host, port
        UDP address.
    server_name : str
        Expected name in the server's certificate.
    ca, cert, key : str
        Paths of PEM files: the authority to trust, the client's own certificate, and its private key.
    """

    host: str
    port: int
    server_name: str
    ca: str
    cert: str
    key: str


@dataclass(frozen=True)
class Deployment:
    """The addresses of a deployment that answers the routes.

    Attributes
    ----------
    http : str
        ``http://HOST:PORT`` or ``https://HOST``, without a path.
    tunnel : TunnelAddress or None
        None: the route ``device_log`` cannot be played.
    """

    http: str
    tunnel: TunnelAddress | None = None


def read_ready_file(path: Path) -> Deployment:
    """The deployment whose ready line was kept in a file: ``headroom serve > FILE``.

    Raises
    ------
    RunnerError
        The file cannot be read, or its first line is no ready line.
    """
    try:
        line, *_ = path.read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise RunnerError(f"ready line in {str(path)!r} cannot be read: {error}") from None
    return read_ready_line(line)


def read_ready_line(line: str) -> Deployment:
    """Return the deployment that printed *line*.

    Raises
    ------
    RunnerError
        The line is not the expected JSON object.
    """
    try:
        ready = json.loads(line)
        quic = ready.get("quic")
        tunnel = None if quic is None else _tunnel_address(quic)
        return Deployment(http=str(ready["http"]).rstrip("/"), tunnel=tunnel)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunnerError(
            f'ready line {line.strip()[:80]!r} must be a JSON object with "http" and "quic" (docs/ARCHITECTURE.md)'
        ) from None


def _tunnel_address(quic: dict[str, Any]) -> TunnelAddress:
    return TunnelAddress(
        host=str(quic["host"]),
        port=int(quic["port"]),
        server_name=str(quic["server_name"]),
        ca=str(quic["ca"]),
        cert=str(quic["cert"]),
        key=str(quic["key"]),
    )
