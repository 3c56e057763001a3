"""The synapse: a Durable Object in which a council answers one question at a time and broadcasts to listeners.

::

    POST /consensus ──► session stored ──► role asked (object not held) ──► opinion stored ──┐
                              ▲                                             │ and broadcast  │
                              └───────────────── until the rule says so ◄──────────────────┘
    GET /state ──► the session as it is          socket ──► everything said, also what was missed

Every entry is stored as a row before it is broadcast. An alarm watches a running session and resumes it if the process
has crashed. A listener that reconnects sends the sequence number of its last entry and receives the later ones.

Sources
-------
The origin's CloudSynapse: WebSocket upgrade, ``/consensus``, ``/state``, broadcast after every role.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from reference_impl import validation
from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.sockets import Socket
from reference_impl.durable_objects.state import State
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Message, Pair, Request, Response, json_response
from reference_impl.synapse import consensus
from reference_impl.synapse.consensus import Opinion, Session
from reference_impl.synapse.council import Role
from reference_impl.timing.clock import Clock

PROMPT_CHARACTERS_MAX = 100_000
PROTOCOL_VERSION = 1
WATCH_MS = 20_000
"""Time without an opinion after which the alarm resumes a session; a role answers in less."""
SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS session (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        request TEXT NOT NULL,
        status TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        content TEXT NOT NULL
    )
    """,
)


