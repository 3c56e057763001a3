"""Safety limits of the load generator: permitted hosts, hard caps, and an abort rule.

Only this machine may be loaded unless a host is on the *allow list*. Nothing here uses the network, so a forbidden host
is refused before a single packet is sent.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
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
    """

    requests: int = 500_000
    duration_s: float = 900.0
    upload_bytes: int = 4 * 2**30
    in_flight: int = 512


@dataclass(frozen=True)
class AbortRule:
    """Stop when too large a share of recent answers are failures, since more load would do more damage.

    Attributes
    ----------
    failed_fraction : float
        Largest share of failures; 1 or more never stops.
    window_s : float
        Length of the sliding window.
    answers : int
        Least number of answers in the window for the rule to apply.
    """

    failed_fraction: float = 0.5
    window_s: float = 5.0
    answers: int = 50

    def __str__(self) -> str:
        return f"more than {self.failed_fraction:.0%} failures within {self.window_s:g} s"


class AbortWatch:
    """Applies an abort *rule* to a sliding window of answers."""

    def __init__(self, rule: AbortRule) -> None:
        self.rule = rule
        self._answers: deque[tuple[float, bool]] = deque()
        self._failed = 0

    def count(self, *, at_s: float, failed: bool) -> bool:
        """Count one answer; return True when the rule says to stop."""
        self._answers.append((at_s, failed))
        self._failed += failed
        while self._answers[0][0] < at_s - self.rule.window_s:
            self._failed -= self._answers.popleft()[1]
        if len(self._answers) < self.rule.answers:
            return False
        return self._failed > self.rule.failed_fraction * len(self._answers)


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
        ("requests", len(schedule), caps.requests, "--requests"),
        ("duration_s", schedule.duration_ms / 1000, caps.duration_s, "workload.live_s"),
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
        raise UsageError(f"url={url!r} must be http://HOST:PORT or https://HOST")
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
            f"(allow_hosts={host!r} of sim.runners.live.play)"
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
