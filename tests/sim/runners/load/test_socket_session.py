"""One WebSocket session's book of who waits for what, and the bound of a route's sessions.

Goal: an answer goes to the message that it answers, whatever else is heard and in whatever order; never more sessions
than the route says. Method: Hypothesis makes orders of messages and of uses; the connection is a list.
"""

import asyncio
from collections import Counter
from typing import Any

from aiohttp import WSMessage, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from sim.runners.load.messages import SessionEndedError
from sim.runners.load.socket_sender import Pool
from sim.runners.load.socket_session import Heard, SocketCounts, SocketSession
from sim.scenario.sockets import Socket

words = st.sampled_from([b"a", b"b", b"c"])


class Scripted:
    """A connection that says what the script has, then closes."""

    def __init__(self, said: list[bytes]) -> None:
        self.said = list(said)
        self.close_code = 1000

    async def receive(self) -> WSMessage:
        await asyncio.sleep(0)
        if self.said:
            return WSMessage(WSMsgType.BINARY, self.said.pop(0), None)
        return WSMessage(WSMsgType.CLOSE, None, None)

    async def close(self) -> None:
        self.said.clear()


async def heard_by(asked: list[bytes], said: list[bytes], *, in_order: bool) -> tuple[list[bool], SocketCounts]:
    """Which of the messages that are *asked* have their answer when all that is *said* was heard."""
    counts = SocketCounts()
    connection: Any = Scripted(said)
    session = SocketSession(connection, in_order=in_order, counts=counts)
    expected = []
    for payload in asked:
        heard = Heard([session])
        session.expect(payload, heard)
        expected.append(heard.heard)
    ends = await asyncio.gather(*expected, return_exceptions=True)
    await session._reader
    await session.close()
    assert session.is_idle
    return [not isinstance(end, SessionEndedError) for end in ends], counts


@given(asked=st.lists(words, max_size=12), said=st.lists(words, max_size=12))
def test_echo_answers_the_oldest_message_of_its_text(asked: list[bytes], said: list[bytes]) -> None:
    answered, counts = asyncio.run(heard_by(asked, said, in_order=False))
    left = Counter(said)
    for payload, has_answer in zip(asked, answered, strict=True):
        assert has_answer == (left[payload] > 0)
        left[payload] -= has_answer
    assert counts.unasked_messages == sum(left.values())


@given(asked=st.integers(0, 12), said=st.integers(0, 12))
def test_next_message_answers_the_oldest(asked: int, said: int) -> None:
    answered, counts = asyncio.run(heard_by([b"x"] * asked, [b"y"] * said, in_order=True))
    assert answered == [number < said for number in range(asked)]
    assert counts.unasked_messages == max(0, said - asked)


@given(
    sessions=st.integers(1, 6),
    members=st.integers(1, 3),
    uses=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30),
)
def test_places_are_bounded_and_everybody_gets_one(sessions: int, members: int, uses: list[tuple[int, int]]) -> None:
    """Each use takes the place of a path for some turns of the loop."""
    terms = Socket(path="/{key}", message="m", sessions=max(sessions, members), members=members)
    peak = 0

    async def use(pool: Pool, path: int, turns: int) -> None:
        nonlocal peak
        place = await pool.take(str(path))
        peak = max(peak, len(pool.places))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert pool.places[str(path)] is place
        pool.give_back(place)

    async def everybody() -> None:
        pool = Pool(terms)
        async with asyncio.timeout(20):
            await asyncio.gather(*(use(pool, path, turns) for path, turns in uses))

    asyncio.run(everybody())
    assert peak <= terms.sessions // members
