"""The component ``ledger``: ledgers in the objects of a namespace, flushed to a database and a meter."""

import json

from reference_impl.d1.database import Database
from reference_impl.d1.migrations import migrate
from reference_impl.durable_objects.part import RouteObjects
from reference_impl.durable_objects.sharding import object_name, organization_of
from reference_impl.durable_objects.state import State
from reference_impl.errors import ConfigError
from reference_impl.ledger.billing import BillingLedger
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.meter import Meter
from reference_impl.ledger.policy import LedgerPolicy
from reference_impl.ledger.seed import SeedLedger
from reference_impl.ledger.settings import LedgerSettings
from reference_impl.ledger.usage_table import UsageTable
from reference_impl.messages import Request
from reference_impl.parts import Call, Context, Operation, Part

TOKENS_IN, TOKENS_OUT = 1, 1
"""Tokens of a route's usage event: so few that no account reaches its ceiling in a run."""

EVENT_TIME_MS = 1_795_000_000_000
"""Event time of request 0. It is fixed because a retried event must equal the first in every field."""


class Ledgers:
    """One instance of the component: the ledgers of all organisations.

    Parameters
    ----------
    settings
        See :class:`reference_impl.ledger.settings.LedgerSettings`.
    context
        The instance's name, clock, volumes and so on.

    Raises
    ------
    ConfigError
        If the namespace or the database does not exist, or the namespace cannot host the ledger.
    """

    def __init__(self, settings: LedgerSettings, context: Context) -> None:
        self.name = context.name
        self.settings = settings
        self.objects: RouteObjects = context.other(settings.objects, "durable_objects", key="objects")
        self.database: Database = context.other(settings.database, "d1", key="database")
        self._clock = context.clock
        if settings.policy == "hardened" and not self.objects.settings.limits.has_sql:
            where = f"system.{settings.objects}.storage={self.objects.settings.limits.name!r}"
            raise ConfigError(f'{where} has no SQL, which the hardened ledger needs; use "sqlite"')
        migrate(self.database.engine, context.migrations)
        self.meter = Meter(context.engine("meter"))
        self._sinks = (UsageTable(self.database), self.meter)
        self.objects.host(self.build_object, tenant=context.name)

    def build_object(self, state: State) -> BillingLedger:
        """Build the ledger that lives in one object."""
        policy: LedgerPolicy
        if self.settings.policy == "seed":
            policy = SeedLedger(state.storage, clock=self._clock, event_bytes=self.settings.event_bytes)
        else:
            policy = HardenedLedger(state.storage, ledger_id=state.id)
        return BillingLedger(
            state, policy, sinks=self._sinks, clock=self._clock, settings=self.settings, category=self.name
        )

    async def ask(self, call: Call, request: Request) -> None:
        """Send *request* to the ledger of the organisation that *call* is about."""
        name = object_name(organization_of(call.key), self.objects.settings.shards)
        await self.objects.ask(name, request, stopwatch=call.stopwatch)


async def append(ledgers: Ledgers, call: Call) -> None:
    """Store and charge one usage event; a retried request is the same event."""
    event = {
        "event_id": f"{call.route}.{call.request_id}.{call.step_index}.{call.repetition_index}",
        "organization_id": organization_of(call.key),
        "user_id": f"user-{call.key}",
        "model": "sonnet",
        "tokens_in": TOKENS_IN,
        "tokens_out": TOKENS_OUT,
        "event_time_ms": EVENT_TIME_MS + call.request_index,
    }
    await ledgers.ask(call, Request("POST", "/log", body=json.dumps(event, separators=(",", ":")).encode()))


async def balance(ledgers: Ledgers, call: Call) -> None:
    """Read the amount that the organisation owes."""
    await ledgers.ask(call, Request("GET", "/balance", {"organization_id": organization_of(call.key)}))


async def flush(ledgers: Ledgers, call: Call) -> None:
    """Flush the organisation's ledger, and wait until the database has stored it."""
    await ledgers.ask(call, Request("POST", "/flush", {"organization_id": organization_of(call.key)}))


PART = Part(
    "ledger",
    settings=LedgerSettings.read,
    build=Ledgers,
    operations={"append": Operation(append), "balance": Operation(balance), "flush": Operation(flush)},
)
