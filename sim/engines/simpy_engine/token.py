"""Flows of control: a request, one of its attempts, a branch of a join, or a spawned follower."""

from simpy import Environment, Event

from sim.foundation.errors import SimError


class FlowFailed(SimError):  # noqa: N818 - it is an outcome of the modelled platform, not an error of this program
    """Raised when a flow ends in an error of the simulated platform; the message is the outcome."""


class Token:
    """One flow of control: a request, one of its attempts, or a spawned follower."""

    __slots__ = ("attributed_ms", "context", "main", "request")

    def __init__(self, request: int, context: int, categories: int, *, main: bool) -> None:
        self.request = request
        self.context = context
        self.attributed_ms = [0.0] * categories
        self.main = main


class Join:
    """A join, to which children report: the parent waits until *need* have succeeded or no longer can."""

    __slots__ = ("child", "decided", "error", "failures", "flows", "need", "successes")

    def __init__(self, env: Environment, *, need: int, flows: int) -> None:
        self.decided = Event(env)
        self.need, self.flows = need, flows
        self.successes = self.failures = 0
        self.child: Token | None = None
        self.error = ""

    def report(self, child: Token, error: str) -> None:
        """Record that a child has ended, with *error* if that is not empty."""
        if error:
            self.failures += 1
        else:
            self.successes += 1
        hopeless = self.flows - self.failures < self.need
        if (self.successes >= self.need or hopeless) and not self.decided.triggered:
            self.child, self.error = child, error
            self.decided.succeed()

    def time_out(self, _: Event) -> None:
        """End the parent's wait, unless the join was decided before."""
        if not self.decided.triggered:
            self.error = "timeout"
            self.decided.succeed()
