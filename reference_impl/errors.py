"""What can go wrong in the reference deployment, and whose fault it is.

Every error that this package raises on purpose derives from :class:`ImplError`. An error that
reaches a client carries an HTTP *status* and a short *code*; its message says the value, the rule
and the way out.
"""

from collections.abc import Mapping


class ImplError(Exception):
    """Root of all errors that this package raises on purpose."""

    status = 500
    code = "internal"
    headers: Mapping[str, str] = {}
    """What the answer's head must say beside the status."""


class ConfigError(ImplError):
    """The operator's fault: an option, a deployment file or a port that cannot be used."""


class RequestError(ImplError):
    """The client's fault.

    Parameters
    ----------
    status
        HTTP status, 400 to 499.
    code
        Short machine-readable name of the reason.
    message
        The value, the rule and the way out.
    headers
        What the answer's head must say beside the status, as HTTP demands of some.
    """

    def __init__(self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class PlatformError(ImplError):
    """The platform's own refusal: a limit was met, or a part is not able to serve now."""

    status = 503
    code = "platform"
    retryable = False
    overloaded = False


class OverloadedError(PlatformError):
    """Too many wait already; the platform asks callers not to retry this one."""

    code = "overloaded"
    overloaded = True


class LimitError(PlatformError):
    """A documented limit of the platform: the same call fails again, however often repeated."""

    code = "limit_exceeded"


class CallTimeoutError(ImplError):
    """A caller inside the deployment gave up on a call; what it asked for goes on."""

    status = 504
    code = "timeout"


class PeerError(ImplError):
    """The peer at the other end of the tunnel broke the protocol."""

    status = 400
    code = "bad_message"
