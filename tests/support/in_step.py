"""A schedule played on the whole reference under a virtual clock, with the random numbers of the simulation.

No machine is in between: what differs from the simulation is a difference of the two codes.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pandas as pd

from reference_impl.deployment_file import Specification
from reference_impl.messages import Request, Response
from reference_impl.timing.stopwatch import Stopwatch
from sim.runners.load.messages import Message, messages, preparations
from sim.runners.reference import deployment_tables
from sim.scenario.scenario import Scenario
from sim.scenario.schedule import Schedule
from tests.support.world import EVENT_TIME_MS, World, world_of

STATUS = {413: "too_large", 503: "overloaded", 504: "timeout"}


def on_the_reference(scenario: Scenario, planned: Schedule, *, seed: int) -> pd.DataFrame:
    """Play *planned*; a row for each request with its outcome, its latency and its time in each component, in ms."""
    specification = Specification.read(deployment_tables(scenario, seed=seed, schedule=planned))
    with world_of(specification) as world:
        run: dict[str, Any] = {"run": "r", "identified": True}
        for sequence in preparations(scenario, planned, **run):
            for message in sequence:
                world.clock.run(_answered(world, message))
        asked = messages(scenario, planned, start_time_ms=float(EVENT_TIME_MS), **run)
        began_ms = world.clock.now_ms()
        tasks = [_asked(world, asked[n], at_ms=began_ms + at_ms) for n, at_ms in enumerate(planned.arrival_ms.tolist())]
        answers = world.clock.run(*tasks)
    rows = [
        {
            "outcome": "ok"
            if answer.status < 300
            else STATUS.get(answer.status, "error" if answer.status >= 500 else "refused"),
            "latency_ms": watch.planned_ms - watch.started_ms,
            **{f"{name}_ms": spent_ms for name, spent_ms in watch.spent_ms.items()},
        }
        for answer, watch in answers
    ]
    return pd.DataFrame(rows).fillna({column: 0.0 for row in rows for column in row if column != "outcome"})


async def _asked(world: World, message: Message, *, at_ms: float) -> tuple[Response, Stopwatch]:
    await world.clock.sleep_until_ms(at_ms)
    return await _answered(world, message)


async def _answered(world: World, message: Message) -> tuple[Response, Stopwatch]:
    body = message.body or bytes(message.upload_bytes)
    parts = urlsplit(message.path)
    query = dict(parse_qsl(parts.query))
    request = Request(message.method, unquote(parts.path), query=query, headers=dict(message.headers), body=body)
    stopwatch = world.deployment.stopwatch()
    if message.wire == "tunnel":
        response, _ = await world.deployment._serve_quic(request, stopwatch)
    else:
        response = await world.deployment.serve_http(request, stopwatch)
    return response, stopwatch
