"""Random sequences of requests to the brief's API, and what is compared of the answers.

Two deployments get the same requests in the same order, under names that no sequence had before. Compared are status,
the headers that a client acts on, and the body, but for the sentence of an error: its code is the contract.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hypothesis import strategies as st

WAIT_S = 60.0
"""A bound on the test's own time."""
HEADERS = ("allow", "content-type", "content-range", "content-length", "accept-ranges", "etag", "www-authenticate")
"""What a client acts on. Dates are left out: the two clocks never tell the same second."""
ADAPTERS = tuple(f"adapter-{n}" for n in range(4))
ORGANIZATIONS = ("a", "b")
SESSIONS = ("one", "two")
SEQUENCES = count()


@dataclass(frozen=True)
class Ask:
    """One request; every ``@`` in path, query and body stands for the name of the sequence.

    A query that is text is sent as it is, and so is a ``%`` in the path.
    """

    method: str
    path: str
    query: dict[str, str] | str = field(default_factory=dict)
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def named(self, name: str) -> "Ask":
        """Return the request of the sequence *name*."""
        query = self.query
        if isinstance(query, str):
            query = query.replace("@", name)
        else:
            query = {key: value.replace("@", name) for key, value in query.items()}
        path = self.path.replace("@", name)
        return Ask(self.method, path, query, self.body.replace(b"@", name.encode()), self.headers)


@dataclass(frozen=True)
class Answer:
    """What is compared of one answer."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """Sends requests on one connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=WAIT_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, asked: Ask) -> Answer:
        """Send one request and return what is compared of its answer."""
        target = quote(asked.path, safe="/%")
        if asked.query:
            target += f"?{asked.query if isinstance(asked.query, str) else urlencode(asked.query)}"
        self._connection.request(asked.method, target, asked.body or None, asked.headers)
        answer = self._connection.getresponse()
        content = answer.read()
        headers = {name: value for name in HEADERS if (value := answer.getheader(name)) is not None}
        is_json = headers.get("content-type") == "application/json"
        # A message may be of another length.
        if is_json or answer.status == 304 or (answer.status >= 400 and asked.method == "HEAD"):
            headers.pop("content-length", None)
        return Answer(answer.status, headers, _comparable(content) if is_json and content else content)


def _comparable(content: bytes) -> Any:
    body = json.loads(content)
    if isinstance(body.get("error"), dict):
        assert body["error"].pop("message")
    return body


def new_name() -> str:
    """Return the name of a sequence that has not run yet, not even in another process."""
    return f"s{os.getpid()}-{next(SEQUENCES)}"


def ends() -> list[Ask]:
    """Return the requests that read the whole state that a sequence can have left."""
    return [
        *(Ask("GET", "/balance", {"organization_id": f"@-{one}"}) for one in ORGANIZATIONS),
        *(Ask("GET", "/loras", {"domain": f"@-{one}", "limit": "100"}) for one in ("x", "y")),
        *(Ask("GET", f"/synapse/@-{one}/state") for one in SESSIONS),
        *(Ask("GET", f"/loras/@-{one}/adapter.safetensors") for one in ADAPTERS),
    ]


# --- what is drawn -------------------------------------------------------------------------------

NOW_MS = time.time_ns() // 1_000_000
organizations = st.sampled_from([f"@-{one}" for one in ORGANIZATIONS])
bad_bodies = st.sampled_from(
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"NaN",
        b'{"event_id": 1, "event_id": 2}',
        b"\xff",
        b'"text"',
        b'{"x": 1}',
        b"\xef\xbb\xbf{}",
    ]
)
tokens = st.one_of(st.sampled_from([0, 1, 278, 218, 5_000.0, 10_000_000]), st.integers(0, 20_000))
events = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(["e1", "e2", "e3", "e4"]),
        "organization_id": organizations,
        "user_id": st.just("user-1"),
        "model": st.sampled_from(["sonnet", "opus", "gpt-4-turbo"]),
        "tokens_in": tokens,
        "tokens_out": tokens,
        "event_time_ms": st.sampled_from([NOW_MS, NOW_MS - 86_400_000]),
    }
)
BAD_VALUES: dict[str, list[Any]] = {
    "event_id": ["", "a/b", 5, "x" * 129, "é", None],
    "organization_id": ["a b", 1.5],
    "model": ["other", "constructor", "", None],
    "tokens_in": [10_000_001, -1, 1.5, "1", True, None, 1e300, []],
    "event_time_ms": [10**15, -1, "now"],
    "unknown": [1],
}
bad_fields = st.sampled_from([(field_name, value) for field_name, values in BAD_VALUES.items() for value in values])


