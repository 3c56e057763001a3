"""The packets of a tunnel: lost ones and windows.

Goal: waits for lost packets have their closed form, an answer takes its windows to the byte, and a long answer over a
lossy connection takes as long as one whose packets are simulated one by one. Method: constant round trips; a simulation
of single packets that shares nothing with the model; the reference beside it under a virtual clock.
"""

from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.models import packets
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario
from tests.support.in_step import on_the_reference
from tests.support.routes import KNOWN_TIMES, of_steps, refusal
from tests.support.shown import at_rate, played

RTT_MS, PROBE_MS, PACKET = 100.0, 250.0, 1_000


def tunnelled(size: Any, requests: int, **tunnel: Any) -> Scenario:
    """Answers of some size through a tunnel, which are ready at once."""
    numbers = {"overhead_ms": RTT_MS, "streams": 1_000_000, "response_limit_bytes": 1_000_000_000, **tunnel}
    changes = {f"system.tunnel.{key}": value for key, value in numbers.items()}
    changes |= {"system.r2.get_ms": 0.0, "system.r2.bandwidth_bytes_per_s": 1e15, **at_rate(20.0, requests)}
    return of_steps("r2.get", scenario=KNOWN_TIMES.with_(**changes), enter="tunnel", size_bytes=size)


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_lost_packets_wait_for_probes_that_double(loss: float) -> None:
    """2 ways, each PTO p / (1 - 2 p) on average, and none with chance (1 - p)^2; four standard errors."""
    requests = 60_000
    frame = played(tunnelled(0, requests, loss_chance=loss, probe_timeout_ms=PROBE_MS), requests).frame
    waits_ms = frame["latency_ms"].to_numpy() - RTT_MS
    mean_ms = 2 * packets.lost_mean_ms(loss, probe_ms=PROBE_MS)
    assert mean_ms == pytest.approx(2 * PROBE_MS * loss / (1 - 2 * loss), rel=0.01)
    assert abs(waits_ms.mean() - mean_ms) < 4 * waits_ms.std() / sqrt(requests)
    clean = (np.abs(waits_ms) < 1e-6).mean()
    assert abs(clean - (1 - loss) ** 2) < 4 * sqrt(clean * (1 - clean) / requests)
    assert {round(wait / PROBE_MS) for wait in waits_ms} >= {0, 1, 2, 3}
    played(tunnelled(0, 2_000, loss_chance=loss, probe_timeout_ms=PROBE_MS), 2_000)


@pytest.mark.parametrize(
    ("packets_of_answer", "rounds"), [(1, 1), (10, 1), (10.001, 2), (30, 2), (30.001, 3), (70, 3), (150.001, 5)]
)
def test_an_answer_takes_a_round_trip_for_each_window(packets_of_answer: float, rounds: int) -> None:
    """10, 20, 40, 80 packets: without loss the windows double."""
    size = round(packets_of_answer * PACKET)
    frame = played(tunnelled(size, 20, packet_bytes=PACKET, window_packets=10), 20).frame
    assert frame["latency_ms"].to_numpy() == pytest.approx(rounds * RTT_MS)


@pytest.mark.parametrize("late", [0.01, 0.2])
def test_a_packet_that_is_overtaken_comes_later(late: float) -> None:
    """2 ways, each late with its chance and by nothing else; four standard errors. Losses and lateness add up."""
    requests, late_ms = 40_000, 30.0
    numbers = {"reorder_chance": late, "reorder_ms": late_ms}
    waits_ms = played(tunnelled(0, requests, **numbers), requests).frame["latency_ms"].to_numpy() - RTT_MS
    times = np.round(waits_ms / late_ms)
    assert waits_ms == pytest.approx(times * late_ms, abs=1e-6)
    for count, chance in enumerate([(1 - late) ** 2, 2 * late * (1 - late), late**2]):
        assert abs((times == count).mean() - chance) < 4 * sqrt(chance * (1 - chance) / requests)
    numbers |= {"loss_chance": 0.1, "probe_timeout_ms": PROBE_MS}
    both_ms = played(tunnelled(0, requests, **numbers), requests).frame["latency_ms"].to_numpy() - RTT_MS
    mean_ms = 2 * (late * late_ms + packets.lost_mean_ms(0.1, probe_ms=PROBE_MS))
    assert abs(both_ms.mean() - mean_ms) < 4 * both_ms.std() / sqrt(requests)


