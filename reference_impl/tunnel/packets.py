"""The packets of a tunnel: how long a lost one is waited for, and how many windows a long answer takes.

Sources
-------
RFC 9002: the probe timeout doubles with every loss in a row; a window starts small and doubles in every round trip.
With losses it does not exceed sqrt(3 / (2 p)) packets in the long run (Mathis et al., 1997). A packet that three others
overtake is taken for lost (6.1.1), which the last three of a window cannot be.
"""

import math
from dataclasses import dataclass

from reference_impl.errors import ConfigError
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.timing.tape import Tape

LOSSES_MAX = 10
"""More losses in a row count as this number."""
LOSS_MAX = 0.5
OVERTAKEN_BY = 3
"""Later packets that must arrive first before the sender takes one for lost."""


@dataclass(frozen=True)
class Packets:
    """What happens to the packets of a tunnel.

    Parameters
    ----------
    loss_chance
        Share of packets that are lost.
    probe_timeout_ms
        Wait for the first repetition.
    reorder_chance, reorder_ms
        Share of packets that take a slower way, and how much later they come.
    packet_bytes, window_packets
        Size of a packet, and the first window; 0: an answer takes one round trip.
    there, back
        Decide whether a packet is lost on its way.
    late_there, late_back
        Decide whether it takes the slower way.
    """

    loss_chance: float
    probe_timeout_ms: float
    reorder_chance: float
    reorder_ms: float
    packet_bytes: int
    window_packets: int
    there: Tape
    back: Tape
    late_there: Tape
    late_back: Tape

    @classmethod
    def read(cls, table: Table) -> "Packets | None":
        """Read the keys of a tunnel's table that are of packets; None if they change nothing.

        Raises
        ------
        ConfigError
            If a key is missing beside another.
        """
        loss = table.number("loss_chance", 0, at_most=LOSS_MAX)
        probe_timeout_ms = table.number("probe_timeout_ms", 0)
        packet_bytes, window_packets = (table.whole(key, 0) for key in ("packet_bytes", "window_packets"))
        if loss == LOSS_MAX or (loss and not probe_timeout_ms):
            raise ConfigError(
                f"{table.where('loss_chance')}={loss:g} must be < {LOSS_MAX:g}, with a probe_timeout_ms > 0"
            )
        if bool(packet_bytes) != bool(window_packets):
            raise ConfigError(f"{table.where('packet_bytes')}={packet_bytes} needs window_packets beside it")
        reorder, reorder_ms = table.number("reorder_chance", 0, at_most=1), table.number("reorder_ms", 0)
        if bool(reorder) != bool(reorder_ms) or reorder == 1:
            raise ConfigError(f"{table.where('reorder_chance')}={reorder:g} must be < 1, with a reorder_ms > 0")
        if not loss and not packet_bytes and not reorder:
            return None
        tapes = (table.chance(f"{what}_{way}") for what in ("lost", "late") for way in ("there", "back"))
        return cls(loss, probe_timeout_ms, reorder, reorder_ms, packet_bytes, window_packets, *tapes)

    def there_ms(self, stopwatch: Stopwatch) -> float:
        """Return how much later a request comes for the loss and the slower way of its packet."""
        return self._lost_ms(self.there, stopwatch) + self._late_ms(self.late_there, stopwatch)

    def back_ms(self, stopwatch: Stopwatch) -> float:
        """Return how much later an answer comes for the loss and the slower way of its last packet."""
        return self._lost_ms(self.back, stopwatch) + self._late_ms(self.late_back, stopwatch)

    def _late_ms(self, way: Tape, stopwatch: Stopwatch) -> float:
        if not self.reorder_chance or not stopwatch.is_paced:
            return 0.0
        return self.reorder_ms if stopwatch.draw_ms(way) < self.reorder_chance else 0.0

    def _lost_ms(self, way: Tape, stopwatch: Stopwatch) -> float:
        """Return how long a packet is lost: each loss in a row doubles the wait for the next repetition."""
        if not self.loss_chance or not stopwatch.is_paced:
            return 0.0
        number, losses = stopwatch.draw_ms(way), 0
        while losses < LOSSES_MAX and number < self.loss_chance ** (losses + 1):
            losses += 1
        return self.probe_timeout_ms * float(2**losses - 1)

    def windows_ms(self, size_bytes: int, stopwatch: Stopwatch, *, round_trip_ms: float) -> float:
        """Return the time of an answer's windows after the first."""
        if not self.packet_bytes or not stopwatch.is_paced:
            return 0.0
        most = self._most()
        window, left, rounds = min(float(self.window_packets), most), size_bytes / self.packet_bytes, 0.0
        while left > window:
            left -= window
            rounds += 1
            if window == most:
                # Every further window is as large; the last one counts as a full one.
                return (rounds + left / most) * round_trip_ms
            window = min(2 * window, most)
        return rounds * round_trip_ms

    def _most(self) -> float:
        """Return the window in the long run: the root of (p + q) w^2 - 3 q w = 3 / 2, of more than three packets."""
        square, linear = self.loss_chance + self.reorder_chance, OVERTAKEN_BY * self.reorder_chance
        if not square:
            return math.inf
        if self.loss_chance * OVERTAKEN_BY**2 >= 1.5:
            return math.sqrt(1.5 / self.loss_chance)
        return (linear + math.sqrt(linear * linear + 4 * square * 1.5)) / (2 * square)
