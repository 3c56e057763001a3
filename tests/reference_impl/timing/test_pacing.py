"""The paced deployment takes the times that its file says.

Goal: every stage lasts exactly as long as was sampled, real queues are first come first served, and lateness of
the machine does not add up. Method: constant times under a virtual clock, where the right answer is
an addition; and a clock that wakes everybody late.
"""

import json

import numpy as np
import pytest

from reference_impl.errors import OverloadedError
from reference_impl.messages import Request
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import HeadStart, Station, Stopwatch
from tests.support.world import balance_request, log_request, world

CONSTANT: dict[str, dict[str, float]] = {
    "network": {"client_rtt_ms": 18},
    "workers": {"isolates": 1, "cpu_ms": 2, "cold_start_ms": 50, "cold_fraction": 0},
    "durable_objects": {
        "shards": 2,
        "rtt_ms": 6,
        "cold_start_ms": 40,
        "evict_idle_ms": 10_000,
        "output_gate_ms": 11,
        "queue_limit": 10,
    },
    "ledger": {"write_ms": 3, "read_ms": 1},
    "d1": {"rtt_ms": 8, "read_ms": 1.5, "write_ms": 4},
    "r2": {"put_ms": 60, "get_ms": 30, "bandwidth_bytes_per_s": 1_000_000},
    "tunnel": {"overhead_ms": 10, "streams": 1},
}
UPLOAD = Request("PUT", "/loras/lora-1/adapter.safetensors", body=b"x" * 2_000)
DOWNLOAD = Request("GET", "/loras/lora-1/adapter.safetensors")
SEARCH = Request("GET", "/loras", {"domain": "code"})

STAGES = [
    (log_request(), {"network": 18, "workers": 2, "durable_objects": 57, "ledger": 3}),
    (balance_request(), {"network": 18, "workers": 2, "durable_objects": 46, "ledger": 1}),
    (SEARCH, {"network": 18, "workers": 2, "d1": 9.5}),
    (UPLOAD, {"network": 18, "workers": 2, "r2": 62, "d1": 12}),
]


@pytest.mark.parametrize(("request_", "stages"), STAGES, ids=lambda case: getattr(case, "path", ""))
def test_a_lone_request_takes_exactly_its_stages(request_: Request, stages: dict[str, float]) -> None:
    with world(CONSTANT) as w:
        response, stopwatch = w.ask(request_)
        assert response.status == 200
        spent = {name: ms for name, ms in stopwatch.spent_ms.items() if ms and name != "worker_cpu"}
        assert spent == pytest.approx(stages)
        assert w.clock.now_ms() == pytest.approx(sum(stages.values()))


def test_server_timing_names_every_stage_in_milliseconds() -> None:
    with world(CONSTANT) as w:
        timing = w.ask(SEARCH)[0].headers["server-timing"]
    assert timing == (
        "network;dur=18.000, workers_queue;dur=0.000, workers;dur=2.000, worker_cpu;dur=2.000, "
        "d1;dur=9.500, d1_queue;dur=0.000"
    )


def test_a_download_pays_for_its_bytes() -> None:
    with world(CONSTANT) as w:
        w.ask(UPLOAD)
        response, stopwatch = w.ask(DOWNLOAD)
    assert response.body == UPLOAD.body
    assert stopwatch.spent_ms["r2"] == pytest.approx(30 + 2)


def test_requests_to_one_object_wait_in_the_order_of_arrival() -> None:
    # Keys 2 and 4 share a shard of two; key 3 has the other to itself and does not wait.
    with world(CONSTANT) as w:
        keys = (2, 4, 3, 2)
        stopwatches = [w.deployment.stopwatch() for _ in keys]
        asked = [
            w.deployment.serve_http(log_request(f"event-{n}", organization_id=f"org-{key}"), stopwatches[n])
            for n, key in enumerate(keys)
        ]
        w.clock.run(*asked)
    # One isolate lets them through 2 ms apart; the shard is held 40 + 3, then 3 and 3 ms.
    waits = [s.spent_ms["durable_objects_queue"] for s in stopwatches]
    assert [s.spent_ms["workers_queue"] for s in stopwatches] == pytest.approx([0, 2, 4, 6])
    assert waits == pytest.approx([0, 41, 0, 40])


def test_an_object_is_cold_at_first_and_again_after_idling() -> None:
    with world(CONSTANT) as w:
        cold = []
        for idle_ms in (0, 9_000, 10_500):
            w.clock.run_until(w.clock.now_ms() + idle_ms)
            cold.append(w.ask(balance_request())[1].spent_ms["durable_objects"] - 6)
    assert cold == pytest.approx([40, 0, 40])


def test_a_cold_isolate_delays_its_request_and_holds_nobody() -> None:
    system = {**CONSTANT, "workers": {**CONSTANT["workers"], "cold_fraction": 1}}
    with world(system) as w:
        stopwatches = [w.deployment.stopwatch(), w.deployment.stopwatch()]
        w.clock.run(*(w.deployment.serve_http(SEARCH, s) for s in stopwatches))
    assert [s.spent_ms["workers"] for s in stopwatches] == pytest.approx([52, 52])
    assert [s.spent_ms["workers_queue"] for s in stopwatches] == pytest.approx([0, 2])


