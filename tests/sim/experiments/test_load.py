"""Loading any URL: what is refused, what a dry run says, and the highest rate that keeps the targets.

Goal: nothing is sent that was not allowed, bounded and priced; a search finds a limit that is known, and says INVALID
where it found its own. Method: names that must not be looked up; a server with one queue, whose capacity is arithmetic.
"""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import load_scenario
from sim.experiments.load import default_options, load, load_plan
from sim.experiments.measured_capacity import load_capacity
from sim.foundation.errors import UsageError
from sim.judgement.cost.bill import price
from sim.judgement.cost.requests import requests_usd
from sim.judgement.cost.usage import Traffic
from sim.runners.load.guard import REMOTE_CAPS, Caps
from sim.runners.load.headers import Headers
from sim.runners.load.options import LoadOptions
from sim.runners.load.self_check import SelfCheck
from tests.sim.runners.test_live import seen
from tests.support.adversary import adversary

FEED = load_scenario("feed")
READS = FEED.with_shares(feed=1.0)
"""Without stored objects, which a server that knows none cannot have."""
OURS = LoadOptions(allow_hosts=("deployment.example",), caps=REMOTE_CAPS)
URL = "https://deployment.example"
SHORT: dict[str, Any] = {"rate_per_s": 50.0, "duration_s": 20.0}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)


@pytest.mark.usefixtures("no_network")
def test_dry_run_says_what_would_be_sent_and_sends_nothing() -> None:
    found = load_plan(FEED, URL, options=replace(OURS, headers=Headers({"x-stage": "test"})), **SHORT)
    assert found.hosts == ("deployment.example",)
    assert found.requests == pytest.approx(50 * 22, rel=0.2)
    assert found.duration_s == pytest.approx(22, rel=0.05)
    assert found.warm_up_s == pytest.approx(2)
    assert found.requests < found.attempts_max
    assert 0 < found.usd <= found.usd_max
    assert found.headers == ("x-stage",)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("https://other.example", OURS, "allow list"),
        ("https://deployment.example.evil.example", OURS, "allow list"),
        ("https://user:secret@deployment.example", OURS, "must hold no user"),
        ("ftp://user:secret@deployment.example", OURS, "must be http"),
        (URL, replace(OURS, caps=Caps(requests=10)), "requests=.* must be <= 10"),
        (URL, replace(OURS, caps=Caps(duration_s=5)), "duration_s=.* must be <= 5"),
        (URL, replace(OURS, caps=Caps(rate_per_s=20)), "rate_per_s=.* must be <= 20"),
        (URL, replace(OURS, caps=Caps(usd=1e-6)), "usd=.* must be <= 1e-06"),
        (URL, replace(OURS, headers=Headers({"authorization": "env:NOT_SET_HERE"})), "NOT_SET_HERE must be set"),
    ],
)
@pytest.mark.parametrize("what", [load, load_plan])
def test_what_is_not_allowed_is_refused_before_anything_is_sent(
    what: object, url: str, options: LoadOptions, message: str
) -> None:
    assert callable(what)
    with pytest.raises(UsageError, match=message) as refused:
        what(FEED, url, options=options, **SHORT)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_other_machines_have_tighter_caps() -> None:
    assert default_options("http://127.0.0.1:1").caps == Caps()
    assert default_options(URL).caps == REMOTE_CAPS
    assert not default_options(URL).allow_hosts


@given(requests=st.integers(1, 10**7), times=st.integers(2, 5))
def test_cost_of_requests_is_proportional(requests: int, times: int) -> None:
    one, many = (requests_usd(FEED, count)[0] for count in (requests, requests * times))
    assert many == pytest.approx(times * one, rel=1e-6)


def test_cost_of_requests_is_what_the_bill_grows_by() -> None:
    """Beyond the inclusions, a hundred million more cost the difference of two bills, but for whole units."""
    traffic = Traffic(FEED, 1e10)
    bills = [sum(line.usd for line in price(traffic.usage(count), FEED.facts)) for count in (1e10, 1e10 + 1e8)]
    usd, unpriced = requests_usd(FEED, 10**8)
    assert not unpriced
    assert usd == pytest.approx(bills[1] - bills[0], rel=0.005)


