"""The synapse: a council that answers, listeners that miss nothing, and a session that survives its process.

Goal: whatever stops the object, the question is answered once, and every listener ends with the same entries. Method:
the object under a virtual clock with a council whose roles take a second each and fail when they are told to.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.errors import PlatformError, RequestError
from reference_impl.messages import Pair, Request, Response, Sent
from reference_impl.synapse.consensus import ARBITER, ROLES, Opinion, Session
from reference_impl.synapse.council import Role
from reference_impl.synapse.synapse import CloudSynapse
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import MemoryDisk
from tests.support.world import settings

ROLE_MS = 1_000.0


class Council:
    """Roles that take a second, agree in a given round, and fail a given number of times."""

    def __init__(self, agrees_in_round: int = 1) -> None:
        self.agrees_in_round = agrees_in_round
        self.failures = 0
        self.asked: list[str] = []
        self.clock: VirtualClock

    def roles(self) -> Mapping[str, Role]:
        """Return a function for every role."""
        return {role: lambda session, role=role: self.ask(session, role) for role in (*ROLES, ARBITER)}  # type: ignore[misc]  # mypy does not infer a lambda with a default

    async def ask(self, session: Session, role: str) -> Opinion:
        """Ask one role."""
        self.asked.append(f"{session.request_id} {session.round_index} {role}")
        await self.clock.sleep_until_ms(self.clock.now_ms() + ROLE_MS)
        if self.failures:
            self.failures -= 1
            raise PlatformError("the model is busy")
        share = 0.9 if session.round_index >= self.agrees_in_round else 0.5
        feedback = f" heeding [{session.feedback}]" if session.feedback else ""
        return Opinion(session.round_index, role, share, f"{role} {session.round_index}{feedback}", sources=(role,))


class Scene:
    """One synapse, its clients and listeners."""

    def __init__(self, council: Council) -> None:
        self.clock = VirtualClock(unix_ms_start=0)
        self.disk = MemoryDisk()
        self.council = council
        self.council.clock = self.clock
        self.deploy()

    def deploy(self) -> None:
        """Start a process on the same disk."""
        self.namespace = Namespace(
            "CloudSynapse",
            lambda state: CloudSynapse(state, self.council.roles(), clock=self.clock),
            clock=self.clock,
            disk=self.disk,
            settings=settings(DurableObjectsSettings.read),
            keeps_plan=False,
        )
        self.object_id = self.namespace.id_from_name("s1")
        self.namespace.resume()

    def crash(self) -> None:
        """Lose the process and all that it holds in memory; start another."""
        self.clock.close()
        self.deploy()

    async def deliver(self, request: Request) -> Response:
        """Send one request."""
        return await self.namespace.deliver(self.object_id, request, stopwatch=Stopwatch(self.clock, keeps_plan=False))

    async def ask(self, request_id: str = "r1", prompt: str = "why", **more: Any) -> Response:
        """Put a question."""
        body = json.dumps({"request_id": request_id, "prompt": prompt, **more}).encode()
        return await self.deliver(Request("POST", "/consensus", body=body))

    def answer(self, request_id: str = "r1", prompt: str = "why", **more: Any) -> dict[str, Any]:
        """Put a question and wait for the answer."""
        content: dict[str, Any] = json.loads(self.clock.run(self.ask(request_id, prompt, **more))[0].body)
        return content

    def state(self) -> dict[str, Any]:
        """Return what ``/state`` tells."""
        content: dict[str, Any] = json.loads(self.clock.run(self.deliver(Request("GET", "/state")))[0].body)
        return content

    def listen(self) -> "Listener":
        """Connect a listener."""
        request = Request("GET", "/socket", headers={"upgrade": "websocket"})
        return Listener(self, self.clock.run(self.deliver(request))[0])


class Listener:
    """Somebody who hears everything."""

    def __init__(self, scene: Scene, response: Response) -> None:
        assert response.status == 101
        assert response.web_socket is not None
        self.clock = scene.clock
        self.pair: Pair = response.web_socket
        self.heard: list[dict[str, Any]] = []
        self.closed: list[int] = []
        self.pair.attach(self.take)

    def take(self, sent: Sent) -> None:
        """Hear one message."""
        if sent.close_code is None:
            self.heard.append(json.loads(sent.message))
        else:
            self.closed.append(sent.close_code)

    def say(self, content: Any) -> None:
        """Send one message."""
        text = content if isinstance(content, str) else json.dumps(content)
        self.clock.run(self.pair.bring(text))

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What has a number."""
        return [entry for entry in self.heard if "seq" in entry]


