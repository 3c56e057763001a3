"""The whole deployment in one object: its instances, its entries, and the dispatch of requests.

::

    HTTP ── network ─┐               ┌─ /health, /metrics, /openapi.json
                     ├─► gauges ─────┼─ the brief's API, if there is one: its own paths
    QUIC ── tunnel ──┘               └─ routes: steps on instances (workers, d1, r2, durable_objects, ledger, …)

Sockets, files and the clock are passed in, so the same deployment serves real requests
(:mod:`reference_impl.server`) and runs whole days under a virtual clock.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from reference_impl.deployment_file import Specification
from reference_impl.durable_objects.turns import no_step
from reference_impl.errors import ImplError
from reference_impl.instances import Instances
from reference_impl.messages import Request, Response, error_response, json_response, without_body
from reference_impl.monitoring.metrics import Monitoring
from reference_impl.parts import Entry, Transport
from reference_impl.routes.description import described
from reference_impl.routes.headers import CallReader, draws_of, is_preparation, key_of, number_of
from reference_impl.routes.player import Player
from reference_impl.routes.route import Found
from reference_impl.routes.steps import Step
from reference_impl.timing.clock import Clock
from reference_impl.timing.faults import FinalInjectedError, InjectedError
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from reference_impl.timing.tape import Tape
from reference_impl.tunnel.tunnel import UNPACED, Tunnel
from reference_impl.volumes.volumes import Volumes
from reference_impl.workers import openapi, worker
from reference_impl.workers.access import Gatekeeper
from reference_impl.workers.admission import Admission, Terms, check_method
from reference_impl.workers.isolates import Isolates
from reference_impl.workers.superinstance import Superinstance


def _ways(steps: Sequence[Step], instances: Mapping[str, Any]) -> list[Tape]:
    """Return the ways to those of a route's Workers that run elsewhere than where its requests come in."""
    used = dict.fromkeys(step.instance for step in _flat(steps))
    settings = [instances[name].settings for name in used if isinstance(instances[name], Isolates)]
    return [one.placement_rtt_ms for one in settings if one.placement_rtt_ms is not None]


