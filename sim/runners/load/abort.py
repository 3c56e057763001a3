"""When a load run stops by itself, since more load would do damage or measure nothing.

Four rules: too large a share of recent answers are failures; too many failures come in a row; the driver itself is so
late that it no longer sends the planned load; the deployment asks for a longer pause than anybody waits for (429 or 503
with Retry-After). What was measured until then is kept.

Sources
-------
RFC 9110, section 10.2.3 (Retry-After); RFC 6585, section 4 (429).
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class AbortRule:
    """Limits at which a run stops early.

    Attributes
    ----------
    failed_fraction : float
        Largest share of failures within the window; 1 or more never stops.
    window_s : float
        Length of the sliding window.
    answers : int
        Least number of answers, or of sends, in the window for the shares to apply.
    consecutive_failures : int
        Failures in a row; 0 never stops.
    late_ms : float
        A send that is later than this counts as late.
    late_fraction : float
        Largest share of late sends within the window; 1 or more never stops.
    retry_after_s : float
        Longest pause that the deployment may ask for. During a shorter one nothing is sent: requests that come within
        it are skipped.
    """

    failed_fraction: float = 0.5
    window_s: float = 5.0
    answers: int = 50
    consecutive_failures: int = 0
    late_ms: float = 1000.0
    late_fraction: float = 0.5
    retry_after_s: float = 30.0


class Window:
    """The share of events of one kind within the last *length_s* seconds."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._events: deque[tuple[float, bool]] = deque()
        self._counted = 0

    def __len__(self) -> int:
        """Return the number of events in the window."""
        return len(self._events)

    def add(self, *, at_s: float, counts: bool) -> float:
        """Add an event, and return the share of those that count."""
        self._events.append((at_s, counts))
        self._counted += counts
        while self._events[0][0] < at_s - self.length_s:
            self._counted -= self._events.popleft()[1]
        return self._counted / len(self._events)


class AbortWatch:
    """Applies an abort *rule* as sends and answers come; each method returns why to stop, or an empty text."""

    def __init__(self, rule: AbortRule) -> None:
        self.rule = rule
        self._answers = Window(rule.window_s)
        self._sends = Window(rule.window_s)
        self._in_a_row = 0

    def sent(self, *, at_s: float, lag_ms: float) -> str:
        """Count one send."""
        rule = self.rule
        share = self._sends.add(at_s=at_s, counts=lag_ms > rule.late_ms)
        if len(self._sends) < rule.answers or share <= rule.late_fraction:
            return ""
        return f"more than {rule.late_fraction:.0%} of sends {rule.late_ms:g} ms late within {rule.window_s:g} s"

    def answered(self, *, at_s: float, failed: bool) -> str:
        """Count one answer, or the end of a request without one."""
        rule = self.rule
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if 0 < rule.consecutive_failures <= self._in_a_row:
            return f"{rule.consecutive_failures} failures in a row"
        share = self._answers.add(at_s=at_s, counts=failed)
        if len(self._answers) < rule.answers or share <= rule.failed_fraction:
            return ""
        return f"more than {rule.failed_fraction:.0%} failures within {rule.window_s:g} s"

    def throttled(self, *, status: int, retry_after_s: float) -> str:
        """Count one answer that asks for a pause."""
        if retry_after_s <= self.rule.retry_after_s:
            return ""
        return f"status {status} with Retry-After {retry_after_s:g} s, more than {self.rule.retry_after_s:g} s"
