"""The WebSocket of a route: how a live run opens sessions, what it sends on them, and what counts as the answer.

Models and recorded runs pass this table over: there a route is its steps. A live run opens sessions to the same host as
its HTTP requests and sends each request of the route as one message at its intended time.

Sources
-------
RFC 6455 (handshake, close codes, pings).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.foundation.schema import Count, NotNegative, Table


class Socket(Table):
    """The WebSocket sessions of a route in a live run."""

    path: Annotated[str, Field(pattern=r"^/[^\s#]*$")]
    """Path and query of the handshake, with placeholders in braces: ``/room/{key}``. Each path has its own sessions."""
    message: str = ""
    """What a request sends: the name of a body under ``[bodies]``, as text, or ``size_bytes`` for as many bytes as the
    request has. Empty: the request is the handshake of a new session, which then stays open."""
    answer: Literal["none", "next", "echo", "broadcast"] = "next"
    """When a message has been answered: once it is written; by the next message of the server on that session; by its
    own text on that session; by its own text on every session of its path."""
    greeting: bool = False
    """Whether the server speaks first: a session is open when its first message is there."""
    sessions: Count = 64
    """Sessions that are open at a time. For a further path, those of the path unused for longest are closed; while all
    are in use a request waits, and the wait counts."""
    members: Count = 1
    """Sessions of one path, which take turns in sending."""
    messages: Annotated[int, Field(ge=0)] = 0
    """Messages after which a session is closed, once all of them are answered, and the next one opened; 0: no bound."""
    ping_s: NotNegative = 20.0
    """Interval of pings; a session whose last ping is not answered by the next one has ended. 0: no pings."""
    reconnects: bool = True
    """Whether a path whose session ended early opens another at its next message; if not, that message ends as
    ``closed``."""
    reconnect_ms: NotNegative = 0.0
    """Pause between such an end and the next handshake."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.members > self.sessions:
            raise ValueError(f"needs sessions={self.sessions} to be >= members={self.members}")
        if not self.message and self.answer in ("echo", "broadcast"):
            raise ValueError(f"needs a message for answer={self.answer}: without one, a request is the handshake")
        return self

    def shared_by(self, processes: int) -> "Socket":
        """Return the terms of one of several processes: its part of the sessions."""
        return self.model_copy(update={"sessions": max(self.members, self.sessions // processes)})