def _flat(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield every operation of *steps*, also those in groups."""
    for step in steps:
        yield from _flat(step.steps) if step.operation is None else (step,)


class Deployment:
    """A deployment: answers requests on its instances.

    Parameters
    ----------
    specification
        Its instances and routes.
    volumes
        Storage of the instances.
    clock
        The deployment's clock.
    migrations
        Migrations of the brief's database: SQL by file name.
    access
        The keys of the brief's API; None: no key is required.
    on_step
        Storage hook of the objects, see :mod:`reference_impl.durable_objects.turns`.
    counts_rows
        Whether the rows of the objects are counted too; those of the databases are, unless it runs at full speed.

    Raises
    ------
    ConfigError
        If the instances do not fit together, or a migration fails.
    """

    def __init__(
        self,
        specification: Specification,
        volumes: Volumes,
        *,
        clock: Clock,
        migrations: Mapping[str, str],
        access: Gatekeeper | None = None,
        on_step: Callable[[str], None] = no_step,
        counts_rows: bool = False,
    ) -> None:
        self.clock = clock
        clock.faults = specification.faults
        self._touched = specification.touched
        self.monitoring = Monitoring(clock)
        self.head_start = HeadStart()
        self.tunnel = Tunnel(self._serve_quic)
        self.instances = Instances(
            specification.instances,
            volumes,
            clock=clock,
            keeps_plan=specification.keeps_plan,
            migrations=migrations,
            on_step=on_step,
            counts_rows=counts_rows,
        )
        self._keeps_plan = specification.keeps_plan
        self._seed = specification.seed
        self._routes = specification.routes
        self._api = self._build_api(specification.api, migrations, access=access)
        finders = [self._route_terms] if self._api is None else [worker.find_terms, self._route_terms]
        self._admission = Admission(finders, access=access)
        self._player = Player(self.instances, clock, touched=self._touched)
        self._calls = CallReader()
        self._ways = {route.name: _ways(route.steps, self.instances) for route in self._routes.routes}
        self._entries: dict[Transport, Entry] = {}
        for name, spec in specification.instances.items():
            if spec.part.transport is not None:
                self._entries.setdefault(spec.part.transport, self.instances[name])
        for route in self._routes.routes:
            self._prepare(route.name, route.steps)
        self.instances.start()
        self.monitoring.bill(self.billed, self.statements)

    def stopwatch(self, *, started_ms: float | None = None) -> Stopwatch:
        """Return the stopwatch of a request that arrives now, or arrived at *started_ms*."""
        return Stopwatch(self.clock, keeps_plan=self._keeps_plan, started_ms=started_ms)

    def billed(self) -> dict[tuple[str, str], float]:
        """Return what the provider would bill until now, by instance and meter (``("d1", "rows_read")``)."""
        return {
            (name, meter): amount
            for name, instance in self.instances.items()
            for meter, amount in getattr(instance, "billed", {}).items()
        }

    def statements(self) -> dict[tuple[str, str, str], Mapping[str, float]]:
        """Return what named statements did until now, by instance, route and index of the step: ``calls`` and rows."""
        return {
            (name, route, str(step)): vars(counted)
            for name, instance in self.instances.items()
            for (route, step), counted in getattr(getattr(instance, "statements", None), "counted", {}).items()
        }

    def _prepare(self, route: str, steps: Sequence[Step]) -> None:
        for step in steps:
            self._prepare(route, step.steps)
            if step.operation is not None and step.operation.prepare is not None:
                step.operation.prepare(self.instances[step.instance], step.parameters, where=f"routes.{route}")

    def admit(self, head: Request) -> int:
        """Check the head of a request and return the largest length of its body.

        Raises
        ------
        RequestError
            As :meth:`Admission.admit`.
        """
        return self._admission.admit(head)

    async def serve_http(self, request: Request, stopwatch: Stopwatch, *, refusal: ImplError | None = None) -> Response:
        """Answer an HTTP request, including the network delay to and from the client.

        *refusal* is the answer to a request that was refused before its body was read; it is counted like any other.
        """
        response, _ = await self._enter("http", request, stopwatch, head_start=self.head_start, refusal=refusal)
        return response

    def departed(self, stopwatch: Stopwatch) -> None:
        """Record that the response to an HTTP request has left."""
        self.head_start.departed(stopwatch.late_ms())
        self.monitoring.late(stopwatch.late_ms())

    async def _serve_quic(self, request: Request, stopwatch: Stopwatch) -> tuple[Response, int | None]:
        return await self._enter("quic", request, stopwatch, head_start=self.tunnel.head_start)

    async def _enter(
        self,
        transport: Transport,
        request: Request,
        stopwatch: Stopwatch,
        *,
        head_start: HeadStart,
        refusal: ImplError | None = None,
    ) -> tuple[Response, int | None]:
        """Answer a request through its entry; return the response and its size limit."""
        found = self._routes.find(transport, request.method, path=request.path)
        entry = self._entries.get(transport) if found is None else self.instances[found.route.enter]
        limit_bytes = None if entry is None else entry.response_limit_bytes
        if request.path in UNPACED:
            return self._operator(request) if refusal is None else error_response(refusal), limit_bytes
        if is_preparation(request.headers):
            stopwatch.run_unpaced()
        else:
            stopwatch.draws = draws_of(request.headers, seed=self._seed)
            stopwatch.key = key_of(request.headers)
            if self.clock.faults is not None and (number := number_of(request.headers)) is not None:
                self.clock.faults.hear(number, stopwatch.started_ms)
        serve = partial(self._serve, transport, request, stopwatch=stopwatch, found=found)
        if found is not None and self._ways[found.route.name]:
            serve = partial(self._forwarded, serve, stopwatch, found=found)
        if refusal is not None:
            serve = partial(self._refuse, request, refusal)
        try:
            if found is not None and self.clock.faults is not None:
                self.clock.faults.meet((found.route.enter,), stopwatch)
            response = await (serve() if entry is None else entry.carry(serve, stopwatch, head_start=head_start))
        except (InjectedError, FinalInjectedError) as error:
            response = error_response(error)
        response.headers["server-timing"] = stopwatch.server_timing()
        return response, limit_bytes

    def _operator(self, request: Request) -> Response:
        try:
            check_method(request, ("GET",))
        except ImplError as error:
            return error_response(error)
        if request.path == "/metrics":
            response = self.monitoring.exposition()
        elif request.path == "/health":
            response = json_response({"success": True, "status": "ok"})
        else:
            api = openapi.description(self.clock.unix_ms())
            response = json_response(described(self._routes.routes, api, has_api=self._api is not None))
        return without_body(response) if request.method == "HEAD" else response

    def _route_terms(self, head: Request) -> Terms | None:
        """Return the terms of a scenario's route over HTTP: no key, and the default body limit."""
        methods = self._routes.methods("http", head.path)
        if not methods:
            return None
        check_method(head, methods)
        return Terms()

    async def _refuse(self, request: Request, refusal: ImplError) -> Response:
        async def refused() -> Response:
            return error_response(refusal)

        return await self.monitoring.observe(request.method, refused)

    async def _forwarded(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, found: Found
    ) -> Response:
        """Take a request from its entry to where its Worker runs, *serve* it there, and bring the response back."""
        way_ms = sum(stopwatch.draw_ms(tape) for tape in self._ways[found.route.name]) / 2
        stopwatch.delay(found.route.enter, way_ms)
        response = await serve()
        stopwatch.delay(found.route.enter, way_ms)
        return response

    async def _serve(
        self, transport: Transport, request: Request, *, stopwatch: Stopwatch, found: Found | None
    ) -> Response:
        """Answer a request that has passed its entry."""
        handle: Callable[[], Awaitable[Response]] = partial(
            self._play, transport, request, stopwatch=stopwatch, found=found
        )
        if self._api is not None:
            is_of_api = self._api.answers(request.path)
            if is_of_api or (found is None and not self._routes.methods(transport, request.path)):
                handle = partial(self._api.fetch, request, stopwatch)
        return await self.monitoring.observe(request.method, handle)

    async def _play(
        self, transport: Transport, request: Request, *, stopwatch: Stopwatch, found: Found | None
    ) -> Response:
        try:
            if found is None:
                raise self._routes.refusal(transport, request.method, path=request.path)
            call = self._calls.read(found, request, stopwatch=stopwatch)
            response = await self._player.play(found.route.steps, call)
            return without_body(response) if request.method == "HEAD" and found.route.method == "GET" else response
        except ImplError as error:
            return error_response(error)

    def _build_api(self, api: str, migrations: Mapping[str, str], *, access: Gatekeeper | None) -> Superinstance | None:
        if not api:
            return None

        def named(name: str, component: str) -> Any:
            return self.instances.named(name, component, where=f"api.{api}.{component}")

        return Superinstance(named, migrations=migrations, clock=self.clock, access=access)
