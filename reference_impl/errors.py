"""The errors of the reference deployment, one class for each party at fault.

Every error that this package raises on purpose derives from :class:`ImplError`. An error that
reaches a client carries an HTTP *status* and a short *code*; its message states the value, the rule
and the remedy.
"""

from collections.abc import Mapping


class ImplError(Exception):
    """Root of all errors that this package raises on purpose."""

    status = 500
    code = "internal"
    headers: Mapping[str, str] = {}
    """Additional response headers."""


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
        The value, the rule and the remedy.
    headers
        Additional response headers, which HTTP requires with some statuses.
    """

    def __init__(self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class PlatformError(ImplError):
    """An error of the platform: a limit was exceeded, or a service is unavailable."""

    status = 503
    code = "platform"
    retryable = False
    overloaded = False


class OverloadedError(PlatformError):
    """The queue is full; the platform asks callers not to retry this error."""

    code = "overloaded"
    overloaded = True


class LimitError(PlatformError):
    """A documented limit of the platform was exceeded; a retry fails again.

    On the platform this is an exception in the caller's code; who does not catch it answers 500.
    """

    status = 500
    code = "limit_exceeded"


class CallTimeoutError(ImplError):
    """A call inside the deployment timed out; the callee is not cancelled."""

    status = 504
    code = "timeout"


class PeerError(ImplError):
    """The peer at the other end of the tunnel broke the protocol."""

    status = 400
    code = "bad_message"
