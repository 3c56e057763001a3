"""Routes that are played on WebSockets: sessions, open-loop messages, what counts as an answer, and every way to end.

Goal: each key of ``[routes.NAME.socket]`` does what it says, and a session that fails is an outcome with a name.
Method: rooms that misbehave on request (``tests/support/socket_rooms.py``), a second or two of load; times are compared
with each other and with the fault, never with the machine.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from sim import Result, load_scenario
from sim.foundation.errors import ScenarioError, UsageError
from sim.runners import live, reference
from sim.runners.load.abort import AbortRule
from sim.runners.load.address import Deployment
from sim.runners.load.guard import Caps
from sim.runners.load.options import LoadOptions
from sim.scenario.scenario import Scenario
from tests.project.tidy import ROOT
from tests.support import schedules
from tests.support.socket_rooms import socket_rooms, synapse

NEVER = AbortRule(failed_fraction=1.0)


def rooms(*, client: dict[str, float] | None = None, **socket: Any) -> Scenario:
    """The social network, of which people join rooms and talk there on WebSockets."""
    terms = {"path": "/room/{key}", "message": "line", "answer": "echo", "ping_s": 0.0, **socket}
    changes: dict[str, Any] = {
        "bodies.line": {"text": "{run}-{request}"},
        "routes.say.socket": terms,
        "routes.join.socket": {"path": "/room/{key}", "ping_s": 0.0},
    }
    for name, value in {"timeout_ms": 5000.0, "retries": 0, "backoff_ms": 1.0, **(client or {})}.items():
        changes[f"system.client.{name}"] = value
    return load_scenario("social").with_(**changes).with_shares(say=1, join=0)


def steady(requests: int, *, keys: int = 1, gap_ms: float = 10.0, route: str = "say", **columns: Any) -> Any:
    """Messages at equal distances, to some rooms in turn."""
    return schedules.at(np.arange(requests) * gap_ms, routes=(route,), key=np.arange(requests) % keys, **columns)


def play(scenario: Scenario, to: Deployment, planned: Any, **options: Any) -> Result:
    """Play on running rooms."""
    processes = options.pop("processes", 1)
    with_options = LoadOptions(**{"abort": NEVER, **options})
    return live.play(scenario, planned, seed=1, url=to.http, options=with_options, processes=processes)


def seen(to: Deployment) -> dict[str, Any]:
    """What the rooms saw."""
    with urlopen(f"{to.http}/seen") as answer:
        return dict(json.loads(answer.read()))


def shares(result: Result) -> dict[str, int]:
    """Requests by outcome, without the outcomes that did not occur."""
    return {str(outcome): int(n) for outcome, n in result.frame["outcome"].value_counts().items() if n}


@contextmanager
def one_answer(said: bytes) -> Iterator[str]:
    """A server that answers requests, and says *said* to those for an upgrade, and hangs up."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    if b"upgrade" in head.lower():
                        self.wfile.write(said)
                        return
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    head = b""

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


# ---------------------------------------------------------------- messages and answers


@pytest.mark.parametrize("answer", ["none", "next", "echo", "broadcast"])
@pytest.mark.parametrize("message", ["line", "size_bytes"])
def test_every_message_is_sent_once_and_answered(answer: str, message: str) -> None:
    with socket_rooms() as to:
        planned = steady(60, keys=3, size_bytes=np.full(60, 2_000))
        result = play(rooms(answer=answer, message=message), to, planned)
        there = seen(to)
    assert shares(result) == {"ok": 60}
    assert there["messages"] == 60
    assert (there["handshakes"], sorted(set(there["paths"]))) == (3, ["/room/0", "/room/1", "/room/2"])
    assert there["keys"] == ["0", "1", "2"], "a handshake has the headers of the message that needs it"
    assert there["open"] == 0, "every session was closed"
    assert set(there["closes"]) == {1000}
    assert (result.generator["socket_sessions"], result.generator["socket_ended_early"]) == (3, {})
    assert not [note for note in result.notes if "WebSocket" in note]


def test_message_without_a_text_is_a_session() -> None:
    with socket_rooms() as to:
        result = play(rooms(), to, steady(30, route="join"))
        there = seen(to)
    assert shares(result) == {"ok": 30}
    assert (there["handshakes"], there["open_peak"], there["messages"]) == (30, 30, 0)


def test_broadcast_is_answered_when_the_last_member_has_heard_it() -> None:
    """The room is slow to the last of its members; an echo comes from the others before."""
    slow = {"last_late_ms": 200.0}
    with socket_rooms(**slow) as to:
        all_of_them = play(rooms(members=3, answer="broadcast"), to, steady(12, gap_ms=50))
    with socket_rooms(**slow) as to:
        one = play(rooms(members=3, answer="echo"), to, steady(12, gap_ms=50))
    assert shares(all_of_them) == shares(one) == {"ok": 12}
    assert all_of_them.frame["latency_ms"].min() > 200
    assert one.frame["latency_ms"].min() < all_of_them.frame["latency_ms"].min()


