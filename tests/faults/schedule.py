"""One schedule from beginning to end: the deployment's ledger in a world that follows a plan."""

import logging
from collections.abc import Callable, Sequence
from random import Random

from reference_impl.durable_objects import alarms
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.state import State
from reference_impl.errors import ImplError
from reference_impl.ledger.billing import BillingLedger, UsageSink
from reference_impl.ledger.charge import Account
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.settings import LedgerSettings
from reference_impl.timing.stopwatch import Stopwatch
from tests.faults.auditor import Auditor, ViolationError
from tests.faults.clients import Client, Delivery, Network, request_of
from tests.faults.disk import Pool, SimDatabase, SimDisk
from tests.faults.plan import Fault, Op, Plan
from tests.faults.sinks import AnyBooks, Books, SimSink
from tests.faults.world import Plug, Process, Scheduler
from tests.support.world import settings

END_MS = 12 * 3_600_000
"""By then everything is flushed: clocks jump by an hour at most, and a flush is tried again every 256 s."""
DOWN_MS = 20.0
OBJECTS_TABLE = {"evict_idle_ms": 150}
LEDGER_TABLE = {
    "write_ms": 1,
    "read_ms": 0.5,
    "flush_interval_s": 0.06,
    "flush_chunk_rows": 2,
    "flush_row_us": 500,
}
OBJECTS_SETTINGS = settings(DurableObjectsSettings.read, OBJECTS_TABLE)
LEDGER_SETTINGS = settings(LedgerSettings.read, LEDGER_TABLE)
STEP_FAULTS = ("power_cut", "kill")
MESSAGE_FAULTS = ("lose", "repeat", "delay")
SINK_FAULTS = ("sink_fails", "sink_unknown", "sink_late")
CLOCK_JUMP_MS_MAX = 3_600_000
POOL = Pool()


class DefectHandler(logging.Handler):
    """Makes a violation of what the runtime would only have logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise it."""
        raise ViolationError(record.getMessage())


DEFECTS = DefectHandler(logging.ERROR)