@contextmanager
def scene(agrees_in_round: int = 1) -> Iterator[Scene]:
    made = Scene(Council(agrees_in_round))
    try:
        yield made
    finally:
        made.clock.close()
        made.disk.unmount()


def test_a_council_that_agrees_answers_in_one_round() -> None:
    with scene() as s:
        assert s.state() == {"success": True, "status": "idle"}
        assert s.answer() == {
            "success": True,
            "status": "agreed",
            "request_id": "r1",
            "rounds": 1,
            "score_share": 0.9,
            "response": "logos 1",
            "sources": list(ROLES),
            "last_seq": 6,
        }
        assert s.clock.now_ms() == 3 * ROLE_MS
        assert s.council.asked == [f"r1 1 {role}" for role in ROLES]


def test_a_council_that_does_not_agree_hears_feedback_and_then_the_arbiter() -> None:
    with scene(agrees_in_round=9) as s:
        answer = s.answer()
        assert (answer["status"], answer["rounds"], answer["score_share"]) == ("arbitrated", 3, 0.5)
        assert len(s.council.asked) == 10
        assert "heeding [logos: logos 3" in answer["response"]


def test_listeners_hear_everything_in_order() -> None:
    with scene(agrees_in_round=2) as s:
        first, second = s.listen(), s.listen()
        assert [entry["type"] for entry in first.heard] == ["hello"]
        s.answer()
        assert first.entries == second.entries
        assert [(entry["seq"], entry["type"]) for entry in first.entries] == [
            (1, "question"),
            *[(n, "opinion") for n in (2, 3, 4)],
            (5, "round"),
            *[(n, "opinion") for n in (6, 7, 8)],
            (9, "round"),
            (10, "result"),
        ]
        assert [entry["score_share"] for entry in first.entries if entry["type"] == "round"] == [0.5, 0.9]


def test_the_object_serves_others_while_a_role_thinks() -> None:
    with scene() as s:
        s.clock.spawn(ignored(s.ask()))
        s.clock.run_until(1_500)
        state = s.state()
        assert (state["status"], state["last_seq"]) == ("running", 2)
        assert s.clock.now_ms() == 1_500


async def ignored(asked: Any) -> None:
    """Wait for an answer that nobody looks at."""
    await asked


def test_the_same_question_again_is_answered_and_not_asked_again() -> None:
    with scene() as s:
        first = s.answer()
        assert s.answer() == first
        assert len(s.council.asked) == 3
        with pytest.raises(RequestError) as refusal:
            s.answer(prompt="something else")
        assert (refusal.value.status, refusal.value.code) == (409, "request_id_reused")


def test_while_a_question_is_answered_the_same_one_waits_and_another_is_refused() -> None:
    with scene() as s:
        s.clock.spawn(ignored(s.ask()))
        s.clock.run_until(500)
        response = s.clock.run(s.ask())[0]
        assert (response.status, json.loads(response.body)["status"]) == (202, "running")
        with pytest.raises(RequestError, match="r1 is not answered yet"):
            s.answer("r2")
        s.clock.run_until(5_000)
        assert s.answer("r2")["status"] == "agreed"


def test_a_new_question_forgets_the_entries_of_the_last_and_never_their_numbers() -> None:
    with scene() as s:
        s.answer("r1")
        assert s.answer("r2")["last_seq"] == 12
        listener = s.listen()
        listener.say({"type": "resume", "after": 0})
        assert [entry["seq"] for entry in listener.entries] == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("died_after_ms", [1, 999, 1_001, 2_500, 3_001])
