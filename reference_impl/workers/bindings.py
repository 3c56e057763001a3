"""The bindings of the brief's Worker to its database, bucket and Durable Objects, one set for each request."""

from dataclasses import dataclass, replace

from reference_impl.d1.database import D1Binding
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.sharding import object_name
from reference_impl.messages import Request, Response
from reference_impl.r2.bucket import R2Binding
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers.access import Gatekeeper
from reference_impl.workers.retries import Retrier


class ObjectBinding:
    """The binding of one request to a namespace of Durable Objects.

    Parameters
    ----------
    namespace
        The objects.
    stopwatch
        The request's stopwatch.
    retrier
        Retries calls that failed with a retryable error, for example because the object was reset.
    """

    def __init__(self, namespace: Namespace, stopwatch: Stopwatch, *, retrier: Retrier) -> None:
        self._namespace = namespace
        self._stopwatch = stopwatch
        self._retrier = retrier

    async def ask(self, name: str, request: Request) -> Response:
        """Send *request* to the object called *name* and return its answer."""
        return await self._namespace.ask(name, request, stopwatch=self._stopwatch, attempt=self._retrier.call)


class LedgerBinding(ObjectBinding):
    """The binding to the ledgers."""

    async def fetch(self, organization_id: str, request: Request) -> Response:
        """Send *request* to the ledger of an organisation."""
        return await self.ask(object_name(organization_id, self._namespace.settings.shards), request)


class SynapseBinding(ObjectBinding):
    """The binding to the synapses."""

    async def fetch(self, session_id: str, request: Request) -> Response:
        """Send *request* to the synapse of a session; its path becomes the last segment of the original path."""
        path = "/" + request.path.rpartition("/")[2]
        return await self.ask(session_id, replace(request, path=path))


@dataclass(frozen=True)
class Env:
    """The bindings of one request, under the brief's names; *ACCESS* None: no key is required."""

    DB: D1Binding
    STORAGE: R2Binding
    BILLING_LEDGER: LedgerBinding
    CLOUD_SYNAPSE: SynapseBinding
    ACCESS: Gatekeeper | None = None
