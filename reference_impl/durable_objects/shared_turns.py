"""Turns of an object's event loop that several requests share.

Requests that wait when the object becomes free are handled in one turn: it takes the work of the first, and a constant
time for each further one; all of them are answered at its end. So the first request of a turn does the work, and the
further ones, which the queue lets in next, take no time. A turn may have room for some only, those that came last; and
part of the further time may be spent when a request comes, before those that wait are served: the first of a turn takes
in all that came since, and what comes meanwhile. The object also stops to collect garbage after a number of requests.

All is measured on the open-source runtime (docs/FIDELITY_WORKERD.md) and off by default.
"""

from dataclasses import dataclass

from reference_impl.timing.stopwatch import Station, Stopwatch


@dataclass(frozen=True)
class TurnSettings:
    """How requests of an object share turns.

    *coalesced_ms*, the time of each further request of a turn, None: every request has a turn of its own;
    *requests_max* None: a turn serves all that wait; *intake_ms* is part of *coalesced_ms*;
    *collection_every_requests* None: garbage is never collected.
    """

    coalesced_ms: float | None = None
    requests_max: int | None = None
    newest_first: bool = False
    intake_ms: float = 0.0
    collection_every_requests: int | None = None


class SharedTurns:
    """The turns of one object.

    Parameters
    ----------
    settings
    name
        The time category of what a turn takes.
    """

    def __init__(self, settings: TurnSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._come = 0
        """Requests that have yet to be taken in."""
        self._carried = 0
        """Requests of the running turn that have yet to pass."""
        self._since_collection = 0

    def arrive(self) -> None:
        """Count a request that asks for the object."""
        self._come += 1

    def give_up(self) -> None:
        """Count a request out that did not get it."""
        self._come -= 1

    def pass_by(self) -> None:
        """Let an event in that shares no turn, though it may have waited among those that do."""
        self._carried = max(0, self._carried - 1)

    async def begin(self, queue: Station, stopwatch: Stopwatch) -> float | None:
        """Begin a request; return the time of the others in its turn (ms), or None if it is carried by another's."""
        settings = self._settings
        if settings.coalesced_ms is None:
            return 0.0
        if self._carried:
            self._carried -= 1
            return None
        self._come = max(0, self._come - 1)
        while settings.intake_ms and self._come:
            come, self._come = self._come, 0
            stopwatch.delay(self._name, come * settings.intake_ms)
            await stopwatch.catch_up()
        self._carried = queue.gather(None if settings.requests_max is None else settings.requests_max - 1)
        return (settings.coalesced_ms - settings.intake_ms) * self._carried

    def collects(self) -> bool:
        """Count a request that was served; return whether the object collects garbage now."""
        if self._settings.collection_every_requests is None:
            return False
        self._since_collection = (self._since_collection + 1) % self._settings.collection_every_requests
        return self._since_collection == 0