def test_load_excludes_its_warm_up() -> None:
    with adversary() as deployment:
        result = load(READS, deployment.http, rate_per_s=100.0, duration_s=1.0, warm_up_s=0.5)
        sent = seen(deployment)["requests"]
    assert result.warm_up_ms == 500
    assert len(result.frame) == sent
    assert result.steady().frame["arrival_ms"].min() >= 500
    assert len(result.steady().frame) < len(result.frame)


def targets(folder: Path, p90_ms: float) -> str:
    """A file with one target of latency."""
    path = folder / "targets.toml"
    path.write_text(
        f'[[targets]]\nmetric = "api_latency_ms"\nstatistic = "p90"\ntarget = {p90_ms}\nalert = {2 * p90_ms}\n'
        'direction = "below"\nunit = "ms"\n',
        encoding="utf-8",
    )
    return str(path)


def on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the search believe its probes, whatever else this machine does: it is the search that is tested."""
    monkeypatch.setattr(SelfCheck, "own_limit", property(lambda _: False))


@pytest.mark.slow
def test_search_finds_the_rate_that_one_server_can_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request takes 20 ms: more than 50 a second cannot be served, and a third of that brings no long queue."""
    on_time(monkeypatch)
    scenario = READS.with_(targets=targets(tmp_path, 400.0))
    with adversary(serial_ms=20) as deployment:
        found = load_capacity(scenario, deployment.http, start_per_s=15.0, step_s=3.0, repeats=2, tolerance_ratio=0.4)
    assert found.limited_by
    assert 50 / 3 < found.estimate.value < 50 * 1.3
    assert found.estimate.low <= found.estimate.value <= found.estimate.high < float("inf")
    kept = [probe.rate_per_s for probe in found.probes if not probe.broken]
    assert max(kept) >= found.estimate.low
    assert {probe.seed for probe in found.probes} == {scenario.seed, scenario.seed + 1}
    assert found.floor is not None


def test_search_that_meets_the_generators_own_limit_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SelfCheck, "own_limit", property(lambda check: check.offered_per_s > 60))
    scenario = READS.with_(targets=targets(tmp_path, 5000.0))
    with adversary(delay_ms=30) as deployment:
        found = load_capacity(scenario, deployment.http, start_per_s=40.0, step_s=1.0, repeats=2)
    assert not found.valid
    assert any("the load generator itself was the limit" in note for note in found.notes)
    assert found.estimate.high == float("inf")
    assert found.estimate.low == 40


def test_search_ends_at_the_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_time(monkeypatch)
    scenario = READS.with_(targets=targets(tmp_path, 60_000.0))
    with adversary(delay_ms=30) as deployment:
        found = load_capacity(
            scenario,
            deployment.http,
            options=LoadOptions(caps=Caps(rate_per_s=100)),
            start_per_s=50.0,
            step_s=1.0,
            repeats=2,
        )
    assert max(probe.rate_per_s for probe in found.probes) == 80, found.probes
    assert any("where the caps end the search" in note for note in found.notes), (found.notes, found.probes)
    assert found.estimate.high == float("inf")


@pytest.mark.parametrize(
    ("on", "options", "message"),
    [
        ("compiled", {}, "is a model"),
        ("http://127.0.0.1:9", {"repeats": 1}, "repeats=1 must be >= 2"),
        ("http://127.0.0.1:9", {"tolerance_ratio": 2.0}, "tolerance_ratio=2"),
        ("http://127.0.0.1:9", {"step_s": 0.0}, "step_s=0 must be > 0"),
        ("https://deployment.example", {}, "allow list"),
    ],
)
def test_wrong_search_is_one_line(on: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_capacity(FEED, on, **options)  # type: ignore[arg-type]  # numbers of both kinds