def test_the_tunnel_holds_a_stream_for_the_whole_request() -> None:
    message = json.dumps({"method": "GET", "path": "/loras?domain=code"}).encode()
    with world(CONSTANT) as w:
        stopwatches = [w.deployment.stopwatch(), w.deployment.stopwatch()]
        w.clock.run(*(w.deployment.tunnel.serve(message, s) for s in stopwatches))
    first, second = (s.spent_ms for s in stopwatches)
    whole_ms = 10 + 2 + 9.5
    assert first["tunnel"] == second["tunnel"] == 10
    assert [first["tunnel_queue"], second["tunnel_queue"]] == pytest.approx([0, whole_ms])


def test_a_full_line_refuses_at_once() -> None:
    system = {**CONSTANT, "workers": {}, "d1": {"read_ms": 100, "queue_limit": 1}}
    with world(system) as w:
        stopwatches = [w.deployment.stopwatch() for _ in range(3)]
        answers = w.clock.run(*(w.deployment.serve_http(SEARCH, s) for s in stopwatches))
    assert [answer.status for answer in answers] == [200, 200, 503]
    assert json.loads(answers[2].body)["error"]["code"] == "overloaded"
    assert stopwatches[2].planned_ms == pytest.approx(18)


class LateClock(VirtualClock):
    """A machine that wakes every sleeper 3 ms late."""

    async def sleep_until_ms(self, at_ms: float) -> None:
        if at_ms > self.now_ms():
            await super().sleep_until_ms(at_ms + 3)


def test_lateness_does_not_add_up_along_a_request() -> None:
    clock = LateClock()
    stopwatch = Stopwatch(clock)
    stations = [Station(clock, name) for name in "abcde"]

    async def visit() -> None:
        for station in stations:
            async with station.hold(stopwatch, "queue"), stopwatch.stage("work", 10):
                pass
            stopwatch.delay("way", 5)
        await stopwatch.catch_up()

    clock.run(visit())
    assert stopwatch.planned_ms == 75
    assert clock.now_ms() == 75 + 3
    assert stopwatch.spent_ms["queue"] == 0


@pytest.mark.parametrize("late_ms", [0.5, 2.0])
def test_the_head_start_settles_where_answers_leave_on_time(late_ms: float) -> None:
    head_start = HeadStart()
    departures = []
    for _ in range(400):
        departures.append(late_ms - head_start.ms)
        head_start.departed(departures[-1])
    assert departures[0] == late_ms
    assert np.abs(departures[-50:]).max() <= 2 * HeadStart.STEP_MS


def test_the_head_start_is_bounded_and_never_negative() -> None:
    head_start = HeadStart()
    head_start.departed(-5)
    assert head_start.ms == 0
    for _ in range(10_000):
        head_start.departed(1_000)
    assert head_start.ms == HeadStart.MS_MAX


def test_an_unpaced_answer_teaches_the_head_start_nothing() -> None:
    clock = VirtualClock()
    stopwatch = Stopwatch(clock)
    stopwatch.run_unpaced()
    clock.advance(5)
    head_start = HeadStart()
    head_start.departed(stopwatch.late_ms())
    assert (stopwatch.late_ms(), head_start.ms) == (0, 0)


def test_a_stage_early_by_the_head_start_still_books_its_drawn_time() -> None:
    clock = VirtualClock()
    stopwatch = Stopwatch(clock)
    stopwatch.delay("way", 10)
    clock.run(stopwatch.catch_up(early_ms=0.75))
    assert (clock.now_ms(), stopwatch.planned_ms) == (9.25, 10)
    assert stopwatch.late_ms() == -0.75


def test_a_server_released_late_is_free_from_its_planned_release() -> None:
    clock = LateClock()
    station = Station(clock, "counter")
    first, second = Stopwatch(clock), Stopwatch(clock)

    async def visit(stopwatch: Stopwatch, way_ms: float) -> None:
        stopwatch.delay("way", way_ms)
        async with station.hold(stopwatch, "queue"), stopwatch.stage("work", 10):
            pass

    clock.run(visit(first, 0), visit(second, 11))
    assert second.spent_ms["queue"] == 0
    assert second.planned_ms == 21


def test_work_is_not_done_before_its_time() -> None:
    clock = VirtualClock()
    stopwatch = Stopwatch(clock)

    async def visit() -> float:
        stopwatch.delay("way", 10)
        async with stopwatch.stage("work", 2):
            return clock.now_ms()

    assert clock.run(visit()) == [10]
    assert stopwatch.spent_ms == {"way": 10, "work": 2}


def test_real_work_longer_than_drawn_counts_in_full() -> None:
    clock = VirtualClock()
    stopwatch = Stopwatch(clock)

    async def visit() -> None:
        async with stopwatch.stage("work", 2):
            clock.advance(7)

    clock.run(visit())
    assert stopwatch.spent_ms == {"work": 7}


def test_two_servers_serve_two_at_once() -> None:
    clock = VirtualClock()
    station = Station(clock, "counter", servers=2)
    stopwatches = [Stopwatch(clock) for _ in range(5)]

    async def visit(stopwatch: Stopwatch) -> None:
        async with station.hold(stopwatch, "queue"), stopwatch.stage("work", 10):
            pass

    clock.run(*map(visit, stopwatches))
    assert [s.spent_ms["queue"] for s in stopwatches] == [0, 0, 10, 10, 20]


def test_a_full_station_names_its_limit() -> None:
    clock = VirtualClock()
    station = Station(clock, "counter", queue_limit=0)
    first, second = Stopwatch(clock), Stopwatch(clock)

    async def visit() -> None:
        await station.acquire(first)
        await station.acquire(second)

    with pytest.raises(OverloadedError, match="counter is overloaded: 0 requests wait already"):
        clock.run(visit())
