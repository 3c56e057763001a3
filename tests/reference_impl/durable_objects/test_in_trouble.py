"""An object in trouble: whatever is interrupted, what was acknowledged is there, and nothing is there by halves.

Goal: gates, transactions, critical sections and resets hold together, not only one by one. Method: Hypothesis draws
requests that change a sum and note their own name in every way that an object can, and evictions, deployments and
failing disks between them. In the end the sum is the number of names, and every acknowledged name is there.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reference_impl.durable_objects.gates import Event
from reference_impl.errors import ImplError
from reference_impl.messages import Request, Response, json_response
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.objects import Counter, Scene, scene

LAST_MS = 60


class Sum(Counter):
    """Adds one to its sum and notes the request's name beside it, in the way that the path says."""

    async def fetch(self, request: Request, event: Event) -> Response:
        await getattr(self, f"do_{request.path[1:]}")(event, request.query["name"])
        async with event.stage("work", 3):
            return json_response({})

    def add(self, name: str) -> None:
        """Add and note: one turn."""
        self.state.storage.put("sum", self.state.storage.get("sum", 0) + 1)
        self.state.storage.put(f"name-{name}", True)

    async def far(self, event: Event) -> None:
        """Ask somebody who takes 7 ms."""
        event.stopwatch.delay("far", 7)
        await event.stopwatch.catch_up()

    async def do_turn(self, event: Event, name: str) -> None:
        self.add(name)

    async def do_outside(self, event: Event, name: str) -> None:
        await event.outside(self.far(event))
        self.add(name)

    async def add_slowly(self, event: Event, name: str) -> None:
        """Add to what was read before a long wait: right only if nobody else enters meanwhile."""
        before = self.state.storage.get("sum", 0)
        await event.outside(self.far(event))
        self.state.storage.put("sum", before + 1)
        self.state.storage.put(f"name-{name}", True)

    async def do_transaction(self, event: Event, name: str) -> None:
        await event.transaction(lambda _: self.add_slowly(event, name))

    async def do_section(self, event: Event, name: str) -> None:
        await event.block_concurrency_while(lambda: self.add_slowly(event, name))

    async def do_undo(self, event: Event, name: str) -> None:
        try:
            with self.state.storage.transaction():
                self.state.storage.put("sum", 999)
                raise LookupError
        except LookupError:
            self.add(name)

    async def do_break(self, event: Event, name: str) -> None:
        self.add(name)
        raise ZeroDivisionError


WAYS = [name.removeprefix("do_") for name in vars(Sum) if name.startswith("do_")]
TROUBLES = ["deploy", "evict", "disk"]


async def ask(s: Scene, at_ms: int, way: str, *, name: str, acknowledged: set[str]) -> None:
    """Send one request; note its name if it is acknowledged."""
    await s.clock.sleep_until_ms(at_ms)
    request = Request("POST", f"/{way}", {"name": name})
    try:
        await s.namespace.deliver(s.namespace.id_from_name("a"), request, stopwatch=Stopwatch(s.clock))
    except (ImplError, ZeroDivisionError):
        return
    acknowledged.add(name)


async def trouble(s: Scene, at_ms: int, kind: str, *, lasts_ms: int) -> None:
    """Let something happen that no request asked for."""
    await s.clock.sleep_until_ms(at_ms)
    if kind == "deploy":
        s.namespace.restart()
    elif kind == "evict":
        s.namespace.evict(s.namespace.id_from_name("a"))
    else:
        s.disk.fails = True
        await s.clock.sleep_until_ms(at_ms + lasts_ms)
        s.disk.fails = False


moments = st.integers(0, LAST_MS)


@given(
    requests=st.lists(st.tuples(moments, st.sampled_from(WAYS)), min_size=1, max_size=10),
    troubles=st.lists(st.tuples(moments, st.sampled_from(TROUBLES), st.integers(1, 20)), max_size=4),
    sync_ms=st.sampled_from([0.0, 5.0, 20.0]),
)
def test_what_was_acknowledged_is_there_and_nothing_by_halves(
    requests: list[tuple[int, str]], troubles: list[tuple[int, str, int]], sync_ms: float
) -> None:
    with scene(Sum, sync_ms=sync_ms) as s:
        acknowledged: set[str] = set()
        asked: list[Any] = [
            ask(s, at_ms, way, name=str(n), acknowledged=acknowledged) for n, (at_ms, way) in enumerate(requests)
        ]
        s.clock.run(*asked, *(trouble(s, at_ms, kind, lasts_ms=lasts_ms) for at_ms, kind, lasts_ms in troubles))
        there = {str(n) for n in range(len(requests)) if s.stored(f"name-{n}")}
        assert (s.stored("sum") or 0) == len(there)
        assert acknowledged <= there
