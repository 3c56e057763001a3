"""Whom the load driver may load, how much, and when it must not be believed.

Goal: nothing leaves for a host that was not named, nothing grows beyond its bound, and a generator that was late or
saturated says so. Method: each rule is given the smallest input that breaks it, and its neighbour that does not.
"""

import json
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sim import load_scenario
from sim.foundation.errors import RunnerError, UsageError
from sim.runners import live
from sim.runners.load.abort import AbortRule, AbortWatch
from sim.runners.load.address import read_ready_line
from sim.runners.load.guard import Caps, check_host, check_schedule, check_url
from sim.runners.load.messages import read_server_timing
from sim.runners.load.self_check import SelfCheck
from tests.support import schedules

HEALTHY = SelfCheck(
    planned_requests=10_000,
    sent_requests=10_000,
    skipped_requests=0,
    aborted_requests=0,
    retries=0,
    offered_per_s=60.0,
    achieved_per_s=60.0,
    send_lag_ms_p50=0.1,
    send_lag_ms_p99=2.0,
    send_lag_ms_max=30.0,
    latency_ms_p50=40.0,
    latency_ms_p99=200.0,
    overhead_ms_p50=1.0,
    overhead_ms_p99=3.0,
    floor_ms_p50=1.0,
    cpu_ratio=0.2,
    in_flight_requests=9,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"])
def test_this_machine_may_be_loaded(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize(
    "host",
    ["example.com", "10.0.0.1", "0.0.0.0", "::", "::ffff:8.8.8.8", "127.1", "2130706433", "localhost.example.com", ""],
)
def test_any_other_host_is_refused_without_a_look_up(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UsageError, match=r"allow list \(headroom load --allow"):
        check_host(host)


def test_a_host_on_the_allow_list_may_be_loaded() -> None:
    check_url("https://staging.example.com", allow_hosts=("Staging.example.com",))
    with pytest.raises(UsageError, match="allow list"):
        check_url("https://example.com", allow_hosts=("staging.example.com",))


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://[::1"]
)
def test_what_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="must be http://HOST:PORT"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://me:secret@127.0.0.1", "http://127.0.0.1?token=secret", "http://127.0.0.1#secret"]
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="no user, query or fragment") as refusal:
        check_url(url)
    assert "secret" not in str(refusal.value)


def test_a_foreign_tunnel_is_refused_as_a_foreign_url_is() -> None:
    quic = {"host": "8.8.8.8", "port": 1, "server_name": "", "ca": "", "cert": "", "key": ""}
    far = read_ready_line(json.dumps({"http": "http://127.0.0.1:1", "quic": quic}))
    with pytest.raises(UsageError, match="allow list"):
        live.play(load_scenario("launch"), schedules.at([0.0]), seed=1, url=far.http, tunnel=far.tunnel)


@pytest.mark.parametrize(
    "line", ["", "ready", "[]", "{}", '{"http": 1, "quic": []}', '{"http": "x", "quic": {"port": "y"}}']
)
def test_a_malformed_ready_line_is_one_line_of_error(line: str) -> None:
    with pytest.raises(RunnerError, match="must be a JSON object") as refusal:
        read_ready_line(line)
    assert "\n" not in str(refusal.value)


def test_events_without_a_tunnel_are_refused_with_the_way_out() -> None:
    schedule = schedules.at([0.0], routes=("device_log",))
    with pytest.raises(UsageError, match=r"set routes\.device_log\.share = 0"):
        live.play(load_scenario("launch"), schedule, seed=1, url="http://127.0.0.1:1")


def test_an_unknown_route_is_refused_with_the_known_ones() -> None:
    planned = schedules.at([0.0], routes=("teleport",))
    with pytest.raises(UsageError, match="route='teleport' must be one of log, balance"):
        live.play(load_scenario("launch"), planned, seed=1, url="http://127.0.0.1:1")


def test_nobody_there_is_one_line_of_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunnerError, match="does not answer") as refusal:
            live.play(load_scenario("launch"), schedules.at([0.0]), seed=1, url=url)
    assert "\n" not in str(refusal.value)


