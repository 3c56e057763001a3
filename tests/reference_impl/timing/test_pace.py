"""The paced deployment does what its pace file says.

Goal: every stage lasts exactly as drawn, real queues are first come first served, and lateness of
the machine does not add up. Method: constant laws under a virtual clock, where the right answer is
an addition; and a clock that wakes everybody late.
"""

import json

import numpy as np
import pytest

from reference_impl.errors import ConfigError, OverloadedError
from reference_impl.messages import Request
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.laws import read_law
from reference_impl.timing.pace import Pace, Tape
from reference_impl.timing.stopwatch import HeadStart, Station, Stopwatch
from tests.support.world import balance_request, log_request, world

CONSTANT_PACE: dict[str, dict[str, float]] = {
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
    with world(CONSTANT_PACE) as w:
        response, stopwatch = w.ask(request_)
        assert response.status == 200
        spent = {name: ms for name, ms in stopwatch.spent_ms.items() if ms and name != "worker_cpu"}
        assert spent == pytest.approx(stages)
        assert w.clock.now_ms() == pytest.approx(sum(stages.values()))


def test_server_timing_names_every_stage_in_milliseconds() -> None:
    with world(CONSTANT_PACE) as w:
        timing = w.ask(SEARCH)[0].headers["server-timing"]
    assert timing == (
        "network;dur=18.000, workers_queue;dur=0.000, workers;dur=2.000, worker_cpu;dur=2.000, "
        "d1;dur=9.500, d1_queue;dur=0.000"
    )


def test_a_download_pays_for_its_bytes() -> None:
    with world(CONSTANT_PACE) as w:
        w.ask(UPLOAD)
        response, stopwatch = w.ask(DOWNLOAD)
    assert response.body == UPLOAD.body
    assert stopwatch.spent_ms["r2"] == pytest.approx(30 + 2)


def test_requests_to_one_object_wait_in_the_order_of_arrival() -> None:
    # Keys 2 and 4 share a shard of two; key 3 has the other to itself and does not wait.
    with world(CONSTANT_PACE) as w:
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
    with world(CONSTANT_PACE) as w:
        cold = []
        for idle_ms in (0, 9_000, 10_500):
            w.clock.run_until(w.clock.now_ms() + idle_ms)
            cold.append(w.ask(balance_request())[1].spent_ms["durable_objects"] - 6)
    assert cold == pytest.approx([40, 0, 40])


def test_a_cold_isolate_delays_its_request_and_holds_nobody() -> None:
    pace = {**CONSTANT_PACE, "workers": {**CONSTANT_PACE["workers"], "cold_fraction": 1}}
    with world(pace) as w:
        stopwatches = [w.deployment.stopwatch(), w.deployment.stopwatch()]
        w.clock.run(*(w.deployment.serve_http(SEARCH, s) for s in stopwatches))
    assert [s.spent_ms["workers"] for s in stopwatches] == pytest.approx([52, 52])
    assert [s.spent_ms["workers_queue"] for s in stopwatches] == pytest.approx([0, 2])


def test_the_tunnel_holds_a_stream_for_the_whole_request() -> None:
    message = json.dumps({"method": "GET", "path": "/loras?domain=code"}).encode()
    with world(CONSTANT_PACE) as w:
        stopwatches = [w.deployment.stopwatch(), w.deployment.stopwatch()]
        w.clock.run(*(w.deployment.tunnel.serve(message, s) for s in stopwatches))
    first, second = (s.spent_ms for s in stopwatches)
    whole_ms = 10 + 2 + 9.5
    assert first["tunnel"] == second["tunnel"] == 10
    assert [first["tunnel_queue"], second["tunnel_queue"]] == pytest.approx([0, whole_ms])


def test_a_full_line_refuses_at_once() -> None:
    pace = {**CONSTANT_PACE, "workers": {}, "d1": {"read_ms": 100, "queue_limit": 1}}
    with world(pace) as w:
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
    assert head_start.ms == HeadStart.MOST_MS


def test_a_stage_early_by_the_head_start_still_books_its_drawn_time() -> None:
    clock = VirtualClock()
    stopwatch = Stopwatch(clock)
    stopwatch.delay("way", 10)
    clock.run(stopwatch.catch_up(early_ms=0.75))
    assert (clock.now_ms(), stopwatch.planned_ms) == (9.25, 10)
    assert stopwatch.late_ms() == -0.75


def test_time_before_the_stopwatch_counts_towards_the_network() -> None:
    with world({"network": {"client_rtt_ms": 18}}) as w:
        w.clock.run_until(30)
        stopwatch = w.deployment.stopwatch(started_ms=10)
        w.clock.run(w.deployment.serve_http(SEARCH, stopwatch))
    # Reading took 20 ms, more than the first half of 9 ms; the second half is added.
    assert stopwatch.spent_ms["network"] == 29
    assert stopwatch.planned_ms == 39


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


LAW_MEANS = [
    (3, 3.0),
    ({"distribution": "constant", "value": 4}, 4.0),
    ({"distribution": "uniform", "low": 2, "high": 6}, 4.0),
    ({"distribution": "exponential", "mean": 5}, 5.0),
    ({"distribution": "lognormal", "median": 10, "p99": 40}, 10 * np.exp(0.5 * (np.log(4) / 2.3263479) ** 2)),
    ({"distribution": "weibull", "mean": 5, "shape": 0.7}, 5.0),
    ({"distribution": "pareto", "minimum": 1, "shape": 1, "maximum": 100}, np.log(100) / 0.99),
    ({"distribution": "erlang", "mean": 6, "stages": 3}, 6.0),
    ({"distribution": "hyperexponential", "mean": 5, "cv2": 4}, 5.0),
    ({"distribution": "empirical", "values": [0, 1, 5]}, (0.5 + 3) / 2),
]


@pytest.mark.parametrize(("spec", "mean"), LAW_MEANS)
def test_a_law_has_its_mean(spec: object, mean: float) -> None:
    n = 200_000
    drawn = read_law(spec, "x").sample(np.random.default_rng(1), n)
    assert drawn.shape == (n,)
    assert abs(drawn.mean() - mean) <= 4 * drawn.std() / np.sqrt(n) + 1e-12


def test_the_hyperexponential_law_has_its_variation() -> None:
    drawn = read_law({"distribution": "hyperexponential", "mean": 5, "cv2": 4}, "x").sample(
        np.random.default_rng(1), 400_000
    )
    assert drawn.var() / drawn.mean() ** 2 == pytest.approx(4, rel=0.05)


def test_the_lognormal_law_has_its_two_quantiles() -> None:
    drawn = read_law({"distribution": "lognormal", "median": 10, "p99": 40}, "x").sample(
        np.random.default_rng(1), 400_000
    )
    assert np.quantile(drawn, [0.5, 0.99]) == pytest.approx([10, 40], rel=0.02)


def test_one_seed_gives_one_tape_and_a_changed_law_moves_no_other() -> None:
    def draws(**d1: object) -> list[float]:
        pace = Pace.from_mapping({"seed": 5, "d1": {"read_ms": exponential, **d1}})
        return [pace.d1.read_ms.draw() for _ in range(300)]

    exponential = {"distribution": "exponential", "mean": 1}
    assert draws() == draws() == draws(write_ms=7)
    assert len(set(draws())) == 300


def test_a_tape_never_ends() -> None:
    tape = Tape(read_law(1.5, "x"), np.random.default_rng(0))
    assert {tape.draw() for _ in range(1_000)} == {1.5}


BAD_PACES = [
    ("no json", "the pace file is no JSON"),
    ("[]", "holds a list; it must be an object"),
    ('{"seed": -1}', "seed=-1 must be a whole number >= 0"),
    ('{"nettwork": {}}', "unknown key 'nettwork'; did you mean network"),
    ('{"d1": {"rtt": 1}}', "d1 has an unknown key 'rtt'; did you mean rtt_ms"),
    ('{"d1": 5}', "d1=5 must be a table"),
    ('{"d1": {"rtt_ms": -1}}', "d1.rtt_ms=-1 must be >= 0"),
    ('{"d1": {"rtt_ms": NaN}}', "d1.rtt_ms=nan must be a finite number"),
    ('{"d1": {"rtt_ms": "8"}}', "d1.rtt_ms='8' must be a number or a table"),
    ('{"d1": {"rtt_ms": {"distribution": "normal"}}}', "d1.rtt_ms.distribution='normal' must be one of constant"),
    ('{"d1": {"rtt_ms": {"distribution": "erlang", "mean": 1}}}', "'erlang' takes distribution, mean, stages"),
    ('{"d1": {"rtt_ms": {"distribution": "erlang", "mean": 1, "stages": 1.5}}}', "must be a whole number"),
    ('{"d1": {"rtt_ms": {"distribution": "exponential", "mean": 0}}}', "d1.rtt_ms.mean=0 must be > 0"),
    ('{"d1": {"rtt_ms": {"distribution": "uniform", "low": 2, "high": 1}}}', "high=1.0 must be >= low=2.0"),
    ('{"d1": {"rtt_ms": {"distribution": "empirical", "values": [1]}}}', "a list of at least 2"),
    ('{"d1": {"rtt_ms": {"distribution": "empirical", "values": [2, 1]}}}', "values must rise"),
    ('{"d1": {"rtt_ms": {"distribution": "hyperexponential", "mean": 1, "cv2": 0.5}}}', "must be >= 1"),
    ('{"d1": {"queue_limit": 1.5}}', "d1.queue_limit=1.5 must be a whole number >= 0"),
    ('{"workers": {"isolates": 0}}', "workers.isolates=0 must be a whole number >= 1"),
    ('{"workers": {"cold_fraction": 2}}', "workers.cold_fraction=2 must be a number in 0..1"),
    ('{"durable_objects": {"shards": "many"}}', "durable_objects.shards='many' must be a whole"),
    ('{"ledger": {"policy": "soft"}}', "ledger.policy='soft' must be one of seed, hardened"),
]


@pytest.mark.parametrize(("text", "message"), BAD_PACES)
def test_a_bad_pace_file_is_told_by_value_and_rule(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pace.from_json(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