def test_what_others_say_is_no_answer() -> None:
    with socket_rooms() as to:
        result = play(rooms(members=4), to, steady(40))
    assert shares(result) == {"ok": 40}
    assert 39 * 3 <= result.generator["socket_unasked"] <= 40 * 3, "of the last one, not all may be in before the end"


def test_server_that_speaks_first_is_waited_for() -> None:
    with socket_rooms(greets=True) as to:
        result = play(rooms(answer="next", greeting=True), to, steady(20))
    assert shares(result) == {"ok": 20}
    assert result.generator["socket_unasked"] == 1, "the greeting is not taken for the first answer"


def test_stall_is_charged_to_every_message_that_it_delays() -> None:
    """At 100/s a stall of 0.5 s meets 50 intended messages: the loop is open."""
    with socket_rooms(stall_at_message=50, stall_ms=500.0) as to:
        frame = play(rooms(), to, steady(200)).frame
    assert (frame["latency_ms"] > 250).sum() > 10
    assert list(frame["arrival_ms"]) == list(steady(200).arrival_ms)


# ---------------------------------------------------------------- bounds


def test_sessions_are_bounded_and_those_unused_for_longest_go() -> None:
    with socket_rooms() as to:
        result = play(rooms(sessions=4, members=2), to, steady(100, keys=10))
        there = seen(to)
    assert shares(result) == {"ok": 100}
    assert there["open_peak"] == 4
    assert there["handshakes"] > 100, "with ten rooms in turn, hardly one is there any more when it is needed again"


def test_session_is_closed_after_so_many_messages() -> None:
    with socket_rooms() as to:
        result = play(rooms(messages=5), to, steady(50, gap_ms=20))
        there = seen(to)
    assert shares(result) == {"ok": 50}
    assert there["handshakes"] == 10
    assert result.generator["socket_ended_early"] == {}


def test_processes_share_the_sessions() -> None:
    with socket_rooms() as to:
        result = play(rooms(sessions=4), to, steady(80, keys=8), processes=2)
        there = seen(to)
    assert shares(result) == {"ok": 80}
    assert there["open_peak"] <= 4
    assert result.generator["socket_sessions"] == there["handshakes"]


def test_more_sessions_than_may_be_in_flight_are_refused_before_the_first_packet() -> None:
    rule = r"routes\.say\.socket\.sessions=65 must be <= 64 for a live run"
    with pytest.raises(UsageError, match=rule):
        play(rooms(sessions=65), Deployment("http://127.0.0.1:9"), steady(1), caps=Caps(in_flight=64))


# ---------------------------------------------------------------- failures have names


@pytest.mark.parametrize(
    ("status", "outcome"), [(403, "refused"), (404, "refused"), (503, "overloaded"), (500, "error")]
)
def test_refused_handshake_is_an_outcome(status: int, outcome: str) -> None:
    with socket_rooms(statuses=(status, 101)) as to:
        result = play(rooms(), to, steady(20))
    assert shares(result) == {outcome: 1, "ok": 19}
    assert result.generator["socket_refused"] == {str(status): 1}
    assert f"WebSocket sessions: 1 opened, 1 handshakes refused (1 by status {status})" in result.notes


def test_handshake_that_is_redirected_is_refused_and_not_followed() -> None:
    with socket_rooms() as other, socket_rooms(statuses=(302,), location=f"{other.http}/room/0") as to:
        result = play(rooms(), to, steady(5))
        assert seen(other)["handshakes"] == 0
    assert shares(result) == {"refused": 5}


def test_throttled_handshake_stops_the_sending_until_then() -> None:
    with socket_rooms(statuses=(429, 101), retry_after="1") as to:
        result = play(rooms(), to, steady(150))
    counts = shares(result)
    assert counts["refused"] == 1
    assert counts["skipped"] > 50
    assert counts["ok"] > 10
    assert not result.valid
    assert any("throttled" in note for note in result.notes)


def test_session_that_ends_early_is_an_outcome_and_is_opened_again() -> None:
    with socket_rooms(close_every=10) as to:
        result = play(rooms(), to, steady(60, gap_ms=20))
        there = seen(to)
    counts, ended = shares(result), result.generator["socket_ended_early"]["1012"]
    assert counts["ok"] + counts["closed"] == 60
    assert 5 <= ended <= counts["closed"], "one that is under way when the session ends is lost with it"
    assert ended <= there["handshakes"] <= ended + 1
    assert (
        f"WebSocket sessions: {there['handshakes']} opened, {ended} ended early ({ended} by code 1012)" in result.notes
    )


def test_retry_of_the_client_says_it_again_on_a_new_session() -> None:
    with socket_rooms(close_every=10) as to:
        result = play(rooms(client={"retries": 2}), to, steady(60, gap_ms=20))
    assert shares(result) == {"ok": 60}
    assert result.generator["retries"] >= result.generator["socket_ended_early"]["1012"] > 0


def test_route_that_does_not_reconnect_says_no_more() -> None:
    with socket_rooms(close_every=10) as to:
        result = play(rooms(reconnects=False), to, steady(40, gap_ms=20))
        assert seen(to)["handshakes"] == 1
    assert shares(result) == {"ok": 9, "closed": 31}, "what comes after the tenth message is not answered"


