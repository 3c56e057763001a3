"""The bindings of the brief's Worker: what one request sees of database, bucket and Durable Objects."""

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
    """A namespace of Durable Objects as one request sees it.

    Parameters
    ----------
    namespace
        The objects.
    stopwatch
        The request's stopwatch.
    retrier
        Repeats what the platform says may be repeated: an object was reset under the request.
    """

    def __init__(self, namespace: Namespace, stopwatch: Stopwatch, *, retrier: Retrier) -> None:
        self._namespace = namespace
        self._stopwatch = stopwatch
        self._retrier = retrier

    async def ask(self, name: str, request: Request) -> Response:
        """Send *request* to the object of a name and bring its answer back."""
        return await self._namespace.ask(name, request, stopwatch=self._stopwatch, attempt=self._retrier.call)


class LedgerBinding(ObjectBinding):
    """The ledgers."""

    async def fetch(self, organization_id: str, request: Request) -> Response:
        """Ask the ledger of an organisation."""
        return await self.ask(object_name(organization_id, self._namespace.settings.shards), request)


class SynapseBinding(ObjectBinding):
    """The synapses."""

    async def fetch(self, session_id: str, request: Request) -> Response:
        """Ask the synapse of a session; the object sees the route's last part as its path."""
        path = "/" + request.path.rpartition("/")[2]
        return await self.ask(session_id, replace(request, path=path))


@dataclass(frozen=True)
class Env:
    """The bindings of one request, under the brief's names; without *ACCESS* everybody may ask anything."""

    DB: D1Binding
    STORAGE: R2Binding
    BILLING_LEDGER: LedgerBinding
    CLOUD_SYNAPSE: SynapseBinding
    ACCESS: Gatekeeper | None = None