class CloudSynapse:
    """The Durable Object of one session.

    Parameters
    ----------
    state
        Storage, alarm and sockets.
    council
        A function for every role and the arbiter.
    clock
        Dates the alarm.
    """

    def __init__(self, state: State, council: Mapping[str, Role], *, clock: Clock) -> None:
        self._state = state
        self._council = council
        self._clock = clock
        self._is_running = False
        for statement in SCHEMA:
            state.storage.sql(statement)

    async def fetch(self, request: Request, event: Event) -> Response:
        """Answer ``/state``, ``/consensus`` and the upgrade ``/socket``; anything else is 404."""
        if request.path == "/state":
            return json_response({"success": True, **self._state_of(self._session())})
        if request.path == "/consensus":
            return await self._consensus(request, event)
        if request.path == "/socket":
            return self._accept(request)
        raise RequestError(404, "not_found", f"the synapse has no route {request.path[:80]!r}")

    async def alarm(self, event: Event) -> None:
        """Resume a session that was interrupted."""
        if not self._is_running:
            await self._run(event)

    async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
        """Send a listener the entries that it missed, on the message ``{"type": "resume", "after": 7}``."""
        try:
            asked = validation.json_object(message.encode() if isinstance(message, str) else message)
            if asked.get("type") != "resume":
                raise RequestError(400, "bad_field", "type must be 'resume'")
            after = validation.whole_number("after", asked.get("after"), at_most=2**53)
        except ImplError as error:
            socket.send(_encode({"type": "error", "code": error.code, "message": str(error)}))
            return
        for seq, kind, content in self._state.storage.sql(
            "SELECT seq, kind, content FROM entries WHERE seq > ? ORDER BY seq", after
        ):
            socket.send(_encode({"type": kind, "seq": seq, **json.loads(content)}))

    async def web_socket_close(self, socket: Socket, code: int, *, reason: str, event: Event) -> None:
        """Do nothing: a listener has no state."""

    # --- one question ------------------------------------------------------------------------

    async def _consensus(self, request: Request, event: Event) -> Response:
        asked = read_question(request.body)
        session = self._session()
        if session is not None and session.request_id == asked.request_id:
            if (session.prompt, session.lora_id) != (asked.prompt, asked.lora_id):
                raise RequestError(409, "request_id_reused", f"request_id={asked.request_id} asked something else")
        elif session is not None and session.status == "running":
            raise RequestError(409, "consensus_running", f"{session.request_id} is not answered yet; ask again later")
        else:
            self._begin(asked)
        if not self._is_running:
            await self._run(event)
        session = self._session()
        status = 202 if session is not None and session.status == "running" else 200
        return json_response({"success": True, **self._state_of(session)}, status=status)

    def _begin(self, asked: Session) -> None:
        storage = self._state.storage
        with storage.transaction():
            content = {"request_id": asked.request_id, "prompt": asked.prompt, "lora_id": asked.lora_id}
            # The entries of the previous session are deleted; their sequence numbers are never reused.
            storage.sql("DELETE FROM entries")
            storage.sql("INSERT OR REPLACE INTO session VALUES (1, ?, 'running')", _encode(content))
            self._publish("question", content)

    async def _run(self, event: Event) -> None:
        self._is_running = True
        try:
            while (session := self._session()) is not None and (role := consensus.next_step(session)) is not None:
                self._state.set_alarm(self._clock.unix_ms() + WATCH_MS)
                opinion = await event.outside(self._council[role](session))
                self._note(consensus.with_opinion(session, opinion), opinion)
        finally:
            self._is_running = False
        self._state.delete_alarm()

    def _note(self, session: Session, opinion: Opinion) -> None:
        with self._state.storage.transaction():
            self._publish("opinion", asdict(opinion))
            if opinion.role == consensus.ROLES[-1]:
                self._publish("round", {"round_index": opinion.round_index, "score_share": session.score_share})
            if session.status != "running":
                self._state.storage.sql("UPDATE session SET status = ?", session.status)
                self._publish("result", self._state_of(session))

    def _publish(self, kind: str, content: Mapping[str, Any]) -> None:
        """Store an entry and broadcast it; it leaves when it is durable."""
        storage = self._state.storage
        seq = storage.sql("INSERT INTO entries (kind, content) VALUES (?, ?) RETURNING seq", kind, _encode(content))[0][
            0
        ]
        for socket in self._state.web_sockets():
            socket.send(_encode({"type": kind, "seq": seq, **content}))

    # --- what is stored ----------------------------------------------------------------------

    def _session(self) -> Session | None:
        storage = self._state.storage
        rows = storage.sql("SELECT request, status FROM session")
        if not rows:
            return None
        said = storage.sql("SELECT content FROM entries WHERE kind = 'opinion' ORDER BY seq")
        opinions = tuple(Opinion(**json.loads(content)) for (content,) in said)
        return Session(**json.loads(rows[0][0]), opinions=opinions, status=rows[0][1])

    def _state_of(self, session: Session | None) -> dict[str, Any]:
        if session is None:
            return {"status": "idle"}
        last_seq = self._state.storage.sql("SELECT coalesce(max(seq), 0) FROM entries")[0][0]
        return {
            "status": session.status,
            "request_id": session.request_id,
            "rounds": min(session.round_index - (session.status == "agreed"), consensus.ROUNDS_MAX),
            "score_share": session.score_share,
            "response": session.response,
            "sources": session.sources,
            "last_seq": last_seq,
        }

    def _accept(self, request: Request) -> Response:
        if request.headers.get("upgrade", "").lower() != "websocket":
            raise RequestError(426, "upgrade_required", "this route is a WebSocket; send 'upgrade: websocket'")
        pair = Pair()
        socket = self._state.accept_web_socket(pair)
        socket.send(_encode({"type": "hello", "version": PROTOCOL_VERSION, **self._state_of(self._session())}))
        return Response(101, web_socket=pair)


def read_question(body: bytes) -> Session:
    """Read the body of ``POST /consensus``.

    Raises
    ------
    RequestError
        400, if a field is missing, unknown or invalid.
    """
    fields = validation.json_object(body)
    validation.known_fields(fields, ("request_id", "prompt", "lora_id"))
    request_id = validation.name("request_id", fields.get("request_id"))
    prompt = validation.text("prompt", fields.get("prompt"), characters_max=PROMPT_CHARACTERS_MAX)
    lora_id = fields.get("lora_id")
    return Session(request_id, prompt, None if lora_id is None else validation.name("lora_id", lora_id))


def _encode(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
