"""The brief's API on the instances of a deployment."""

from collections.abc import Callable, Mapping
from typing import Any

from reference_impl.d1.database import D1Binding, Database
from reference_impl.d1.migrations import migrate
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.ledger.part import Ledgers
from reference_impl.messages import Request, Response
from reference_impl.r2.bucket import Bucket, R2Binding
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers import worker
from reference_impl.workers.access import Gatekeeper
from reference_impl.workers.bindings import Env, LedgerBinding, SynapseBinding
from reference_impl.workers.isolates import Isolates
from reference_impl.workers.retries import Retrier, RetryPolicy

Named = Callable[[str, str], Any]
"""Returns the instance of a name and checks its component."""


class Superinstance:
    """The brief's API, bound to the instances of a deployment.

    Parameters
    ----------
    named
        Looks up the instances of its bindings.
    migrations
        The migrations of its database: SQL by file name.
    clock
        The deployment's clock.
    access
        The keys; None: no key is required.
    """

    def __init__(
        self, named: Named, *, migrations: Mapping[str, str], clock: Clock, access: Gatekeeper | None = None
    ) -> None:
        self._isolates: Isolates = named("workers", "workers")
        self._database: Database = named("d1", "d1")
        self._bucket: Bucket = named("r2", "r2")
        self._ledgers: Ledgers = named("ledger", "ledger")
        self._synapses: Namespace = named("synapse", "synapse")
        self._access = access
        self._retrier = Retrier(clock, RetryPolicy(), chance=self._isolates.settings.retry_chance.draw)
        migrate(self._database.engine, migrations)
        seed_rows(self._database.engine)

    @staticmethod
    def answers(path: str) -> bool:
        """Return whether *path* belongs to the API."""
        return worker.has_path(path)

    async def fetch(self, request: Request, stopwatch: Stopwatch) -> Response:
        """Answer a request that has reached the Worker."""
        env = Env(
            DB=D1Binding(self._database, stopwatch),
            STORAGE=R2Binding(self._bucket, stopwatch),
            BILLING_LEDGER=LedgerBinding(self._ledgers.objects, stopwatch, retrier=self._retrier),
            CLOUD_SYNAPSE=SynapseBinding(self._synapses, stopwatch, retrier=self._retrier),
            ACCESS=self._access,
        )
        return await worker.fetch(request, env, ctx=worker.Context(self._isolates, stopwatch))


def seed_rows(engine: Engine) -> None:
    """Insert the rows that every deployment needs: the user that owns uploads."""
    engine.execute(
        "INSERT INTO users (id, email) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (worker.SYSTEM_USER, f"{worker.SYSTEM_USER}@invalid"),
    )