class Schedule:
    """One schedule.

    Parameters
    ----------
    plan
        What will happen.
    books
        What the sinks have stored; None for books in memory.
    """

    def __init__(self, plan: Plan, *, books: AnyBooks | None = None) -> None:
        self._plan = plan
        rng = Random(plan.seed)
        self.deaths = 0
        self._messages = self._sink_calls = self._syncs = 0
        self._memory = Books()
        self.books: AnyBooks = books or self._memory
        self.history: list[Delivery] = []
        self._scheduler = Scheduler(rng)
        pooled, index = POOL.take(has_schema=plan.has_schema)
        self._database = SimDatabase(pooled, scheduler=self._scheduler, sync_ms=self._sync_ms)
        self._disk = SimDisk(self._database, index)
        self._auditor = Auditor(plan, self.books, execute=pooled.execute)
        self._network = Network(self._scheduler, rng, next_faults=self._message_faults)
        self._faults: dict[tuple[str, int], list[Fault]] = {}
        for fault in plan.faults:
            self._faults.setdefault((_family(fault.kind), fault.at), []).append(fault)
        self.plug = Plug(self._moments("step"), self._moments("disk"))
        self._unix_offset_ms = 0
        self._process: Process
        self._namespace: Namespace

    def run(self) -> None:
        """Play it.

        Raises
        ------
        ViolationError
            If something that must be true is not.
        """
        alarms.LOG.addHandler(DEFECTS)
        try:
            self._start()
            for client in sorted({op.client for op in self._plan.ops}):
                self._scheduler.spawn(self._client(client).run())
            for fault in self._plan.faults:
                if _family(fault.kind) == "timed":
                    self._scheduler.call_at(fault.at, lambda fault=fault: self._strike(fault))  # type: ignore[misc]  # mypy does not infer a lambda with a default
            self._scheduler.run(END_MS)
            self._auditor.ended()
            self._auditor.check_history(self._happened())
        finally:
            self._scheduler.close()
            alarms.LOG.removeHandler(DEFECTS)
            self._take_apart()

    # --- the server ----------------------------------------------------------------------------

    def _start(self) -> None:
        self._process = Process(
            self._scheduler,
            unix_offset_ms=self._unix_offset_ms,
            plug=self.plug,
            on_commit=self._on_commit,
            on_death=self._on_death,
        )
        self._start_server()

    def _start_server(self) -> None:
        self._namespace = Namespace(
            "BillingLedger",
            self._build,
            clock=self._process,
            disk=self._disk,
            settings=OBJECTS_SETTINGS,
            keeps_plan=False,
            on_step=self._process.step,
        )
        self._object_id = self._namespace.id_from_name("shard-0")
        self._namespace.resume()

    def _build(self, state: State) -> BillingLedger:
        sinks = [
            SimSink(self._scheduler, self._process, apply=apply, next_fault=self._sink_fault)
            for apply in (self._memory.store_rows, self._memory.store_meter_events)
        ]
        return self._ledger(state, sinks)

    def _ledger(
        self, state: State, sinks: Sequence[UsageSink], *, kind: type[BillingLedger] = BillingLedger
    ) -> BillingLedger:
        policy = HardenedLedger(state.storage, ledger_id=state.id)
        for name, terms in self._plan.terms.items():
            if not state.storage.sql("SELECT 1 FROM accounts WHERE organization_id = ?", name):
                policy.set_account(
                    name,
                    Account(
                        tier=terms.tier,
                        credits_microusd=terms.credits_microusd,
                        ceiling_microusd=terms.ceiling_microusd,
                        free_limit_microusd=terms.free_limit_microusd,
                    ),
                )
        return kind(state, policy, sinks=sinks, clock=self._process, settings=LEDGER_SETTINGS)

    def _submit(self, op: Op, reply: Callable[[Delivery, int, bytes], None]) -> None:
        # Nobody listens while the process is down.
        if self._process.is_alive:
            delivery = Delivery(op, self._scheduler.now_ms)
            self.history.append(delivery)
            self._process.spawn(self._serve(self._process, delivery, reply=reply))

    def _happened(self) -> list[Delivery]:
        """Return what happened to the account, as far as clients can know."""
        return self.history

    async def _serve(
        self, process: Process, delivery: Delivery, *, reply: Callable[[Delivery, int, bytes], None]
    ) -> None:
        stopwatch = Stopwatch(process, keeps_plan=False)
        request = request_of(delivery.op)
        try:
            response = await self._namespace.deliver(self._object_id, request, stopwatch=stopwatch)
        except ImplError as error:
            reply(delivery, error.status, b"{}")
        else:
            reply(delivery, response.status, response.body)

    def _client(self, number: int) -> Client:
        return Client(
            self._scheduler,
            self._network,
            ops=[op for op in self._plan.ops if op.client == number],
            submit=self._submit,
            on_answer=self._auditor.answered,
        )

    def _moments(self, family: str) -> frozenset[int]:
        return frozenset(at for of_family, at in self._faults if of_family == family)

    # --- the faults ----------------------------------------------------------------------------

    def _on_commit(self) -> None:
        self._auditor.committed(self._scheduler.now_ms)

    def _on_death(self, process: Process) -> None:
        self.deaths += 1
        fault = self._faults["step", self.plug.steps][0]
        if fault.kind == "power_cut":
            self._auditor.lost_power(self._database.power_cut(fault.amount))
        else:
            self._database.rollback()
        take_apart(self._namespace)
        self._scheduler.call_in(DOWN_MS, self._start)

    def _take_apart(self) -> None:
        """Drop everything but the results of a finished schedule."""
        take_apart(self._namespace)
        for name in [name for name in vars(self) if name.startswith("_")]:
            delattr(self, name)

    def _message_faults(self) -> Sequence[Fault]:
        self._messages += 1
        return self._faults.get(("message", self._messages), ())

    def _sink_fault(self) -> tuple[str, int]:
        self._sink_calls += 1
        faults = self._faults.get(("sink", self._sink_calls))
        return (faults[0].kind, faults[0].amount) if faults else ("", 0)

    def _sync_ms(self) -> float:
        self._syncs += 1
        slow = self._faults.get(("sync", self._syncs))
        return self._plan.sync_ms + sum(fault.amount for fault in slow) if slow else self._plan.sync_ms

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "clock_jump":
            self._unix_offset_ms += fault.amount - CLOCK_JUMP_MS_MAX
            self._process.unix_offset_ms = self._unix_offset_ms
        elif not self._process.is_alive:
            return
        elif fault.kind == "evict":
            self._namespace.evict(self._object_id)
        else:
            self._namespace.restart()


def _family(kind: str) -> str:
    if kind in STEP_FAULTS:
        return "step"
    if kind in MESSAGE_FAULTS:
        return "message"
    if kind in SINK_FAULTS:
        return "sink"
    return {"slow_sync": "sync", "disk_error": "disk"}.get(kind, "timed")


def take_apart(namespace: Namespace) -> None:
    """Undo the circles in a server that is gone, so that it leaves memory at once and no collector seeks it."""
    for activation in namespace._activations.values():
        vars(activation).clear()
    vars(namespace).clear()


def run(plan: Plan) -> Schedule:
    """Play *plan* and return the schedule; see :meth:`Schedule.run`."""
    schedule = Schedule(plan)
    schedule.run()
    return schedule
