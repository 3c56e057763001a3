"""Sample the times of a run in blocks, before the clock starts.

Most streams are used once per request, on its first attempt (context 0): all these numbers are computed with a few
NumPy calls. Retries, iterations and spawned flows have contexts of their own; there a few hundred neighbouring requests
are sampled at once, since the next one is likely to be among them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from sim import flow as f
from sim.randomness.streams import stream_key, uniforms

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule


NEIGHBOURS = 256
"""Requests that are sampled together in a context other than 0."""

BLOCKS_MAX = 1000
"""Contexts whose last block of numbers is cached."""

NUMBERS_PER_DRAW = 4
"""Memory of one drawn number, in units of 8 bytes: a Python float, and its place in a list."""


def drawing_steps(flow: f.Flow) -> list[Any]:
    """Return every step that draws a time, once."""
    return list({id(step): step for step in f.walk(flow) if isinstance(step, f.Delay | f.Serve | f.Spawn)}.values())


class Sampler:
    """The sampled times of one step.

    Attributes
    ----------
    time : Time
        The distribution, its scale, and what it grows with.
    category : int
        The time category's number; -1 for a spawn's delay, which no request waits for.
    """

    def __init__(self, stream: str, time: f.Time, category: int, *, seed: int, requests: int) -> None:
        self.time = time
        self.category = category
        self.paces = [(pace.windows, [(*span, pace.speed) for span in pace.windows.spans]) for pace in time.paces]
        self.key = stream_key(seed, stream)
        self.first = self._drawn(range(requests), context=0)
        self._blocks: dict[int, tuple[int, list[float]]] = {}

    def value(self, request: int, context: int) -> float:
        """Return the distribution's value for *request* in *context*, scaled, in ms."""
        if context == 0:
            return self.first[request]
        block, place = divmod(request, NEIGHBOURS)
        known = self._blocks.get(context)
        if known is None or known[0] != block:
            if len(self._blocks) == BLOCKS_MAX:
                self._blocks.clear()
            start = block * NEIGHBOURS
            known = self._blocks[context] = block, self._drawn(range(start, start + NEIGHBOURS), context=context)
        return known[1][place]

    def _drawn(self, requests: range, *, context: int) -> list[float]:
        """Return the values of neighbouring requests."""
        distribution, index = self.time.distribution, np.arange(requests.start, requests.stop, dtype=np.int64)
        unit = np.stack([uniforms(self.key, index, context=context, draw=draw) for draw in range(distribution.draws)])
        values: list[float] = (self.time.scale * distribution.sample(unit)).tolist()
        return values


class Draws:
    """All samplers of a flow, and the attributes of all requests."""

    def __init__(self, flow: f.Flow, schedule: "Schedule", *, seed: int) -> None:
        places = {name: place for place, name in enumerate(f.categories(flow))}
        self._samplers: dict[int, Sampler] = {}
        for step in drawing_steps(flow):
            spawns = isinstance(step, f.Spawn)
            time, category = (step.after, -1) if spawns else (step.time, places[f.category_of(step)])
            sampler = Sampler(step.stream, f.as_time(time), category, seed=seed, requests=len(schedule))
            self._samplers[id(step)] = sampler
        self._attributes = {
            "key": schedule.key.tolist(),
            "size_bytes": schedule.size_bytes.tolist(),
            "tokens_in": schedule.tokens_in.tolist(),
            "tokens_out": schedule.tokens_out.tolist(),
        }

    def of(self, step: f.Delay | f.Serve | f.Spawn) -> Sampler:
        """Return the sampler of *step*."""
        return self._samplers[id(step)]

    def attribute(self, name: str, request: int) -> float:
        """Return the *request*'s attribute *name*."""
        return float(self._attributes[name][request])
