"""What a Durable Object is given when it starts: its identity, its disk, its alarm and its sockets."""

from collections.abc import Sequence

from reference_impl.durable_objects.alarms import AlarmScheduler
from reference_impl.durable_objects.sockets import Socket, Sockets
from reference_impl.durable_objects.storage import ALARM_KEY, Storage
from reference_impl.messages import Pair


class State:
    """The object's own view of itself.

    Parameters
    ----------
    object_id
        Its identity.
    storage
        Its disk.
    alarms
        The namespace's alarm scheduler.
    sockets
        The sockets of the object's place; they are there although the object may be new.
    """

    def __init__(self, object_id: str, storage: Storage, *, alarms: AlarmScheduler, sockets: Sockets) -> None:
        self.id = object_id
        self.storage = storage
        self._sockets = sockets
        self._alarms = alarms
        self._ringing_unix_ms: set[int] = set()
        self._alarm_unix_ms: int | None = None
        self._known_at_rollback = -1
        self.ensure_scheduled()

    def accept_web_socket(self, pair: Pair, tags: Sequence[str] = ()) -> Socket:
        """Take the object's end of *pair*; its messages will be events of the object."""
        return self._sockets.accept(pair, tags)

    def web_sockets(self, tag: str | None = None) -> list[Socket]:
        """Return the open sockets with *tag*, or all."""
        return self._sockets.of_tag(tag)

    def set_web_socket_auto_response(self, request: str, response: str) -> None:
        """Let *request* on any socket be answered by *response* without waking the object."""
        self._sockets.auto_response = (request, response)

    def ensure_scheduled(self) -> None:
        """Make sure that the alarm that is set is scheduled: the two are on different disks."""
        at_unix_ms = self.alarm_unix_ms()
        if at_unix_ms is not None:
            self._alarms.ensure(self.id, at_unix_ms)

    def alarm_unix_ms(self) -> int | None:
        """Return the date of the alarm that is set; one that is just ringing does not count."""
        at_unix_ms = self._stored_alarm()
        return None if at_unix_ms in self._ringing_unix_ms else at_unix_ms

    def set_alarm(self, at_unix_ms: int) -> None:
        """Set the object's one alarm; an earlier one is replaced."""
        # A date is an alarm's only name: the one that rings just now and a new one are a millisecond apart.
        while at_unix_ms in self._ringing_unix_ms:
            at_unix_ms += 1
        # The scheduler first: an alarm that rings for nothing is harmless, a lost one is not.
        self._alarms.set(self.id, at_unix_ms)
        self.storage.put(ALARM_KEY, at_unix_ms)
        self._remember(at_unix_ms)

    def delete_alarm(self) -> None:
        """Set no alarm."""
        self.storage.delete(ALARM_KEY)
        self._remember(None)

    def begin_alarm(self, at_unix_ms: int) -> bool:
        """Tell whether the alarm of that date is still the one that is set, and ring it."""
        if at_unix_ms in self._ringing_unix_ms or not self.has_alarm_of(at_unix_ms):
            return False
        self._ringing_unix_ms.add(at_unix_ms)
        return True

    def has_alarm_of(self, at_unix_ms: int) -> bool:
        """Tell whether the alarm of that date is set, or rings."""
        return self._stored_alarm() == at_unix_ms

    def fail_alarm(self, at_unix_ms: int) -> None:
        """Let the alarm that rang count as set again: it will ring once more."""
        self._ringing_unix_ms.discard(at_unix_ms)

    def end_alarm(self, at_unix_ms: int) -> None:
        """Clear the alarm that rang, unless another was set meanwhile (and may even ring already)."""
        self._ringing_unix_ms.discard(at_unix_ms)
        if self.has_alarm_of(at_unix_ms):
            self.delete_alarm()

    def _stored_alarm(self) -> int | None:
        # A transaction that was undone may have set the alarm that is remembered.
        if self._known_at_rollback != self.storage.rollbacks:
            self._alarm_unix_ms = self.storage.get(ALARM_KEY)
            self._known_at_rollback = self.storage.rollbacks
        return self._alarm_unix_ms

    def _remember(self, at_unix_ms: int | None) -> None:
        self._alarm_unix_ms = at_unix_ms
        self._known_at_rollback = self.storage.rollbacks
