"""The whole deployment in one object: bindings, isolates, ledgers, database, bucket and gauges.

::

    HTTP ── network rtt/2 ──┐                        ┌─ BILLING_LEDGER: Durable Objects ─ flush ─┐
                            ├─► gauges ─► Worker ────┼─ DB: D1 ◄──────────────────────────────────┘
    QUIC ── tunnel ─────────┘                        ├─ STORAGE: R2                    └─► meter
                                                     └─ CLOUD_SYNAPSE: Durable Objects, WebSockets

Nothing here knows a socket, a file or the machine's clock: they are given. The same deployment thus
serves real requests (:mod:`reference_impl.server`) and runs whole days under a virtual clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reference_impl.d1.database import D1Binding, Database
from reference_impl.durable_objects.disks import Disk
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.state import State
from reference_impl.durable_objects.storage import no_step
from reference_impl.errors import ImplError
from reference_impl.ledger.billing import BillingLedger
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.meter import Meter
from reference_impl.ledger.policy import LedgerPolicy
from reference_impl.ledger.seed import SeedLedger
from reference_impl.ledger.usage_table import UsageTable
from reference_impl.messages import Request, Response, error_response, json_response, without_body
from reference_impl.monitoring.metrics import Monitoring
from reference_impl.r2.bucket import Bucket, ObjectStore, R2Binding
from reference_impl.sqlite.engines import Engine
from reference_impl.synapse.council import PUBLISHED_COUNCIL, Role
from reference_impl.synapse.synapse import CloudSynapse
from reference_impl.timing.clock import Clock
from reference_impl.timing.pace import Pace
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from reference_impl.tunnel.tunnel import UNPACED, Tunnel
from reference_impl.workers import openapi
from reference_impl.workers import worker as workers
from reference_impl.workers.access import Gatekeeper
from reference_impl.workers.admission import Admission, check_method
from reference_impl.workers.bindings import Env, LedgerBinding, SynapseBinding
from reference_impl.workers.retries import Retrier, RetryPolicy


@dataclass(frozen=True)
class Parts:
    """What a deployment stands on: where the bytes are kept.

    Parameters
    ----------
    engine
        D1's SQLite, with its migrations applied.
    disk
        The ledgers' databases.
    store
        R2's objects.
    meter
        The database of the meter that invoices are made from.
    synapse_disk
        The synapses' databases.
    """

    engine: Engine
    disk: Disk
    store: ObjectStore
    meter: Engine
    synapse_disk: Disk


class Deployment:
    """The deployment.

    Parameters
    ----------
    parts
        Where the bytes are kept.
    clock
        Time.
    pace
        How long each stage takes; :meth:`Pace.none` for full speed.
    access
        The keys; None: no key is required.
    council
        A function for every role of the synapse.
    on_step
        Storage hook of the ledgers, see :mod:`reference_impl.durable_objects.storage`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        clock: Clock,
        pace: Pace,
        access: Gatekeeper | None = None,
        council: Mapping[str, Role] = PUBLISHED_COUNCIL,
        on_step: Callable[[str], None] = no_step,
    ) -> None:
        self.clock = clock
        self.pace = pace
        self.monitoring = Monitoring(clock)
        self.database = Database(parts.engine, clock=clock, pace=pace.d1)
        self.bucket = Bucket(parts.store, clock=clock, pace=pace.r2)
        self.isolates = workers.Isolates(clock, pace.workers)
        self.ledgers = Namespace(
            "BillingLedger",
            self._build_ledger,
            clock=clock,
            disk=parts.disk,
            pace=pace.durable_objects,
            keeps_plan=pace.is_paced,
            on_step=on_step,
        )
        self.synapses = Namespace(
            "CloudSynapse",
            lambda state: CloudSynapse(state, council, clock=clock),
            clock=clock,
            disk=parts.synapse_disk,
            pace=pace.durable_objects,
            keeps_plan=pace.is_paced,
        )
        self.head_start = HeadStart()
        self.tunnel = Tunnel(self.serve, clock=clock, pace=pace.tunnel)
        self._access = access
        self._admission = Admission([workers.find_terms], access=access)
        self._retrier = Retrier(clock, RetryPolicy(), chance=pace.workers.retry_chance.draw)
        self.meter = Meter(parts.meter)
        self._sinks = (UsageTable(self.database), self.meter)
        seed_rows(parts.engine)
        self.ledgers.resume()
        self.synapses.resume()

    def stopwatch(self, *, started_ms: float | None = None) -> Stopwatch:
        """Return the stopwatch of a request that begins now, or began at *started_ms*."""
        return Stopwatch(self.clock, keeps_plan=self.pace.is_paced, started_ms=started_ms)

    def admit(self, head: Request) -> int:
        """Admit a request on its head and return the greatest length of its body.

        Raises
        ------
        RequestError
            As :meth:`Admission.admit`.
        """
        return self._admission.admit(head)

    async def serve_http(self, request: Request, stopwatch: Stopwatch, *, refusal: ImplError | None = None) -> Response:
        """Answer a request that came over HTTP, the way to and from the client included.

        *refusal* is the answer to a request that was refused before its body was read; it is counted like any other.
        """
        if request.path in UNPACED:
            return await self.serve(request, stopwatch) if refusal is None else error_response(refusal)
        half_rtt_ms = self.pace.network.client_rtt_ms.draw() / 2
        # Reading the request took real time already; it counts towards the first half.
        reading_ms = self.clock.now_ms() - stopwatch.started_ms
        stopwatch.delay("network", max(half_rtt_ms, reading_ms))
        response = await (self.serve(request, stopwatch) if refusal is None else self._refuse(request, refusal))
        stopwatch.delay("network", half_rtt_ms)
        await stopwatch.catch_up(early_ms=self.head_start.ms)
        response.headers["server-timing"] = stopwatch.server_timing()
        return response

    def departed(self, stopwatch: Stopwatch) -> None:
        """Note that the answer to an HTTP request has left."""
        self.head_start.departed(stopwatch.late_ms())
        self.monitoring.late(stopwatch.late_ms())

    async def serve(self, request: Request, stopwatch: Stopwatch) -> Response:
        """Answer a request that has reached the edge."""
        if request.path in UNPACED:
            return self._serve_operator(request)
        env = Env(
            DB=D1Binding(self.database, stopwatch),
            STORAGE=R2Binding(self.bucket, stopwatch),
            BILLING_LEDGER=LedgerBinding(self.ledgers, stopwatch, retrier=self._retrier),
            CLOUD_SYNAPSE=SynapseBinding(self.synapses, stopwatch, retrier=self._retrier),
            ACCESS=self._access,
        )
        ctx = workers.Context(self.isolates, stopwatch)
        return await self.monitoring.observe(request.method, lambda: workers.fetch(request, env, ctx=ctx))

    async def _refuse(self, request: Request, refusal: ImplError) -> Response:
        async def refused() -> Response:
            return error_response(refusal)

        return await self.monitoring.observe(request.method, refused)

    def _serve_operator(self, request: Request) -> Response:
        try:
            check_method(request, ("GET",))
        except ImplError as error:
            return error_response(error)
        if request.path == "/metrics":
            response = self.monitoring.exposition()
        elif request.path == "/health":
            response = json_response({"success": True, "status": "ok"})
        else:
            response = json_response(openapi.DESCRIPTION)
        return without_body(response) if request.method == "HEAD" else response

    def _build_ledger(self, state: State) -> BillingLedger:
        policy: LedgerPolicy
        if self.pace.ledger.policy == "seed":
            event_bytes = self.pace.ledger.event_bytes
            policy = SeedLedger(state.storage, clock=self.clock, event_bytes=event_bytes)
        else:
            policy = HardenedLedger(state.storage, ledger_id=state.id)
        return BillingLedger(state, policy, sinks=self._sinks, clock=self.clock, pace=self.pace.ledger)


def seed_rows(engine: Engine) -> None:
    """Store the rows that every deployment begins with: the owner of uploads without an owner."""
    engine.execute(
        "INSERT INTO users (id, email) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (workers.SYSTEM_USER, f"{workers.SYSTEM_USER}@invalid"),
    )
