"""The component ``queues``: a queue with its consumer, and the operation that routes may use."""

from collections.abc import Sequence
from functools import cached_property

from reference_impl.errors import PlatformError
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.queues.queue import Message, Queue
from reference_impl.queues.settings import QueueSettings
from reference_impl.timing.stopwatch import Station, Stopwatch


class RouteQueue:
    """A queue that routes send to, with its consumer; its database is opened by the first message."""

    def __init__(self, settings: QueueSettings, context: Context) -> None:
        self.name = context.name
        self.settings = settings
        self._context = context
        self._consumers = Station(context.clock, context.name, servers=settings.consumers)
        self.consumed = 0
        """Number of messages in batches that did not fail."""

    @cached_property
    def queue(self) -> Queue:
        """The queue."""
        context = self._context
        return Queue(context.engine(), clock=context.clock, settings=self.settings, consume=self.consume)

    async def consume(self, batch: Sequence[Message]) -> None:
        """Work on a batch for its sampled time; fail with the scenario's probability.

        Raises
        ------
        PlatformError
            If this delivery fails.
        """
        settings = self.settings
        watch = Stopwatch(self._context.clock, keeps_plan=self._context.keeps_plan)
        watch.delay(self.name, watch.draw_ms(settings.delivery_ms))
        work_ms = watch.draw_ms(settings.consume_ms) + len(batch) * settings.consume_message_ms
        async with self._consumers.hold(watch, f"{self.name}_queue"), watch.stage(self.name, work_ms):
            pass
        if settings.failure_chance.draw() < settings.failure_share:
            raise PlatformError("the consumer failed; its batch comes again")
        self.consumed += len(batch)


async def send(queue: RouteQueue, call: Call) -> None:
    """Send the request's body, or as many zero bytes as the request has if there is none."""
    body = call.body or bytes(call.size_bytes)
    await call.stopwatch.catch_up()
    async with call.stopwatch.stage(queue.name) as stage:
        queue.queue.send(body)
        stage.drawn_ms = call.stopwatch.draw_ms(queue.settings.send_ms)


PART = Part("queues", settings=QueueSettings.read, build=RouteQueue, operations={"send": Operation(send)})