def test_what_is_no_http_is_said_to_be_none() -> None:
    """A port of SSH, for instance."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=greet, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(RunnerError, match=r"what came back is no HTTP: .*another protocol") as refusal:
            live.play(load_scenario("launch"), schedules.at([0.0]), seed=1, url=url)
        listening.shutdown(socket.SHUT_RDWR)
    assert "\n" not in str(refusal.value)
    assert "\\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("bound", "named"),
    [
        (Caps(requests=9), "requests=10 must be <= 9"),
        (Caps(duration_s=0.08), r"duration_s=0\.09 must be <= 0\.08"),
        (Caps(upload_bytes=999), "upload_bytes=1000 must be <= 999"),
        (Caps(in_flight=4), "users=5 must be <= 4"),
    ],
)
def test_a_schedule_beyond_a_bound_is_refused(bound: Caps, named: str) -> None:
    n = np.arange(10)
    schedule = schedules.at(n * 10, routes=("upload",), size_bytes=np.full(10, 100), user=n % 5, think_ms=n * 0.0)
    check_schedule(schedule, caps=Caps(), uploading={"upload"})
    with pytest.raises(UsageError, match=named):
        check_schedule(schedule, caps=bound, uploading={"upload"})


def test_only_what_is_sent_counts_as_uploaded() -> None:
    """Bytes of other routes come with the answers."""
    schedule = schedules.at(
        [0.0, 1.0], routes=("fetch", "store"), route_code=np.array([0, 1]), size_bytes=np.array([900, 50])
    )
    check_schedule(schedule, caps=Caps(upload_bytes=50), uploading={"store"})
    with pytest.raises(UsageError, match="upload_bytes=900 must be <= 50"):
        check_schedule(schedule, caps=Caps(upload_bytes=50), uploading={"fetch"})


def test_a_healthy_generator_is_believed() -> None:
    assert HEALTHY.reasons() == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"send_lag_ms_p50": 1.2, "latency_ms_p50": 2.0, "overhead_ms_p50": 0.2},
            "share of the P50 of latency, 0.6 must be <= 0.1",
        ),
        ({"overhead_ms_p50": 12.0}, "30 % of the P50 is in no component, more than 25 %: the machine was too busy"),
        ({"send_lag_ms_p99": 21.0}, "share of the P99 of latency, 0.105 must be <= 0.1"),
        ({"sent_requests": 9_989, "skipped_requests": 11}, "skipped 0.0011 must be <= 0.001"),
        ({"cpu_ratio": 0.95}, "core 0.95 must be <= 0.9"),
        ({"achieved_per_s": 58.0}, "not sent 0.03333 must be <= 0.02"),
    ],
)
def test_a_late_or_saturated_generator_is_invalid(change: dict[str, Any], named: str) -> None:
    """Hazard H62."""
    (reason,) = replace(HEALTHY, **change).reasons()
    assert reason.startswith("INVALID: ")
    assert named in reason


def test_the_same_lag_is_doubtful_under_2_ms_and_not_under_40() -> None:
    late = replace(HEALTHY, send_lag_ms_p50=1.2, send_lag_ms_p99=1.2, overhead_ms_p50=0.2)
    assert late.reasons() == ()
    assert len(replace(late, latency_ms_p50=2.0, latency_ms_p99=5.0).reasons()) == 2


@example(lag=1.0, latency=11.0, unit=0.25)
@given(lag=st.floats(0.001, 1e3), latency=st.floats(0.001, 1e5), unit=st.floats(0.01, 100))
def test_lateness_is_judged_by_its_share_whatever_the_unit(lag: float, latency: float, unit: float) -> None:
    """Both times in another unit: the same verdict; and more lag never makes a run more valid."""

    def check(scale: float, more: float = 1.0) -> bool:
        late = replace(HEALTHY, send_lag_ms_p50=more * lag * scale, latency_ms_p50=latency * scale)
        return not replace(late, overhead_ms_p50=0.0).reasons()  # That a machine is starved is another rule.

    assume(abs(lag / latency - 0.1) > 1e-9)
    assert check(1.0) == check(unit) == (lag / latency <= 0.1)
    assert check(1.0) or not check(1.0, more=2.0)


def test_a_run_without_an_answer_has_no_latency_that_lag_could_change() -> None:
    nothing = replace(HEALTHY, latency_ms_p50=float("nan"), latency_ms_p99=float("nan"))
    assert nothing.reasons() == ()


def test_an_abort_rule_looks_at_its_window_only() -> None:
    watch = AbortWatch(AbortRule(failed_fraction=0.5, window_s=1.0, answers=10))
    old = [watch.answered(at_s=0.0, failed=True) for _ in range(9)]
    assert not any(old)
    assert [n for n in range(20) if watch.answered(at_s=2.0 + n / 100, failed=n % 2 == 1)] == []
    assert [n for n in range(12) if watch.answered(at_s=3.5, failed=True)] == [9, 10, 11]


@pytest.mark.parametrize(
    ("header", "n"),
    [
        ("", 0),
        ("d1", 0),
        ("d1;dur=x", 0),
        ("d1;dur=-3", 0),
        ("d1;dur=nan", 0),
        ("d1;dur=1e999", 1),
        ("d1;dur=" + 400 * "9", 1),
        ("d1; dur=2,r2;dur=3", 2),
    ],
)
def test_a_server_timing_header_never_breaks_the_driver(header: str, n: int) -> None:
    spent = read_server_timing(header)
    assert len(spent) == n
    assert all(np.isfinite(ms) and ms >= 0 for _, ms in spent)


def test_only_a_deployment_of_this_machine_is_starved_by_it() -> None:
    """The way to a deployment elsewhere is in none of its server timings; short times are in none in whole ms."""
    half = replace(HEALTHY, overhead_ms_p50=20.0)
    assert half.reasons()
    assert half.reasons(is_here=False) == ()
    assert replace(half, accounts_in_whole_ms=True).reasons() == ()


def test_nothing_is_said_of_a_deployment_that_accounts_for_nothing() -> None:
    """Without server timings all of the latency is in no component."""
    assert replace(HEALTHY, overhead_ms_p50=HEALTHY.latency_ms_p50).reasons() == ()
