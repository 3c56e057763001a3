"""How a deployment is loaded: which hosts may be, how much at most, with which headers and connections."""

from dataclasses import dataclass, field

from sim.foundation.errors import UsageError
from sim.runners.load.abort import AbortRule
from sim.runners.load.guard import Caps
from sim.runners.load.headers import Headers
from sim.runners.load.s3_target import S3Target


@dataclass(frozen=True)
class LoadOptions:
    """LoadOptions of a load run that are no part of its scenario.

    Attributes
    ----------
    allow_hosts : tuple of str
        Hosts other than this machine that may be loaded.
    caps : Caps
        Hard limits.
    abort : AbortRule
        When to stop early.
    headers : Headers
        Sent with every HTTP request.
    connections : int
        Largest number of connections; 0 for as many as requests in flight. Requests beyond wait for one, and the wait
        counts as latency.
    keep_alive : bool
        Whether a connection serves several requests; False opens one for each.
    http3 : bool
        Send over HTTP/3 what would go over HTTP/1.1; WebSockets stay there.
    s3 : S3Target or None
        Where routes upload to that put their bytes into an R2 bucket, in place of the deployment.
    hdr : bool
        Add encoded histograms to ``Result.generator``.
    """

    allow_hosts: tuple[str, ...] = ()
    caps: Caps = field(default_factory=Caps)
    abort: AbortRule = field(default_factory=AbortRule)
    headers: Headers = field(default_factory=Headers)
    connections: int = 0
    keep_alive: bool = True
    http3: bool = False
    s3: S3Target | None = None
    hdr: bool = False

    def __post_init__(self) -> None:
        """Check the number of connections."""
        if self.connections < 0:
            raise UsageError(f"connections={self.connections} must be >= 0 (0 is as many as requests in flight)")

    @property
    def connections_max(self) -> int:
        """Largest number of connections at one time."""
        return self.connections or self.caps.in_flight
