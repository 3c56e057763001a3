"""Simulated time: SimPy's environment, extended by waiting for an absolute time.

``env.timeout(later - now)`` would end at ``now + (later - now)``, which is not always *later*: arrivals would be off
by a rounding error.
"""

from heapq import heappush

from simpy import Environment, Event
from simpy.events import NORMAL


class Moment(Event):
    """An event that is certain to happen."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None


class Clock(Environment):
    """The environment of one run; time is in ms."""

    def at(self, time_ms: float) -> Moment:
        """Return an event at exactly *time_ms*, behind everything already scheduled for that time."""
        moment = Moment(self)
        heappush(self._queue, (time_ms, NORMAL, next(self._eid), moment))
        return moment
