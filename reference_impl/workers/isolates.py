"""The isolates that run the Worker's code: a station with a limited number of servers, and cold starts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reference_impl.tables import Table
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Station, Stopwatch
from reference_impl.timing.tape import Tape

ELASTIC = "elastic"
"""As many isolates as the load needs: no request waits for a CPU."""
SMART = "smart"
PLACEMENTS = ("default", SMART)
"""Where the Worker runs: where its requests come in, or near what it calls."""


@dataclass(frozen=True)
class WorkersSettings:
    """Settings of the isolates; *isolates* is the number of requests that use a CPU at once (None: elastic).

    *placement_rtt_ms* is the way between where requests come in and the Worker; None: it runs there.
    """

    isolates: int | None
    cpu_ms: Tape
    cold_start_ms: Tape
    cold_fraction: float
    chance: Tape
    retry_chance: Tape
    body_bytes_max: int | None = None
    memory_bytes: int | None = None
    placement_rtt_ms: Tape | None = None

    @classmethod
    def read(cls, table: Table) -> "WorkersSettings":
        """Read the table of a Worker."""
        for billed in ("log_bytes", "log_events"):  # Nothing is logged here.
            table.number(billed, 0)
        body_bytes_max, memory_bytes = table.count("body_bytes_max"), table.count("memory_bytes")
        is_moved = table.choice("placement", "default", choices=PLACEMENTS) == SMART
        way = table.tape("placement_rtt_ms")
        table.take("calls_rtt_ms", {})  # They are the distances of the instances that it calls already.
        return cls(
            isolates=table.count("isolates", or_word=ELASTIC),
            cpu_ms=table.tape("cpu_ms"),
            cold_start_ms=table.tape("cold_start_ms"),
            cold_fraction=table.number("cold_fraction", 0, at_most=1),
            chance=table.chance("is_cold"),
            retry_chance=table.chance("retry"),
            body_bytes_max=body_bytes_max,
            memory_bytes=memory_bytes,
            placement_rtt_ms=way if is_moved else None,
        )


class Isolates:
    """The isolates of the deployment.

    Parameters
    ----------
    clock
        The deployment's clock.
    settings
        Number of isolates, CPU time, share of requests that need a cold start, and its duration.
    name
        Name of the instance; also its time category.
    """

    def __init__(self, clock: Clock, settings: WorkersSettings, *, name: str = "workers") -> None:
        self.settings = settings
        self._name = name
        self._cpu = cpu_category(name)
        self._station = Station(clock, name, servers=settings.isolates)

    @asynccontextmanager
    async def compute(self, stopwatch: Stopwatch) -> AsyncIterator[None]:
        """Hold one isolate; real work inside counts towards the sampled CPU time."""
        settings = self.settings
        if stopwatch.happens(settings.chance, settings.cold_fraction):
            # A cold start delays only this request; running isolates serve others meanwhile.
            stopwatch.delay(self._name, stopwatch.draw_ms(settings.cold_start_ms))
        async with self._station.hold(stopwatch, f"{self._name}_queue"):
            stage = stopwatch.stage(self._name, stopwatch.draw_ms(settings.cpu_ms))
            try:
                async with stage:
                    yield
            finally:
                stopwatch.spend(self._cpu, stage.took_ms)


def cpu_category(name: str) -> str:
    """Return the time category of an instance's CPU time, which is part of its time category.

    >>> cpu_category("workers"), cpu_category("auth")
    ('worker_cpu', 'auth_cpu')
    """
    return "worker_cpu" if name == "workers" else f"{name}_cpu"
