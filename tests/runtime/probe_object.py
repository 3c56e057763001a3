"""The probe's object on the reference: the same calls as the class of ``deploy/runtime/probe.ts``, in Python."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.state import State
from reference_impl.durable_objects.transactions import Transaction
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Request, Response, json_response

STORAGE_MS = 1.0
"""Simulated time of one call of the storage: the object waits, and keeps its input gate closed."""
LIST_OPTIONS = {"startAfter": "start_after"}
"""Options of ``list`` that have another name here."""


class AskedToFailError(RequestError):
    """The event itself ends with an error, and not only one of its calls."""


class ProbeObject:
    """Makes the calls of each event in order, and says what came of each."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._remembered = 0

    async def fetch(self, request: Request, event: Event) -> Response:
        """Make the calls in the request's body."""
        outcomes: list[dict[str, Any]] = []
        for call in json.loads(request.body):
            try:
                outcomes.append({"value": await self._made(call, event)})
            except AskedToFailError:
                raise
            except ImplError as error:
                outcomes.append({"error": str(error)})
        return json_response({"outcomes": outcomes})

    async def alarm(self, event: Event) -> None:
        """Do nothing: alarms of the probe are set for a time that does not come."""

    async def _made(self, call: Any, event: Event) -> Any:
        if "transaction" in call:
            return await self._transaction(call, event)
        if "remember" in call:
            self._remembered += 1
            return self._remembered
        if "fail" in call:
            raise AskedToFailError(400, "failed", "asked to fail")
        if "add" in call:
            async with event.stage("probe", STORAGE_MS):
                before = self._state.storage.get(call["add"], 0)
            async with event.stage("probe", STORAGE_MS):
                self._state.storage.put(call["add"], before + 1)
            return before
        async with event.stage("probe", STORAGE_MS):
            return self._call(call)

    def _call(self, call: Any) -> Any:
        state, storage = self._state, self._state.storage
        if "sql" in call:
            return {"rows": [list(row) for row in storage.sql(call["sql"], *call.get("params", []))]}
        if "get" in call:
            return storage.get(call["get"])
        if "put" in call:
            return storage.put(call["put"])
        if "delete" in call:
            return storage.delete(call["delete"])
        if "list" in call:
            options = {} if call["list"] is True else call["list"]
            found = storage.list(**{LIST_OPTIONS.get(name, name): value for name, value in options.items()})
            return found if call["list"] is True else [[key, value] for key, value in found.items()]
        if "clear" in call:
            return storage.delete_all()
        if call["alarm"] == "get":
            return state.alarm_unix_ms()
        return state.delete_alarm() if call["alarm"] == "delete" else state.set_alarm(call["alarm"])

    async def _transaction(self, call: Any, event: Event) -> Any:
        found: list[Any] = []

        async def closure(inside: Transaction) -> None:
            found.extend([await self._made(one, event) for one in call["transaction"]])
            if call["ends"] == "throw":
                raise UndoneError("undone")
            if call["ends"] == "rollback":
                inside.rollback()

        try:
            await event.transaction(closure)
        except UndoneError:
            return "undone"
        return found


class UndoneError(ImplError):
    """A transaction is to be undone."""


Sent = Callable[[Request], Awaitable[Response]]


async def made(send: Sent, calls: Sequence[Any]) -> list[dict[str, Any]]:
    """Send the calls of one event to the object; return their outcomes."""
    try:
        answer = await send(Request("POST", "/", body=json.dumps(calls).encode()))
    except ImplError as error:
        return [{"error": str(error)}]
    outcomes: list[dict[str, Any]] = json.loads(answer.body)["outcomes"]
    return outcomes
