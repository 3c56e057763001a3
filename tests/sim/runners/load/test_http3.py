"""HTTP/3: the same messages at the same times over streams, and every way in which a connection can fail.

Goal: what is sent is what HTTP/1.1 sends; a certificate that does not fit is one line; what fails later is an outcome.
Method: a small server on aioquic's own HTTP/3 layer on loopback, which misbehaves on request.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import Result, load_plan, load_scenario
from sim.foundation.errors import RunnerError, UsageError
from sim.runners import live
from sim.runners.load.abort import AbortRule
from sim.runners.load.headers import parse_headers
from sim.runners.load.options import LoadOptions
from tests.support import schedules
from tests.support.h3_server import h3_server

NEVER = AbortRule(failed_fraction=1.0)


@pytest.fixture(autouse=True)
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def steady(requests: int, *, route: str = "log", gap_ms: float = 10.0, **columns: Any) -> Any:
    return schedules.at(np.arange(requests) * gap_ms, routes=(route,), key=np.arange(requests) % 7, **columns)


def play(url: str, planned: Any, *, timeout_ms: float = 5000.0, processes: int = 1, **options: Any) -> Result:
    scenario = load_scenario("launch").with_(**{"system.client.timeout_ms": timeout_ms, "system.client.retries": 0})
    with_options = LoadOptions(**{"abort": NEVER, "http3": True, **options})
    return live.play(scenario, planned, seed=1, url=url, options=with_options, processes=processes)


def shares(result: Result) -> dict[str, int]:
    return {str(outcome): int(n) for outcome, n in result.frame["outcome"].value_counts().items() if n}


def test_requests_arrive_once_with_their_headers_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "planted")
    with h3_server(tmp_path) as (url, there):
        result = play(url, steady(60), headers=parse_headers(["authorization=env:TOKEN"]))
    assert shares(result) == {"ok": 60}
    assert there.requests == 60
    assert all(line.startswith("POST /log ") for line in there.lines)
    assert {head["authorization"] for head in there.headers} == {"planted"}
    assert sorted(int(head["headroom-request"]) for head in there.headers) == list(range(60))
    assert (result.frame["workers_ms"] == 1.5).all()
    assert there.connections <= 8


def test_uploads_arrive_whole(tmp_path: Path) -> None:
    sizes = np.array([1, 70_000, 1_000_003])
    with h3_server(tmp_path) as (url, there):
        result = play(url, steady(3, route="upload", size_bytes=sizes, object_number=np.arange(3)))
    assert sorted(there.stored.values()) == sorted(sizes.tolist())
    assert len(shares(result)) == 1


def test_slow_answers_do_not_slow_the_sending(tmp_path: Path) -> None:
    with h3_server(tmp_path, delay_ms=400) as (url, _):
        result = play(url, steady(100))
    assert shares(result) == {"ok": 100}
    assert result.generator["in_flight_requests"] > 20
    assert result.frame["latency_ms"].min() > 400


@pytest.mark.parametrize(("connections", "keep_alive", "seen"), [(1, True, 1), (3, True, 3), (0, False, 21)])
def test_connection_policy(tmp_path: Path, connections: int, keep_alive: bool, seen: int) -> None:
    with h3_server(tmp_path) as (url, there):
        result = play(url, steady(20), connections=connections, keep_alive=keep_alive)
    assert shares(result) == {"ok": 20}
    assert there.connections == seen if keep_alive else there.connections >= seen


def test_processes_share_the_sending(tmp_path: Path) -> None:
    with h3_server(tmp_path) as (url, there):
        result = play(url, steady(40), processes=2)
    assert shares(result) == {"ok": 40}
    assert there.requests == 40


def test_timeouts_resets_and_statuses_are_outcomes(tmp_path: Path) -> None:
    with h3_server(tmp_path, delay_ms=2000) as (url, _):
        assert shares(play(url, steady(3), timeout_ms=300.0)) == {"timeout": 3}
    with h3_server(tmp_path, reset_every=2) as (url, _):
        assert shares(play(url, steady(10))) == {"ok": 5, "error": 5}
    with h3_server(tmp_path, statuses=(200, 503, 404)) as (url, _):
        assert shares(play(url, steady(9))) == {"ok": 3, "overloaded": 3, "refused": 3}
    with h3_server(tmp_path, no_status=True) as (url, _):
        assert "ok" not in shares(play(url, steady(5)))


def test_throttling_stops_the_sending_until_then(tmp_path: Path) -> None:
    with h3_server(tmp_path, statuses=(429, 200), retry_after="1") as (url, _):
        result = play(url, steady(150))
    counts = shares(result)
    assert counts["skipped"] > 50
    assert not result.valid


def test_deployment_that_dies_ends_the_run_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    with h3_server(tmp_path, die_at_request=30) as (url, _):
        result = play(url, steady(600), timeout_ms=500.0, abort=AbortRule(consecutive_failures=10))
    assert result.interrupted
    assert shares(result)["ok"] >= 20
    assert sum(shares(result).values()) < 600


def test_certificate_that_does_not_fit_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h3_server(tmp_path, name="other.example") as (url, _):
        with pytest.raises(RunnerError, match=r"does not answer: .*other") as caught:
            play(url, steady(1))
        assert "\n" not in str(caught.value)
    monkeypatch.delenv("SSL_CERT_FILE")
    with h3_server(tmp_path) as (url, _), pytest.raises(RunnerError, match=r"does not answer: .*certificate"):
        play(url, steady(1))


def test_http3_needs_tls_and_an_allowed_host() -> None:
    with pytest.raises(UsageError, match=r"http3 needs https://HOST, not 'http://127\.0\.0\.1:9'"):
        play("http://127.0.0.1:9", steady(1))
    with pytest.raises(UsageError, match="allow list"):
        load_plan("feed", "https+h3://feed.example")


def test_scheme_asks_for_it() -> None:
    planned = load_plan("feed", "https+h3://127.0.0.1:9", rate_per_s=10, duration_s=1)
    assert planned.url == "https+h3://127.0.0.1:9"
