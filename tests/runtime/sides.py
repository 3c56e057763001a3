"""The two sides of a comparison: the reference's parts in this process, and the bindings of the real runtime.

Both take the calls that the probe takes, and answer in its form: a ``value`` or an ``error`` for each.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from reference_impl.d1.database import D1Binding, D1Result, Database
from reference_impl.d1.settings import D1Settings
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.errors import ImplError
from reference_impl.kv import namespace as kv
from reference_impl.messages import Request, Response
from reference_impl.r2.bucket import Bucket
from reference_impl.r2.settings import R2Settings
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.volumes import MemoryVolumes
from tests.runtime.outcomes import META, Outcome
from tests.runtime.probe import Probe
from tests.runtime.probe_object import ProbeObject, made
from tests.support.world import settings

SAFE_INTEGER_MAX = 2**53


class Reference:
    """The reference's database, bucket, namespace and objects, under a virtual clock."""

    def __init__(self) -> None:
        self._clock = VirtualClock()
        self._volumes = MemoryVolumes()
        database = Database(
            self._volumes.engine("d1", "probe"), clock=self._clock, settings=settings(D1Settings.read, {})
        )
        self._binding = D1Binding(database, Stopwatch(self._clock))
        self._bucket = Bucket(
            self._volumes.store("r2"),
            clock=self._clock,
            settings=settings(R2Settings.read, {}),
            writes_per_s_same_key=math.inf,
        )
        self._kv = kv.Namespace(self._volumes.engine("kv", "probe"), clock=self._clock, writes_per_s=math.inf)
        self._objects = Namespace(
            "probe",
            ProbeObject,
            clock=self._clock,
            disk=self._volumes.disk("durable_objects"),
            settings=settings(DurableObjectsSettings.read, {}),
        )

    def close(self) -> None:
        """End what waits, and close all databases."""
        self._clock.close()
        self._volumes.close()

    def d1(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a database binding."""
        return [self._outcome(self._d1(call)) for call in calls]

    def r2(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a bucket binding."""
        return [self._outcome(self._r2(call)) for call in calls]

    def kv(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a KV binding; a second passes before each, as some time does on the runtime."""
        return [self._outcome(self._kv_call(call)) for call in calls]

    def object(self, name: str, events: Sequence[Sequence[Any]]) -> list[list[Outcome]]:
        """Send events to an object, all at once; return the outcomes of the calls of each."""

        async def send(request: Request) -> Response:
            return await self._objects.ask(name, request, stopwatch=Stopwatch(self._clock))

        return self._clock.run(*(made(send, calls) for calls in events))

    def _outcome(self, work: Any) -> Outcome:
        try:
            return {"value": self._clock.run(work)[0]}
        except ImplError as error:
            return {"error": str(error)}

    async def _d1(self, call: Any) -> Any:
        if "batch" in call:
            prepared = [self._binding.prepare(one["sql"]).bind(*one.get("params", [])) for one in call["batch"]]
            return [_as_json(result) for result in await self._binding.batch(prepared)]
        return _as_json(await self._binding.prepare(call["sql"]).bind(*call.get("params", [])).all())

    async def _kv_call(self, call: Any) -> Any:
        await self._clock.sleep_until_ms(self._clock.now_ms() + 1_000)
        if "put" in call:
            options = call.get("options", {})
            return self._kv.put(
                call["put"],
                call["text"].encode(),
                metadata=options.get("metadata"),
                expiration_ttl_s=options.get("expirationTtl"),
            )
        if "delete" in call:
            return self._kv.delete(call["delete"])
        if "get" in call:
            pair = self._kv.get(call["get"])
            return None if pair is None else {"value": pair.value.decode(), "metadata": pair.metadata}
        pages: list[list[str]] = []
        cursor, options = "", call["pages"]
        while cursor or not pages:
            page = self._kv.list(options.get("prefix", ""), limit=options.get("limit", 1_000), cursor=cursor)
            pages.append(page.keys)
            cursor = page.cursor
        return pages

    async def _r2(self, call: Any) -> Any:
        key, stopwatch = call.get("key", ""), Stopwatch(self._clock)
        if call["op"] == "put":
            stored = await self._bucket.put(key, call["text"].encode(), stopwatch=stopwatch)
            return {"key": key, "size": stored.size_bytes, "etag": stored.etag}
        if call["op"] == "delete":
            return await self._bucket.delete(key, stopwatch)
        if call["op"] == "list":
            return {"keys": self._bucket.list(call.get("options", {}).get("prefix", ""))}
        found = await self._bucket.get(key, stopwatch)
        if found is None:
            return None
        stored, content = found
        return {"key": key, "size": stored.size_bytes, "etag": stored.etag, "text": content.decode()}


class Runtime:
    """The bindings of the probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def d1(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a database binding."""
        outcomes = self._probe.calls("d1", "d1", calls=calls)
        for outcome in outcomes:
            results = outcome.get("value", [])
            for result in results if isinstance(results, list) else [results]:
                result["meta"] = {key: result["meta"][key] for key in META}
                del result["success"]
        return outcomes

    def r2(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a bucket binding."""
        outcomes = self._probe.calls("r2", "r2", calls=calls)
        for outcome in outcomes:
            if isinstance(outcome.get("value"), dict):
                outcome["value"].pop("httpEtag", None)
                outcome["value"].pop("truncated", None)
        return outcomes

    def kv(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a KV binding."""
        return self._probe.calls("kv", "kv", calls=calls)

    def object(self, name: str, events: Sequence[Sequence[Any]]) -> list[list[Outcome]]:
        """Send events to an object, all at once; return the outcomes of the calls of each."""
        return self._probe.events(name, events)


def _as_json(result: D1Result) -> Any:
    """Return a result as a Worker would hand it on: JSON's numbers, blobs as lists of bytes."""
    rows = [{key: _number(value) for key, value in row.items()} for row in result.results]
    meta = {key: result.meta[key] for key in META}
    return json.loads(json.dumps({"results": rows, "meta": meta}))


def _number(value: Any) -> Any:
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, float):
        return (
            (int(value) if value.is_integer() and abs(value) <= SAFE_INTEGER_MAX else value)
            if math.isfinite(value)
            else None
        )
    return value