def test_pause_before_a_reconnection_is_kept() -> None:
    with socket_rooms(close_every=10) as to:
        frame = play(rooms(reconnect_ms=300.0), to, steady(15, gap_ms=20)).frame
    after = frame.loc[10:, "latency_ms"]
    assert after.iloc[0] > 250
    assert (frame.loc[:8, "latency_ms"] < after.iloc[0]).all()


def test_unanswered_message_times_out_and_does_not_shift_the_answers() -> None:
    """Every tenth message is not answered; with echoes, the next answer is not taken for it."""
    with socket_rooms(deaf_every=10) as to:
        result = play(rooms(client={"timeout_ms": 300.0}), to, steady(50, gap_ms=20))
    assert shares(result) == {"ok": 45, "timeout": 5}


def test_session_without_pongs_has_ended() -> None:
    with socket_rooms(silent_to_pings=True) as to:
        result = play(rooms(ping_s=0.2), to, steady(50, gap_ms=20))
    assert result.generator["socket_ended_early"].keys() == {"1006"}
    assert result.generator["socket_pongs"] == 0
    with socket_rooms() as to:
        result = play(rooms(ping_s=0.2), to, steady(50, gap_ms=20))
    assert result.generator["socket_ended_early"] == {}
    assert 3 <= result.generator["socket_pongs"] <= result.generator["socket_pings"]


def test_deployment_that_dies_ends_the_run_and_what_was_measured_is_kept() -> None:
    abort = AbortRule(consecutive_failures=10)
    with socket_rooms(die_at_message=30) as to:
        result = play(rooms(), to, steady(2000), abort=abort)
    counts = shares(result)
    assert result.interrupted
    assert counts["ok"] == 29
    assert counts["closed"] == 1
    assert sum(counts.values()) < 2000


def test_address_that_speaks_no_websocket_is_an_outcome() -> None:
    with socket_rooms() as to:
        result = play(rooms(path="/nothing/{key}"), to, steady(5))
    assert shares(result) == {"error": 5}
    assert result.generator["socket_refused"] == {"200": 5}


@pytest.mark.parametrize(
    "said", [b"", b"220 ready for mail\r\n", b"HTTP/1.1 101 Go on\r\nSec-WebSocket-Accept: x\r\n\r\n"]
)
def test_handshake_that_is_none_is_an_outcome(said: bytes) -> None:
    """The health check is answered as HTTP; whatever asks for an upgrade gets other bytes."""
    with one_answer(said) as url:
        result = play(rooms(), Deployment(url), steady(5))
    assert shares(result) == {"error": 5}
    assert result.generator["socket_sessions"] == 0


# ---------------------------------------------------------------- the scenario


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "/room/{door}"}, r"routes\.say\.socket\.path has \{door\}"),
        ({"message": "lime"}, r'routes\.say\.socket\.message="lime" is not a body; did you mean line'),
        ({"answer": "shout"}, r"routes\.say\.socket\.answer"),
        ({"members": 9, "sessions": 8}, r"needs sessions=8 to be >= members=9"),
        ({"message": ""}, r"needs a message for answer=echo"),
        ({"ping_s": -1.0}, r"routes\.say\.socket\.ping_s=-1\.0 must be >= 0"),
    ],
)
def test_wrong_socket_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        rooms(**changes)
    assert "\n" not in str(caught.value)


def test_socket_behind_a_tunnel_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"routes\.say\.socket must not be there with enter=.tunnel."):
        rooms().with_(**{"routes.say.enter": "tunnel"})


# ---------------------------------------------------------------- deployments of ours


def test_reference_serves_rooms_to_real_sockets() -> None:
    """Two members of ours and ten of the reference's own: whatever one says, both of ours hear."""
    scenario = rooms(members=2, answer="broadcast", ping_s=0.3).with_shares(say=1, join=0.2)
    planned = steady(80, keys=4)
    with reference.running(scenario, seed=1) as started:
        result = play(scenario, started.deployment, planned)
    assert shares(result) == {"ok": 80}
    assert result.generator["socket_sessions"] == 8
    assert result.generator["socket_ended_early"] == {}
    assert result.generator["socket_pongs"] > 0


def test_reference_serves_the_synapse() -> None:
    """It greets, and answers a question that it does not understand."""
    with reference.running(synapse(), seed=1) as started:
        result = play(synapse(), started.deployment, steady(40, keys=3, route="ask"))
    assert shares(result) == {"ok": 40}
    assert (result.generator["socket_sessions"], result.generator["socket_unasked"]) == (3, 3)


def test_scenario_of_the_page_is_played(tmp_path: Path) -> None:
    page = (ROOT / "docs/LOAD_TEST.md").read_text(encoding="utf-8")
    found = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    (tmp_path / "rooms.toml").write_text(found[1].replace("social.toml", str(ROOT / "scenarios/social.toml")))
    with socket_rooms() as to:
        result = play(load_scenario(tmp_path / "rooms.toml"), to, steady(40, keys=2))
    assert shares(result) == {"ok": 40}
    assert result.generator["socket_sessions"] == 6
