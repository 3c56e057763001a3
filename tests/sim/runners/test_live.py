"""The load driver, played against a deployment that misbehaves on request.

Goal: each promise of ``sim/runners/live.py`` is kept when it is hard to keep. Method: one fault of
``tests/support/adversary.py`` a test, a second or two of load on loopback; times are compared with each other and with
the fault, never with the machine.
"""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from sim import Result, Schedule, load_scenario
from sim.foundation.errors import RunnerError, UsageError
from sim.runners import live
from sim.runners.load.abort import AbortRule
from sim.runners.load.address import Deployment
from sim.runners.load.guard import Caps
from sim.runners.load.options import LoadOptions
from sim.runners.load.tape import Tape
from tests.support import schedules
from tests.support.adversary import adversary

NEVER = AbortRule(failed_fraction=1.0)


def play(
    deployment: Deployment, schedule: Schedule, *, client: dict[str, float] | None = None, **options: Any
) -> Result:
    """Play on an adversary, with some of the client's settings changed."""
    scenario = load_scenario("launch")
    for name, value in {"timeout_ms": 5000.0, "retries": 0, "backoff_ms": 1.0, **(client or {})}.items():
        scenario = scenario.vary(f"system.client.{name}", value)
    options = {"abort": NEVER, **options}
    direct = {name: options.pop(name) for name in ("processes", "progress") if name in options}
    return live.play(
        scenario,
        schedule,
        seed=1,
        url=deployment.http,
        tunnel=deployment.tunnel,
        options=LoadOptions(**options),
        **direct,
    )


def steady(requests: int, *, gap_ms: float = 10.0, **columns: Any) -> Schedule:
    """Requests at equal distances."""
    return schedules.at(np.arange(requests) * gap_ms, key=np.arange(requests) % 7, **columns)


def one_user(requests: int, *, think_ms: float = 10.0) -> Schedule:
    """A closed loop of one user."""
    return schedules.at(
        np.zeros(requests), user=np.zeros(requests, dtype=np.int64), think_ms=np.full(requests, think_ms)
    )


def seen(deployment: Deployment) -> dict[str, Any]:
    """What the adversary saw of the load."""
    with urlopen(f"{deployment.http}/seen") as answer:
        return dict(json.loads(answer.read()))


def shares(result: Result) -> dict[str, int]:
    """Requests by outcome, without the outcomes that did not occur."""
    counts = result.frame["outcome"].value_counts()
    return {str(outcome): int(n) for outcome, n in counts.items() if n}


def test_slow_answers_do_not_slow_the_sending() -> None:
    with adversary(delay_ms=500) as deployment:
        result = play(deployment, steady(100))
    assert shares(result) == {"ok": 100}
    assert result.generator["in_flight_requests"] > 20
    assert result.frame["send_lag_ms"].median() < 500 / 10
    assert list(result.frame["arrival_ms"]) == list(steady(100).arrival_ms)


def test_a_stall_is_charged_to_every_request_that_it_delays() -> None:
    """Hazard H59: at 100/s a stall of 0.5 s meets 50 intended requests; a closed loop, which waits for answers, one."""
    stall = {"stall_at_request": 50, "stall_ms": 500.0}
    with adversary(**stall) as deployment:
        opened = play(deployment, steady(200)).frame["latency_ms"]
    with adversary(**stall) as deployment:
        closed = play(deployment, one_user(200)).frame["latency_ms"]
    assert (opened > 250).sum() > 10
    assert (closed > 250).sum() == 1
    assert opened.quantile(0.95) > 250 > closed.quantile(0.95)


