"""The state that a Durable Object is constructed with: its id, storage, alarm and sockets."""

from collections.abc import Sequence

from reference_impl.durable_objects.alarms import AlarmScheduler
from reference_impl.durable_objects.sockets import Socket, Sockets
from reference_impl.durable_objects.storage import ALARM_KEY, Storage
from reference_impl.messages import Pair


class State:
    """The state of one Durable Object, as its code sees it.

    Parameters
    ----------
    object_id
        Its id.
    storage
        Its private storage.
    alarms
        The namespace's alarm scheduler.
    sockets
        Its sockets; they survive eviction, so a new instance may have some.
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
        """Accept *pair*; its messages become events of the object."""
        return self._sockets.accept(pair, tags)

    def web_sockets(self, tag: str | None = None) -> list[Socket]:
        """Return the open sockets with *tag*; all of them if it is None."""
        return self._sockets.of_tag(tag)

    def set_web_socket_auto_response(self, request: str, response: str) -> None:
        """Answer the message *request* on any socket with *response*, without waking the object."""
        self._sockets.auto_response = (request, response)

    def ensure_scheduled(self) -> None:
        """Make sure that the stored alarm is also scheduled: the two are on different disks."""
        at_unix_ms = self.alarm_unix_ms()
        if at_unix_ms is not None:
            self._alarms.ensure(self.id, at_unix_ms)

    def alarm_unix_ms(self) -> int | None:
        """Return the date of the alarm that is set, or None; an alarm whose handler is running does not count."""
        at_unix_ms = self._stored_alarm()
        return None if at_unix_ms in self._ringing_unix_ms else at_unix_ms

    def set_alarm(self, at_unix_ms: int) -> None:
        """Set the object's one alarm; an earlier one is replaced."""
        # The date identifies an alarm, so a new one must differ from the running one by at least 1 ms.
        while at_unix_ms in self._ringing_unix_ms:
            at_unix_ms += 1
        # The scheduler first: a spurious wake-up is harmless, a lost alarm is not.
        self._alarms.set(self.id, at_unix_ms)
        self.storage.put(ALARM_KEY, at_unix_ms)
        self._remember(at_unix_ms)

    def delete_alarm(self) -> None:
        """Delete the alarm that is set, if any."""
        self.storage.delete(ALARM_KEY)
        self._remember(None)

    def begin_alarm(self, at_unix_ms: int) -> bool:
        """Mark the alarm of that date as running; return whether it is still the one that is set."""
        if at_unix_ms in self._ringing_unix_ms or not self.has_alarm_of(at_unix_ms):
            return False
        self._ringing_unix_ms.add(at_unix_ms)
        return True

    def has_alarm_of(self, at_unix_ms: int) -> bool:
        """Return whether the alarm of that date is set or running."""
        return self._stored_alarm() == at_unix_ms

    def fail_alarm(self, at_unix_ms: int) -> None:
        """Mark the alarm as set again after its handler failed; it will be retried."""
        self._ringing_unix_ms.discard(at_unix_ms)

    def end_alarm(self, at_unix_ms: int) -> None:
        """Clear the alarm that has run, unless another was set meanwhile (which may even be running already)."""
        self._ringing_unix_ms.discard(at_unix_ms)
        if self.has_alarm_of(at_unix_ms):
            self.delete_alarm()

    def _stored_alarm(self) -> int | None:
        # The cached alarm may have been set by a transaction that was rolled back.
        if self._known_at_rollback != self.storage.rollbacks:
            self._alarm_unix_ms = self.storage.get(ALARM_KEY)
            self._known_at_rollback = self.storage.rollbacks
        return self._alarm_unix_ms

    def _remember(self, at_unix_ms: int | None) -> None:
        self._alarm_unix_ms = at_unix_ms
        self._known_at_rollback = self.storage.rollbacks
