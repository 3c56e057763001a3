"""Turns of an object's event loop that several requests share.

Requests that wait when the object becomes free are handled in one turn: it takes the work of the first, and a constant
time for each further one; all of them are answered at its end. The queue stays first come first served, so the first
request of a turn does the work, and the further ones, which come next, take no time. The object also stops to collect
garbage after a number of requests.

Both are measured on the open-source runtime (docs/FIDELITY_WORKERD.md) and off by default.
"""


class SharedTurns:
    """The turns of one object.

    Parameters
    ----------
    coalesced_ms
        Time of each further request of a turn; None: every request has a turn of its own.
    collection_every_requests
        Requests after which the object collects garbage; None: never.
    """

    def __init__(self, coalesced_ms: float | None, collection_every_requests: int | None) -> None:
        self._coalesced_ms = coalesced_ms
        self._collection_every_requests = collection_every_requests
        self._waiting = 0
        self._carried = 0
        """Requests of the running turn that have yet to pass."""
        self._since_collection = 0

    def arrive(self) -> None:
        """Count a request that asks for the object."""
        self._waiting += 1

    def give_up(self) -> None:
        """Count a request out that did not get it."""
        self._waiting -= 1

    def begin(self) -> float | None:
        """Begin a request; return the time of the others in its turn (ms), or None if it is carried by another's."""
        self._waiting -= 1
        if self._coalesced_ms is None:
            return 0.0
        if self._carried:
            self._carried -= 1
            return None
        self._carried = self._waiting
        return self._coalesced_ms * self._carried

    def collects(self) -> bool:
        """Count a request that was served; return whether the object collects garbage now."""
        if self._collection_every_requests is None:
            return False
        self._since_collection = (self._since_collection + 1) % self._collection_every_requests
        return self._since_collection == 0