def test_a_late_generator_counts_from_the_intended_send_and_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver stands still for 0.4 s: the raw latencies do not know, the corrected ones do, nobody may conclude."""
    send = Tape.send

    def send_late(self: Tape, request: int, *, at_ms: float) -> None:
        if request == 50:
            time.sleep(0.4)
        send(self, request, at_ms=at_ms + 400 * (request == 50))

    monkeypatch.setattr(Tape, "send", send_late)
    with adversary() as deployment:
        result = play(deployment, steady(200))
    frame = result.frame
    assert (frame["latency_ms"] > 200).sum() > (frame["service_latency_ms"] > 200).sum()
    assert np.allclose(frame["latency_ms"] - frame["service_latency_ms"], frame["send_lag_ms"])
    assert not result.valid
    assert any("lateness of sending" in note for note in result.notes)


def test_beyond_the_bound_requests_are_skipped_and_not_sent_later() -> None:
    with adversary(hang_every=1) as deployment:
        result = play(deployment, steady(60), caps=Caps(in_flight=8), client={"timeout_ms": 300.0})
        arrived = seen(deployment)["requests"]
    skipped = result.frame["outcome"].eq("skipped")
    assert shares(result).keys() == {"skipped", "timeout"}
    assert arrived == (~skipped).sum() < 60
    assert result.generator["in_flight_requests"] == 8
    assert result.frame.loc[skipped, "latency_ms"].isna().all()
    assert (result.frame.loc[skipped, "attempts"] == 0).all()
    assert not result.valid
    assert any("skipped" in note for note in result.notes)


def test_a_timeout_is_a_value() -> None:
    with adversary(hang_every=5) as deployment:
        result = play(deployment, steady(50), client={"timeout_ms": 400.0})
    late = result.frame[result.frame["outcome"] == "timeout"]
    assert shares(result) == {"ok": 40, "timeout": 10}
    assert (late["latency_ms"] >= 400).all()
    assert (late["client_ms"] >= 400).all()


def test_outcomes_are_typed_by_status() -> None:
    with adversary(statuses=(200, 503, 413, 404, 500, 302, 504)) as deployment:
        result = play(deployment, one_user(70, think_ms=1.0))
    expected = ["ok", "overloaded", "too_large", "refused", "error", "refused", "timeout"] * 10
    assert result.frame["outcome"].astype(str).tolist() == expected
    assert (result.frame["client_ms"] == 0).all(), "a timeout inside the deployment is no time of the client's"


def test_a_broken_connection_is_an_error() -> None:
    with adversary(drop_every=4) as deployment:
        result = play(deployment, steady(40))
    assert shares(result) == {"ok": 30, "error": 10}


def test_retries_send_the_same_event_again_after_a_growing_wait() -> None:
    with adversary(statuses=(503, 503, 200)) as deployment:
        result = play(deployment, one_user(5), client={"retries": 2, "backoff_ms": 20.0})
        events = seen(deployment)["events"]
    assert shares(result) == {"ok": 5}
    assert (result.frame["attempts"] == 3).all()
    assert np.allclose(result.frame["client_ms"], 20 + 40)
    assert (result.frame["latency_ms"] >= 60).all()
    assert [events.count(event) for event in dict.fromkeys(events)] == [3] * 5


def test_a_refusal_is_final() -> None:
    with adversary(statuses=(404, 413)) as deployment:
        result = play(deployment, one_user(10), client={"retries": 3})
    assert (result.frame["attempts"] == 1).all()


def test_two_runs_never_send_the_same_event() -> None:
    with adversary() as deployment:
        play(deployment, steady(10))
        play(deployment, steady(10))
        events = seen(deployment)["events"]
    assert len(events) == len(set(events)) == 20


def test_components_times_come_from_the_answer() -> None:
    timing = 'network;dur=18.25, workers_queue;dur=1, d1;desc="a, b";dur=3.5, moon;dur=9, worker_cpu;dur=2'
    with adversary(server_timing=timing) as deployment:
        frame = play(deployment, steady(10)).frame
    columns = {"network_ms": 18.25, "workers_queue_ms": 1.0, "d1_ms": 3.5, "worker_cpu_ms": 2.0, "r2_ms": 0.0}
    assert (frame[list(columns)] == list(columns.values())).all(axis=None)


def test_uploads_and_downloads_have_their_sizes_and_stored_objects_are_no_load() -> None:
    mixed = steady(
        12,
        routes=("upload", "download"),
        route_code=np.arange(12, dtype=np.int16) % 2,
        size_bytes=np.where(np.arange(12) % 2, 300_000, 1_000_000),
        object_number=np.where(np.arange(12) % 2, 3, 16 + np.arange(12)),
    )
    with adversary() as deployment:
        result = play(deployment, mixed)
        lines = seen(deployment)["lines"]
    kept = "/loras/lora-3/adapter.safetensors"
    assert shares(result) == {"ok": 12}
    assert lines[:2] == [f"PUT {kept} 300000", f"GET {kept} 0"]
    assert sorted(line for line in lines[2:] if "PUT" in line) == sorted(
        f"PUT /loras/lora-{16 + n}/adapter.safetensors 1000000" for n in range(0, 12, 2)
    )
    with adversary(short_downloads=True) as deployment, pytest.raises(RunnerError, match="lora-3"):
        play(deployment, mixed)


def test_requests_say_what_they_are_about_by_both_ways_in(tmp_path: Any) -> None:
    """Numbers of the schedule, retries alike but for their number; a deployment of ours plays steps by them."""
    n = np.arange(20)
    planned = steady(20, routes=("upload", "device_log"), route_code=n.astype(np.int16) % 2, object_number=n + 16)
    planned = replace(planned, size_bytes=np.where(n % 2, 0, 100 + n))
    with adversary(tunnel_folder=str(tmp_path), statuses=(200, 503)) as deployment:
        play(deployment, planned, client={"retries": 1})
        seen_identities = seen(deployment)["identities"]
    of_rows = [
        {
            "headroom-request": str(row),
            "headroom-key": str(row % 7),
            "headroom-object": str(row + 16),
            "headroom-size-bytes": str(planned.size_bytes[row]),
        }
        for row in n
    ]
    runs = {identity.pop("headroom-run") for identity in seen_identities}
    assert len(runs) == 1
    assert {identity.pop("headroom-attempt", "0") for identity in seen_identities} == {"0", "1"}
    assert [identity for identity in of_rows if identity not in seen_identities] == []
    assert [identity for identity in seen_identities if identity not in of_rows] == []
    assert len(seen_identities) > len(of_rows)


def test_routes_of_ones_own_are_sent_as_they_are_written() -> None:
    """Two routes that the brief does not know, with keys in their paths and bodies."""
    routes = {
        "feed": {"share": 1.0, "request": {"method": "GET", "path": "/feed/{key}"}, "steps": ["d1.read"]},
        "like": {
            "share": 1.0,
            "request": {"method": "PATCH", "path": "/posts/{request}/by/{key}", "body": "like"},
            "steps": ["durable_objects.write"],
        },
    }
    scenario = load_scenario("launch").with_(routes=routes, bodies={"like": {"by": "{key}", "id": "{run}-{request}"}})
    planned = steady(6, routes=("feed", "like"), route_code=np.arange(6, dtype=np.int16) % 2)
    with adversary() as deployment:
        result = live.play(scenario, planned, seed=1, url=deployment.http, options=LoadOptions(abort=NEVER))
        lines = [line.rsplit(" ", 1)[0] for line in seen(deployment)["lines"]]
    assert shares(result) == {"ok": 6}
    assert result.frame["route"].astype(str).tolist() == ["feed", "like"] * 3
    assert sorted(lines) == sorted(f"PATCH /posts/{n}/by/{n}" if n % 2 else f"GET /feed/{n}" for n in range(6))


@pytest.mark.parametrize("where", ["body", "answer"])
def test_bytes_through_the_tunnel_are_refused(where: str) -> None:
    """Its frames hold text: they would go out as nothing, and come back with another length."""
    blob = {"method": "PUT", "path": "/blob", where: "size_bytes"}
    scenario = load_scenario("launch").vary("routes.device_log.request", blob)
    planned = steady(3, routes=("device_log",))
    with pytest.raises(UsageError, match=r"routes\.device_log\.request must not move size_bytes through a tunnel"):
        live.play(scenario, planned, seed=1, url="http://127.0.0.1:1")


def test_device_events_go_through_the_tunnel(tmp_path: Any) -> None:
    timing = "tunnel;dur=4.5"
    with adversary(tunnel_folder=str(tmp_path), server_timing=timing, statuses=(200, 413, 0)) as deployment:
        result = play(deployment, steady(30, routes=("device_log",)))
    assert shares(result) == {"ok": 10, "too_large": 10, "error": 10}
    assert (result.frame.loc[result.frame["outcome"] == "ok", "tunnel_ms"] == 4.5).all()
    assert result.generator["heartbeats"] == result.generator["heartbeats_answered"] == 1


def test_a_reset_stream_is_an_error_of_one_request(tmp_path: Any) -> None:
    with adversary(tunnel_folder=str(tmp_path), drop_every=3) as deployment:
        result = play(deployment, steady(30, routes=("device_log",)))
    assert shares(result) == {"ok": 20, "error": 10}
    assert result.generator["tunnel_reconnections"] == 0


def test_a_closed_loop_thinks_after_each_answer() -> None:
    with adversary(delay_ms=20) as deployment:
        frame = play(deployment, one_user(10, think_ms=30.0)).frame
    gaps_ms = np.diff(frame["arrival_ms"])
    assert np.allclose(gaps_ms, 30.0 + frame["latency_ms"][:-1], atol=5.0)


def test_a_running_event_loop_is_no_obstacle() -> None:
    """A notebook has a loop of its own."""

    async def cell() -> Result:
        return play(deployment, steady(10))

    with adversary() as deployment:
        assert shares(asyncio.run(cell())) == {"ok": 10}


def test_histograms_hold_what_the_frame_holds() -> None:
    with adversary(delay_ms=5) as deployment:
        result = play(deployment, steady(100), hdr=True)
    for kind, column in (("corrected", "latency_ms"), ("raw", "service_latency_ms")):
        histogram = HdrHistogram.decode(result.generator["hdr"]["log"][kind])
        assert histogram.get_total_count() == 100
        assert histogram.get_max_value() / 1000 == pytest.approx(result.frame[column].max(), rel=2e-3)


def test_no_progress_is_shown_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    with adversary() as deployment:
        play(deployment, steady(10), progress=True)
    assert capfd.readouterr() == ("", "")


def test_stations_are_read_from_the_answers() -> None:
    """Every answer says 4 ms of CPU after 3 ms in line: at 101/s that is a queue of 0.303."""
    timing = "workers_queue;dur=3, workers;dur=4, worker_cpu;dur=4"
    with adversary(server_timing=timing) as deployment:
        stations = play(deployment, steady(101)).stations
    row = stations.set_index("station").loc["workers"]
    assert list(stations["station"]) == ["workers"]
    assert row["served"] == 101
    assert row["wait_mean_ms"] == pytest.approx(3.0)
    assert row["queue_mean"] == pytest.approx(0.303)
    assert stations["utilization"].isna().all()  # It scales out.