def test_a_session_is_taken_up_where_its_process_died(died_after_ms: float) -> None:
    with scene() as s:
        s.clock.spawn(ignored(s.ask()))
        s.clock.run_until(died_after_ms)
        s.crash()
        # Nobody asks again: the alarm takes it up.
        s.clock.run_until(60_000)
        state = s.state()
        assert (state["status"], state["last_seq"]) == ("agreed", 6)
        # Only the role that was being asked is asked again.
        assert len(s.council.asked) == (4 if died_after_ms < 3_000 else 3)


def test_a_role_that_fails_is_asked_again() -> None:
    with scene() as s:
        s.council.failures = 2
        with pytest.raises(PlatformError, match="busy"):
            s.answer()
        assert s.state()["status"] == "running"
        s.clock.run_until(60_000)
        assert s.state()["status"] == "agreed"


def test_a_listener_that_reconnects_is_sent_what_it_missed() -> None:
    with scene(agrees_in_round=2) as s:
        faithful, fickle = s.listen(), s.listen()
        s.clock.spawn(ignored(s.ask()))
        s.clock.run_until(2_500)
        last_seq = fickle.entries[-1]["seq"]
        s.clock.run(fickle.pair.hang_up(1006))
        s.clock.run_until(4_500)
        again = s.listen()
        again.say({"type": "resume", "after": last_seq})
        s.clock.run_until(20_000)
        assert fickle.entries + again.entries == faithful.entries
        assert [entry["seq"] for entry in faithful.entries] == list(range(1, 11))


def test_a_deployment_closes_the_sockets_and_the_session_goes_on() -> None:
    with scene() as s:
        listener = s.listen()
        s.clock.spawn(swallowed(s.ask()))
        s.clock.run_until(1_500)
        s.namespace.restart()
        assert listener.closed == [1012]
        again = s.listen()
        again.say({"type": "resume", "after": listener.entries[-1]["seq"]})
        s.clock.run_until(60_000)
        assert [entry["seq"] for entry in listener.entries + again.entries] == [1, 2, 3, 4, 5, 6]


async def swallowed(asked: Any) -> None:
    """Wait for an answer that may fail."""
    try:
        await asked
    except PlatformError:
        return


def test_listeners_do_not_keep_the_object_in_memory() -> None:
    with scene() as s:
        listener = s.listen()
        s.clock.run_until(30_000)
        s.namespace.evict(s.object_id)
        s.answer()
        assert [entry["type"] for entry in listener.entries][-1] == "result"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "no JSON",
        "[]",
        '{"type": "resume"}',
        '{"type": "other", "after": 1}',
        '{"type": "resume", "after": -1}',
        "\xff",
    ],
)
def test_nonsense_on_a_socket_is_told_and_changes_nothing(message: str) -> None:
    with scene() as s:
        listener = s.listen()
        listener.say(message)
        assert listener.heard[-1]["type"] == "error"
        assert listener.closed == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"prompt": "why"}, "request_id=absent"),
        ({"request_id": "r1"}, "prompt=absent"),
        ({"request_id": "r1", "prompt": " "}, "must be a text"),
        ({"request_id": "r1", "prompt": 5}, "must be a text"),
        ({"request_id": "r1", "prompt": "x" * 100_001}, "must be a text of 1 to 100000"),
        ({"request_id": "r1", "prompt": "\ud800"}, "lone surrogates"),
        ({"request_id": "r 1", "prompt": "why"}, "request_id='r 1'"),
        ({"request_id": "r1", "prompt": "why", "lora_id": ""}, "lora_id=''"),
        ({"request_id": "r1", "prompt": "why", "other": 1}, "other=1 is not known"),
    ],
)
def test_a_bad_question_is_refused(content: dict[str, Any], message: str) -> None:
    with scene() as s:
        with pytest.raises(RequestError, match=message):
            s.clock.run(s.deliver(Request("POST", "/consensus", body=json.dumps(content).encode())))
        assert s.state()["status"] == "idle"


def test_the_object_has_three_routes_and_the_socket_needs_an_upgrade() -> None:
    with scene() as s:
        with pytest.raises(RequestError, match="the synapse has no route '/else'"):
            s.clock.run(s.deliver(Request("GET", "/else")))
        with pytest.raises(RequestError, match="send 'upgrade: websocket'"):
            s.clock.run(s.deliver(Request("GET", "/socket")))