def mostly(good: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what is accepted four times of five."""
    return st.integers(0, 4).flatmap(lambda n: other if n == 4 else good)


def among(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw from each as often; ``one_of`` would weigh the parts of each."""
    return st.sampled_from(strategies).flatmap(lambda chosen: chosen)


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def with_one_bad_field(event: dict[str, Any], bad: tuple[str, Any]) -> dict[str, Any]:
    """Return an event that breaks one rule."""
    return event | {bad[0]: bad[1]}


bad_events = st.one_of(bad_bodies, st.builds(with_one_bad_field, events, bad_fields).map(_json))
logs = mostly(events.map(_json), bad_events).map(lambda body: Ask("POST", "/log", body=body))
of_organization = st.builds(
    lambda what, name: Ask(what[0], what[1], {"organization_id": name}),
    st.sampled_from([("GET", "/balance"), ("POST", "/flush"), ("HEAD", "/balance")]),
    mostly(organizations, st.sampled_from(["", "a b", "x" * 129])),
)
searches = st.builds(
    lambda domain, limit: Ask("GET", "/loras", {"domain": domain} | ({} if limit is None else {"limit": limit})),
    mostly(st.sampled_from(["@-x", "@-y"]), st.sampled_from(["", "a b"])),
    mostly(st.sampled_from([None, "1", "20", "007"]), st.sampled_from(["0", "101", "x", "-1", "1.0", ""])),
)
raw_searches = st.sampled_from(
    [
        "domain=@-x&domain=@-y", "domain=@-y&domain=@-x", "domain=%00", "domain=%ED%A0%80", "domain=%zz", "domain",
        "DOMAIN=@-x", "domain=@-x;limit=1", "domain=@-x&limit", "&&domain=@-x&", "domain=@%2Dx&limit=%31",
        "domain=@-x&limit=1+", "domain=@-x&unknown=1", "?domain=@-x", "domain=%40", "domain=@-x&limit=1&limit=x",
    ]
).map(lambda query: Ask("GET", "/loras", query))  # fmt: skip
contents = st.binary(min_size=0, max_size=40)
STORED_TAG = f'"{hashlib.md5(b"abc").hexdigest()}"'
etags = st.sampled_from(
    ['"x"', "*", "nonsense", 'W/"x"', STORED_TAG, STORED_TAG, f"W/{STORED_TAG}", f'"x", {STORED_TAG}']
)
dates = st.sampled_from(["Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 2100 00:00:00 GMT", "yesterday"])
ranges = st.sampled_from(
    ["bytes=0-0", "bytes=0-1", "bytes=1-", "bytes=-2", "bytes=50-", "bytes=-0", "bytes=3-1", "bytes=0-1,2-3", "x"]
)
condition = st.one_of(
    *(st.tuples(st.just(name), etags) for name in ("if-match", "if-none-match", "if-range")),
    *(st.tuples(st.just(name), dates) for name in ("if-modified-since", "if-unmodified-since", "if-range")),
    st.tuples(st.just("range"), ranges),
    st.tuples(st.just("range"), ranges),
)
spellings = st.sampled_from([str.lower, str.upper, str.title])
conditions = st.builds(
    lambda spell, some: {spell(name): value for name, value in some}, spellings, st.lists(condition, max_size=3)
)
false_for_the_stored = st.sampled_from(
    [
        {"if-none-match": "*"},
        {"If-None-Match": f'"x", W/{STORED_TAG}'},
        {"if-match": '"x"'},
        {"IF-MATCH": f"W/{STORED_TAG}"},
        {"if-match": "nonsense"},
        {"if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT"},
    ]
)
adapters = st.sampled_from([*ADAPTERS, ADAPTERS[0], ADAPTERS[0], ADAPTERS[0]]).map(
    lambda name: f"/loras/@-{name}/adapter.safetensors"
)
downloads = st.builds(
    lambda method, path, headers: Ask(method, path, headers=headers),
    st.sampled_from(["GET", "HEAD"]),
    adapters,
    conditions,
)
parts = ranges.map(lambda text: Ask("GET", f"/loras/@-{ADAPTERS[0]}/adapter.safetensors", headers={"range": text}))
questions = st.fixed_dictionaries(
    {
        "request_id": st.sampled_from(["r1", "r2"]),
        "prompt": st.one_of(st.text(min_size=1, max_size=30), st.sampled_from(["a", "b", "forbidden", "x" * 100])),
    },
    optional={"lora_id": st.sampled_from([None, "l1"])},
)
bad_questions = st.builds(
    lambda question, bad: question | {bad[0]: bad[1]},
    questions,
    st.sampled_from(
        [("request_id", "a b"), ("request_id", 5), ("lora_id", "a b"), ("unknown", 1)]
        + [("prompt", value) for value in ("", " ", "\u2003", "\ud800", 5)]
    ),
)
sessions = st.sampled_from([f"@-{one}" for one in SESSIONS])
councils = st.builds(
    lambda session, body: Ask("POST", f"/synapse/{session}/consensus", body=body),
    sessions,
    mostly(questions.map(_json), st.one_of(bad_bodies, bad_questions.map(_json))),
)
states = sessions.map(lambda session: Ask("GET", f"/synapse/{session}/state"))
strange = st.builds(
    Ask,
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    st.sampled_from(
        [
            "/", "/nothing", "/log", "/log/", "/balance", "/flush", "/loras", "/loras/a b/adapter.safetensors",
            "/loras/a..b/adapter.safetensors", "/loras/a:b/adapter.safetensors", "/synapse/s/nothing",
            "/synapse/a b/state", "/synapse/s/socket", "/synapse/s/consensus", "/health", "/loras//adapter.safetensors",
        ]
    ),
)  # fmt: skip
encoded = st.sampled_from(
    ["a%00b", "%ED%A0%80", "%zz", "a%2Fb", "a%ffb", "a%0A", "a%20b", "@-adapter-0%00", "@%2Dadapter-0", "%2e%2e%2e"]
).map(lambda name: Ask("GET", f"/loras/{name}/adapter.safetensors"))
refused_writes = false_for_the_stored.map(
    lambda headers: Ask("PUT", f"/loras/@-{ADAPTERS[0]}/adapter.safetensors", {"domain": "@-x"}, b"abd", headers)
)
requests = among(
    *(logs, logs, logs, of_organization, searches, raw_searches, downloads, downloads, parts, encoded),
    *(refused_writes, councils, states, strange, bad_bodies.map(lambda body: Ask("POST", "/log", body=body))),
)

ledger_sequences = st.lists(st.one_of(logs, logs, of_organization), min_size=5, max_size=15)


def stored(adapter: str, content: bytes, *, domain: str = "@-x", headers: dict[str, str] | None = None) -> Ask:
    """Return the request that stores an adapter."""
    return Ask("PUT", f"/loras/@-{adapter}/adapter.safetensors", {"domain": domain}, content, headers or {})


@st.composite
def sequences(draw: st.DrawFn) -> list[Ask]:
    """Draw a sequence; an adapter is stored once, since the store takes one write a second to a key."""
    asked: list[Ask] = draw(st.lists(requests, min_size=12, max_size=20))
    for adapter in draw(st.lists(st.sampled_from(ADAPTERS[1:]), unique=True, max_size=2)):
        domain = draw(mostly(st.sampled_from(["@-x", "@-y"]), st.sampled_from(["", "a b"])))
        headers = draw(st.sampled_from([{}, {}, {"if-none-match": "*"}, {"If-Match": "*"}, {"if-match": '"x"'}]))
        put = stored(adapter, draw(contents), domain=domain, headers=headers)
        asked.insert(draw(st.integers(0, len(asked))), put)
    return [stored(ADAPTERS[0], b"abc"), *asked]


def differences(clients: Sequence[Client], asked: Sequence[Ask]) -> list[str]:
    """Play a sequence on two deployments; return a line for each answer that differs, and for each part of the end."""
    name = new_name()
    found = []
    for one in [*asked, *ends()]:
        ours, theirs = (client.ask(one.named(name)) for client in clients)
        if ours != theirs:
            found.append(f"{one}: {ours} against {theirs}")
    return found
