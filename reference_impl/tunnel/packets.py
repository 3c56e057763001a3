"""The packets of a tunnel: how long a lost one is waited for, and how many windows a long answer takes.

Sources
-------
RFC 9002: the probe timeout doubles with every loss in a row; a window starts small and doubles in every round trip.
With losses it does not exceed sqrt(3 / (2 p)) packets in the long run (Mathis et al., 1997).
"""

import math
from dataclasses import dataclass

from reference_impl.errors import ConfigError
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.timing.tape import Tape

LOSSES_MAX = 10
"""More losses in a row count as so many."""
LOSS_MAX = 0.5


@dataclass(frozen=True)
class Packets:
    """What happens to the packets of a tunnel.

    Parameters
    ----------
    loss_chance
        Share of packets that are lost.
    probe_timeout_ms
        Wait for the first repetition.
    packet_bytes, window_packets
        Size of a packet, and the first window; 0: an answer takes one round trip.
    there, back
        Decide whether a packet is lost on its way.
    """

    loss_chance: float
    probe_timeout_ms: float
    packet_bytes: int
    window_packets: int
    there: Tape
    back: Tape

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
        if not loss and not packet_bytes:
            return None
        there, back = (table.chance(f"lost_{way}") for way in ("there", "back"))
        return cls(loss, probe_timeout_ms, packet_bytes, window_packets, there, back)

    def lost_ms(self, way: Tape, stopwatch: Stopwatch) -> float:
        """Return how long a packet is late: each loss in a row doubles the wait for the next repetition."""
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
        most = math.sqrt(1.5 / self.loss_chance) if self.loss_chance else math.inf
        window, left, rounds = min(float(self.window_packets), most), size_bytes / self.packet_bytes, 0.0
        while left > window:
            left -= window
            rounds += 1
            if window == most:
                # Every further window is as large; the last one counts as a full one.
                return (rounds + left / most) * round_trip_ms
            window = min(2 * window, most)
        return rounds * round_trip_ms
