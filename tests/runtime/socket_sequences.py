"""Random sequences of messages on WebSockets of the brief's synapse, and what is compared of them.

Two listeners of one session send, ask the council over HTTP, and close. After each step each listener sends a message
that is refused under a number of its own: what came before that refusal came of the step. Compared are the messages in
their order, without the sentence of a refusal, and the codes with which connections end.
"""

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import aiohttp
from hypothesis import strategies as st

from tests.runtime.api_sequences import new_name

LISTENERS = 2
WAIT_S = 30.0
"""A bound on the test's own time."""
MARKS = count(-1_000_000, -1)
"""Numbers of entries that no session has; the refusal of one says it."""

listeners = st.integers(0, LISTENERS - 1)
messages = st.one_of(
    st.integers(0, 12).map(lambda after: json.dumps({"type": "resume", "after": after})),
    st.sampled_from(
        [
            "", "{", "[]", "null", '{"type": "resume"}', '{"type": "resume", "after": -1}', '{"type": "other"}',
            '{"type": "resume", "after": 1.0}', '{"type": "resume", "after": true}', '{"after": 1, "after": 1}',
            '{"type": "resume", "after": "1"}', '{"type": "resume", "after": 0, "more": 1}', "é", "x" * 70_000,
        ]
    ),
)  # fmt: skip
binary = st.sampled_from([b'{"type": "resume", "after": 0}', b"\xff", b"", b"\xef\xbb\xbf{}"])
questions = st.builds(
    lambda request_id, prompt: {"request_id": request_id, "prompt": prompt},
    st.sampled_from(["r1", "r2"]),
    st.sampled_from(["a", "forbidden", "é"]),
)
CLOSES = (1000, 1001, 1008, 3000, 4000, 4999)
steps = st.one_of(
    st.tuples(st.just("send"), listeners, messages),
    st.tuples(st.just("send"), listeners, messages),
    st.tuples(st.just("send"), listeners, binary),
    st.tuples(st.just("ask"), listeners, questions),
    st.tuples(st.just("close"), listeners, st.sampled_from(CLOSES)),
)
socket_steps = st.lists(steps, min_size=2, max_size=8)


async def _until_marked(socket: aiohttp.ClientWebSocketResponse, mark: int) -> list[Any]:
    """Return the messages that came before the refusal of *mark*; a last ``closed`` if the connection ended."""
    found: list[Any] = []
    await socket.send_str(json.dumps({"type": "resume", "after": mark}))
    while True:
        message = await socket.receive(timeout=WAIT_S)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return [*found, ["closed", message.data]]
        content = json.loads(message.data)
        if str(mark) in str(content.get("message")):
            return found
        content.pop("message", None)
        found.append(content)


async def _played(url: str, asked: Sequence[Any], *, session: str) -> list[Any]:
    found: list[Any] = []
    async with aiohttp.ClientSession(url) as client:
        path = f"/synapse/{session}"
        sockets = {n: await client.ws_connect(f"{path}/socket") for n in range(LISTENERS)}
        for what, number, content in [("look", 0, None), *asked, ("look", 0, None)]:
            if what == "close" and number in sockets:
                socket = sockets.pop(number)
                await socket.close(code=content)
                found.append(["closed with", socket.close_code])
            elif what == "ask":
                async with client.post(f"{path}/consensus", json=content) as answer:
                    body = await answer.json()
                    body.pop("error", None)
                    found.append([answer.status, body])
            elif what == "send" and number in sockets:
                await (sockets[number].send_str if isinstance(content, str) else sockets[number].send_bytes)(content)
            found += [await _until_marked(socket, next(MARKS)) for _, socket in sorted(sockets.items())]
        for socket in sockets.values():
            await socket.close()
    return found


def socket_differences(urls: Sequence[str], asked: Sequence[Any]) -> list[str]:
    """Play a sequence on two deployments; return a line if what came of it differs."""

    async def both() -> list[list[Any]]:
        session = new_name()
        return list(await asyncio.gather(*(_played(url, asked, session=session) for url in urls)))

    ours, theirs = asyncio.run(both())
    return [f"{asked}: {one} against {other}" for one, other in zip(ours, theirs, strict=True) if one != other]