def packet_by_packet(count: int, *, loss: float, late: float = 0, first: int, rng: np.random.Generator) -> int:
    """Round trips of *count* packets: the window doubles until a loss, which halves it; then it grows by one.

    A late packet comes after the others of its window, in time: with three on time behind it, it is taken for lost, and
    sent again for nothing.
    """
    window, slow_start, left, rounds = float(first), True, count, 0
    while left > 0:
        sent = min(int(window), left)
        gone = rng.random(sent) < loss
        slower = ~gone & (rng.random(sent) < late)
        behind = np.cumsum((~gone & ~slower)[::-1])[::-1]
        lost = int((gone | (slower & (behind >= 3))).sum())
        left -= sent - lost
        rounds += 1
        if lost:
            window, slow_start = max(window / 2, 2.0), False
        else:
            window = 2 * window if slow_start else window + 1
    return rounds


@pytest.mark.parametrize("loss", [0.001, 0.005, 0.02])
def test_a_long_answer_over_a_lossy_connection(loss: float) -> None:
    """Throughput of sqrt(3 / (2 p)) packets a round trip, beside single packets; a window with a loss is one loss."""
    count = round(400 / loss)
    rng = np.random.default_rng(3)
    simulated = np.mean([packet_by_packet(count, loss=loss, first=10, rng=rng) for _ in range(20)])
    lossy = {"loss_chance": loss, "probe_timeout_ms": 1e-9, "packet_bytes": PACKET, "window_packets": 10}
    modelled = played(tunnelled(count * PACKET, 20, **lossy), 20).frame["latency_ms"].mean() / RTT_MS
    assert modelled == pytest.approx(simulated, rel=0.15)
    assert modelled == pytest.approx(count / packets.window_in_the_long_run(loss), rel=0.05)


@pytest.mark.parametrize(("loss", "late"), [(0.0, 0.002), (0.0, 0.02), (0.005, 0.01)])
def test_a_long_answer_whose_packets_overtake_each_other(loss: float, late: float) -> None:
    """Late packets that three overtake halve the window as lost ones do, beside single packets."""
    count = round(400 / (loss + late))
    rng = np.random.default_rng(3)
    simulated = np.mean([packet_by_packet(count, loss=loss, late=late, first=10, rng=rng) for _ in range(20)])
    numbers: dict[str, Any] = {"packet_bytes": PACKET, "window_packets": 10, "reorder_ms": 1e-9, "reorder_chance": late}
    numbers |= {"loss_chance": loss, "probe_timeout_ms": 1e-9} if loss else {}
    modelled = played(tunnelled(count * PACKET, 20, **numbers), 20).frame["latency_ms"].mean() / RTT_MS
    assert modelled == pytest.approx(simulated, rel=0.15)


@given(st.floats(0, 0.4), st.floats(0, 0.5))
def test_the_window_is_the_root_of_its_equation_and_smaller_with_more_of_either(loss: float, late: float) -> None:
    window = packets.window_in_the_long_run(loss, late)
    if loss + late == 0:
        assert window == np.inf
        return
    counted = loss + late * max(0.0, 1 - 3 / window)
    # In this order, since the square of the window of a chance near the smallest number there is has no float.
    assert window * (window * counted) == pytest.approx(1.5)
    assert window <= packets.window_in_the_long_run(loss, 0) * (1 + 1e-9)
    assert packets.window_in_the_long_run(loss + 0.01, late) < window


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(0, 400_000),
    loss=st.sampled_from([0.0, 0.01, 0.3]),
    late=st.sampled_from([0.0, 0.01, 0.3]),
    packet_bytes=st.sampled_from([500, 1_200]),
    window=st.integers(1, 12),
)
def test_the_reference_takes_the_same_time(size: int, loss: float, late: float, packet_bytes: int, window: int) -> None:
    """The same draws in two codes; a constant round trip, since the model takes its mean after slow start."""
    numbers = {
        "loss_chance": loss,
        "probe_timeout_ms": PROBE_MS,
        "packet_bytes": packet_bytes,
        "window_packets": window,
        **({"reorder_chance": late, "reorder_ms": 30.0} if late else {}),
    }
    scenario = tunnelled(size, 15, **numbers)
    planned = schedule(scenario, 5).head(15)
    measured = on_the_reference(scenario, planned, seed=5)
    simulated = played(scenario, 15, seed=5).frame
    np.testing.assert_allclose(measured["latency_ms"], simulated["latency_ms"], rtol=0, atol=1e-6)


def test_what_cannot_be_is_one_line() -> None:
    assert "needs probe_timeout_ms beside loss_chance=0.1" in refusal({"system.tunnel.loss_chance": 0.1})[0]
    assert "needs reorder_chance and reorder_ms together" in refusal({"system.tunnel.reorder_ms": 9})[0]
    assert "system.tunnel.reorder_chance=1.0 must be < 1" in refusal({"system.tunnel.reorder_chance": 1.0})[0]
    assert "needs packet_bytes and window_packets together" in refusal({"system.tunnel.packet_bytes": 9})[0]
    assert "system.tunnel.loss_chance=0.5 must be < 0.5" in refusal({"system.tunnel.loss_chance": 0.5})[0]
