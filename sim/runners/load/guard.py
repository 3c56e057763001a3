"""Safety limits of the load generator: permitted hosts and hard caps.

Only this machine may be loaded unless a host is on the *allow list*. Nothing here uses the network, so a forbidden host
is refused before a single packet is sent.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import inf
from socket import gaierror, getaddrinfo
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from sim.foundation.errors import UsageError

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule


@dataclass(frozen=True)
class Caps:
    """Hard limits of one run. A larger run is refused before it starts, a longer one is stopped.

    Attributes
    ----------
    requests : int
        Fifteen minutes at the driver's measured 1,000 requests/s would be 900,000; the limit keeps the prepared
        messages under half a gigabyte.
    duration_s : float
        Fifteen minutes: long enough for three flush intervals of five minutes.
    upload_bytes : int
        All uploads together: what a temporary directory can be expected to hold.
    in_flight : int
        Concurrent requests; half of the usual limit of 1,024 open files.
    rate_per_s : float
        Requests that may begin within any one second.
    usd : float
        Estimated cost of the run (:func:`sim.experiments.load.load_plan`).
    """

    requests: int = 500_000
    duration_s: float = 900.0
    upload_bytes: int = 4 * 2**30
    in_flight: int = 512
    rate_per_s: float = inf
    usd: float = inf

    def __post_init__(self) -> None:
        """Check that each limit is a positive number."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UsageError(f"{field.name}={value:g} of the caps must be > 0")


REMOTE_CAPS = Caps(requests=100_000, duration_s=900.0, rate_per_s=1000.0, usd=10.0)
"""Limits of a run on another machine, unless others are asked for: some deployment is paid for by somebody."""


def check_schedule(schedule: "Schedule", *, caps: Caps, uploading: Collection[str]) -> None:
    """Refuse a schedule beyond the hard limits; *uploading* are the routes whose requests upload their bytes.

    Raises
    ------
    UsageError
        Names the limit, and what to lower.
    """
    is_upload = np.array([route in uploading for route in schedule.routes])[schedule.route_code]
    users = 0 if schedule.user is None else len(np.unique(schedule.user))
    for name, value, bound, way_out in (
        ("requests", len(schedule), caps.requests, "--requests, --rate or --duration"),
        ("duration_s", schedule.duration_ms / 1000, caps.duration_s, "workload.live_s or --duration"),
        ("rate_per_s", peak_per_s(schedule), caps.rate_per_s, "--rate, or raise --max-rate"),
        ("users", users, caps.in_flight, "workload.arrivals.users"),
        (
            "upload_bytes",
            schedule.size_bytes[is_upload].sum(),
            caps.upload_bytes,
            "size_bytes of the routes, or --requests",
        ),
    ):
        if value > bound:
            raise UsageError(f"{name}={value:g} must be <= {bound:g} for a live run (lower {way_out})")


def peak_per_s(schedule: "Schedule") -> float:
    """Return the largest number of requests that begin within one second; 0 in a closed loop, which plans none."""
    if schedule.user is not None:
        return 0.0
    arrival_ms = schedule.arrival_ms
    last = np.searchsorted(arrival_ms, arrival_ms + 1000.0)
    return float((last - np.arange(len(arrival_ms))).max())


def check_url(url: str, *, allow_hosts: tuple[str, ...] = ()) -> None:
    """Refuse an address that may not be loaded.

    Raises
    ------
    UsageError
        Not an HTTP address, or a host that is neither this machine nor on the allow list.
    """
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_http = False
    if not is_http:
        shown = "..." if "@" in url else repr(url)  # What stands before an @ may be a password.
        raise UsageError(f"url={shown} must be http://HOST:PORT or https://HOST")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"url of host {parts.hostname!r} must hold no user, query or fragment")
    check_host(parts.hostname or "", allow_hosts=allow_hosts)


def is_this_machine(host: str) -> bool:
    """Whether *host* is an address, or the name, of this machine's loopback."""
    addresses = _localhost_addresses() if host.lower() == "localhost" else [host]
    return bool(addresses) and all(_is_loopback(address) for address in addresses)


def check_host(host: str, *, allow_hosts: tuple[str, ...] = ()) -> None:
    """Refuse a host that may not be loaded.

    A name other than ``localhost`` is not resolved: its address could change after the check.

    Raises
    ------
    UsageError
        The host is neither this machine nor on the allow list.
    """
    if host.lower() in {allowed.lower() for allowed in allow_hosts}:
        return
    if not is_this_machine(host):
        raise UsageError(
            f"host={host!r} must be this machine (127.0.0.1, ::1, localhost) or be on the allow list "
            f"(headroom load --allow {host})"
        )


def _localhost_addresses() -> list[str]:
    try:
        return [str(entry[4][0]) for entry in getaddrinfo("localhost", None)]
    except gaierror:
        return []


def _is_loopback(address: str) -> bool:
    try:
        ip: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback
