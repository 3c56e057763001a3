"""Rooms: every member hears a message, once, and a room sleeps or does not as its sockets were accepted.

Goal: fan-out, hibernation and times are those of objects with WebSockets. Method: routes of a whole deployment under a
virtual clock, whose times are known exactly; how often a member heard something is counted at its own end.
"""

from typing import Any

import pytest

from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.messages import Response
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.routed import request, route, routed
from tests.support.world import World

OBJECTS = {"rtt_ms": 6, "cold_start_ms": 50, "evict_idle_ms": 70_000}
ROUTES = {
    "join": route("websocket.connect", path="/join"),
    "say": route("websocket.message", method="POST", path="/say"),
    "write": route("durable_objects.write", method="POST", path="/write"),
}


def system(**rooms: Any) -> dict[str, Any]:
    table = {"members": 5, "connect_ms": 2, "message_ms": 1, "send_us": 100, **rooms}
    return {"network": {}, "durable_objects": OBJECTS, "websocket": table}


def say(w: World, key: int = 1, body: bytes = b"hello", path: str = "/say") -> tuple[Response, dict[str, float]]:
    """Say something in the room of a key; the answer and what the time was spent on."""
    method = "GET" if path == "/join" else "POST"
    answer, watch = w.ask(request(path, method=method, body=body, key=key))
    return answer, watch.spent_ms


def test_every_member_hears_a_message_once_and_no_other_room_does() -> None:
    with routed(ROUTES, system()) as w:
        rooms = w.deployment.instances["websocket"]
        assert say(w)[0].body == b'{"success":true,"heard":5}'
        assert rooms.heard == 5
        say(w, key=2)
        assert rooms.heard == 10
        names = rooms.objects.names()
        assert [len(rooms.objects.sockets(rooms.objects.id_from_name(name))) for name in names] == [5, 5]


def test_twenty_messages_are_billed_as_one_request() -> None:
    with routed(ROUTES, system()) as w:
        say(w)
        before = w.deployment.billed()["durable_objects", "requests"]
        for _ in range(20):
            say(w)
        assert w.deployment.billed()["durable_objects", "requests"] - before == pytest.approx(1)


def test_message_holds_the_object_for_itself_and_for_every_send() -> None:
    with routed(ROUTES, system()) as w:
        first, second = say(w)[1], say(w)[1]
        assert [spent_ms["durable_objects"] for spent_ms in (first, second)] == [6 + 50, 6]
        assert [spent_ms["websocket"] for spent_ms in (first, second)] == pytest.approx([1.5, 1.5])


def test_messages_to_one_room_wait_for_each_other() -> None:
    with routed(ROUTES, system(message_ms=10, send_us=0)) as w:
        say(w)
        watches: list[Stopwatch] = [w.deployment.stopwatch() for _ in range(4)]
        began_ms = w.clock.now_ms()
        asked = request("/say", method="POST", body=b"x", key=1)
        w.clock.run(*(w.deployment.serve_http(asked, watch) for watch in watches))
        assert [watch.planned_ms - began_ms for watch in watches] == [16, 26, 36, 46]


@pytest.mark.parametrize(
    ("hibernates", "idle_s", "wakes"),
    [(True, 9.9, False), (True, 10.1, True), (False, 10.1, False), (False, 200, False)],
)
def test_room_sleeps_only_by_the_hibernation_api(hibernates: bool, idle_s: float, wakes: bool) -> None:
    with routed(ROUTES, system(hibernates=hibernates)) as w:
        say(w)
        w.clock.run_until(w.clock.now_ms() + idle_s * 1_000)
        assert say(w)[1]["durable_objects"] == 6 + 50 * wakes
        assert w.deployment.instances["websocket"].heard == 10, "the members were there all the time"


def test_who_joins_takes_the_place_of_who_was_there_for_longest() -> None:
    with routed(ROUTES, system()) as w:
        rooms = w.deployment.instances["websocket"]
        say(w)
        (name,) = rooms.objects.names()
        sockets = rooms.objects.sockets(rooms.objects.id_from_name(name))
        before = sockets.of_tag(None)
        answer, spent_ms = say(w, path="/join")
        assert (answer.status, spent_ms["websocket"]) == (200, 2)
        after = sockets.of_tag(None)
        assert after[:4] == before[1:]
        assert after[4] not in before
        say(w)
        assert rooms.heard == 10


def test_message_over_the_limit_is_refused() -> None:
    with routed(ROUTES, system(message_bytes_max=5)) as w:
        assert say(w, body=b"12345")[0].status == 200
        assert say(w, body=b"123456")[0].status == 413


def test_rooms_and_rows_share_the_object() -> None:
    """A ledger, rows and a room may live in one object: it wakes once for all of them."""
    with routed(ROUTES, {**system(), "d1": {}, "ledger": {}}) as w:
        assert say(w)[1]["durable_objects"] == 56
        assert say(w, path="/write")[1]["durable_objects"] == 6


def test_two_kinds_of_rooms_in_one_namespace_are_refused() -> None:
    tables = {**system(), "lounge": {"component": "websocket"}}
    specification = Specification.read({"seed": 0, "api": "", "system": tables, "routes": {}})
    from tests.support.world import world_of

    with (
        pytest.raises(ConfigError, match=r"system\.lounge\.objects='durable_objects' hosts rooms already"),
        world_of(specification),
    ):
        pass
