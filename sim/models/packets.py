"""Packets of a connection: what their loss and the congestion window add to the round trips of an exchange.

A packet that is lost is sent again after the probe timeout, which doubles with every further loss; requests are as long
as one packet. An answer of many packets takes a round trip for each window of them: the window starts at some packets
and doubles (slow start) until it is as large as loss allows in the long run, sqrt(3 / (2 p)) packets, which it keeps.
Bandwidth is no limit here; a request has one size, so an upload takes as many windows as an answer. Windows after slow
start take the mean round trip, not the request's own.

A packet that takes a slower way comes later than those sent after it. By itself that is a delay. In a window, whose
packets leave together, three that overtake it make the sender take it for lost (RFC 9002, 6.1.1): it is sent again for
nothing and the window is halved. Only the last three of a window cannot be overtaken so; in a window of w packets the
share 1 - 3 / w of the late ones counts as lost, so that w^2 (p + q (1 - 3 / w)) = 3 / 2 for shares p lost and q late.

Sources
-------
RFC 9002 (probe timeout, its doubling, initial window of 10 packets, slow start, halving of the window at a loss, packet
threshold of 3).
Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance algorithm", 1997: throughput
of packet / RTT sqrt(3 / (2 p)). Both are compared with a simulation of single packets in tests/sim/models.
"""

from math import inf, sqrt

from sim.flow import ZERO, AttributeOver, Branch, Chance, Delay, Flow, Time
from sim.randomness.distributions import Constant, Distribution

PROBES_MAX = 10
"""Losses in a row that are told apart: with 30 % loss one packet in 170,000 has more."""

PACKET_THRESHOLD = 3
"""Packets that must overtake another before the sender takes it for lost."""

ANSWER_BYTES_MAX = 2.0**40
"""Answers beyond this size take no further round trips in slow start."""


def lost(chance: float, *, probe_ms: float, stream: str) -> Flow:
    """Return the wait of one packet until it is through: ``probe_ms (2**k - 1)`` after k losses in a row."""
    steps: Flow = ()
    for losses in range(PROBES_MAX, 0, -1):
        wait = Delay(Constant(value=probe_ms * 2.0 ** (losses - 1)), stream, shared=True)
        # The same number decides all: below chance**k there are at least k losses.
        steps = (Branch(Chance(chance**losses, stream, shared=True), (wait, *steps)),)
    return steps


def lost_mean_ms(chance: float, *, probe_ms: float) -> float:
    """Return the mean of that wait: ``probe_ms p (1 - (2 p)**n) / (1 - 2 p)``, with at most n losses in a row."""
    return probe_ms * sum(chance**losses * 2.0 ** (losses - 1) for losses in range(1, PROBES_MAX + 1))


def late(chance: float, *, late_ms: float, stream: str) -> Flow:
    """Return the wait of one packet that may take a slower way."""
    wait = Delay(Constant(value=late_ms), stream, shared=True)
    return (Branch(Chance(chance, stream, shared=True), (wait,)),)


def window_in_the_long_run(chance: float, late_chance: float = 0.0) -> float:
    """Return the mean congestion window, in packets, that shares of lost and of late packets allow.

    >>> window_in_the_long_run(0.0), round(window_in_the_long_run(0.01), 3), round(window_in_the_long_run(0.0, 0.01), 3)
    (inf, 12.247, 13.839)
    """
    both, overtaken = chance + late_chance, PACKET_THRESHOLD * late_chance
    without = sqrt(1.5 / chance) if chance else inf
    # In windows of less than three packets nothing is overtaken by three.
    return min((overtaken + sqrt(overtaken**2 + 6 * both)) / (2 * both), without) if both else inf


def further_round_trips(
    rtt_ms: Distribution, *, packet_bytes: int, window_packets: int, most: float, stream: str
) -> Flow:
    """Return the round trips of an answer after its first window of packets.

    Parameters
    ----------
    rtt_ms : Distribution
    packet_bytes, window_packets : int
        Size of a packet; packets of the first window.
    most : float
        Window in the long run, in packets.
    stream : str
        Of the round trip, which the answer shares with the request.
    """
    windows = [min(float(window_packets), most)]
    while windows[-1] < most and sum(windows) * packet_bytes < ANSWER_BYTES_MAX:
        windows.append(min(2 * windows[-1], most))
    sent = [sum(windows[: number + 1]) * packet_bytes for number in range(len(windows))]
    once = Delay(rtt_ms, stream, shared=True)
    steps: Flow = ()
    for limit in reversed(sent[:-1] if most < inf else sent):
        steps = (Branch(AttributeOver("size_bytes", limit), (once, *steps)),)
    if most == inf:
        return steps
    # A round trip for each window until then and for each full one afterwards; the last counts as a full one.
    each_ms = rtt_ms.expected() / (most * packet_bytes)
    until_then = Delay(Time(rtt_ms, scale=len(windows) - sum(windows) / most), stream, shared=True)
    afterwards = Delay(Time(ZERO.distribution, each_ms=each_ms, of="size_bytes"), f"{stream}.windows")
    return (Branch(AttributeOver("size_bytes", sent[-1]), (until_then, afterwards), steps),)
