"""Every random number of a run that is read by sites, drawn in blocks before the clock starts.

A site that draws once a request on the first attempt (context 0) is by far the most common case: all its numbers are
made with a few NumPy calls. Retries, repeats and spawned flows have contexts of their own and are looked up one by
one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from sim import flow as f
from sim.random_streams import site_key, uniform, uniforms

if TYPE_CHECKING:
    from sim.workload import Schedule


NUMBERS_PER_DRAW = 4
"""Memory of one drawn number, in units of 8 bytes: a Python float, and its place in a list."""


def drawing_steps(flow: f.Flow) -> list[Any]:
    """Every step that draws a time, once."""
    return list({id(step): step for step in f.walk(flow) if isinstance(step, f.Delay | f.Serve | f.Spawn)}.values())


class Sampler:
    """The times that one step draws.

    Attributes
    ----------
    time : Time
        The law, its scale, and what it grows with.
    account : int
        Where the step's time is booked; -1 for a spawn's delay, which nobody waits for.
    """

    def __init__(self, site: str, time: f.Time, account: int, *, seed: int, requests: int) -> None:
        self.time = time
        self.account = account
        self.key = site_key(seed, site)
        index = np.arange(requests, dtype=np.int64)
        unit = np.stack([uniforms(site_key(seed, site), index, draw=draw) for draw in range(time.law.draws)])
        self.first: list[float] = (time.scale * time.law.sample(unit)).tolist()

    def value(self, request: int, context: int) -> float:
        """The law's value for *request* in *context*, scaled, in ms."""
        if context == 0:
            return self.first[request]
        unit = [uniform(self.key, request, context=context, draw=draw) for draw in range(self.time.law.draws)]
        return float(self.time.scale * self.time.law.sample(np.array(unit)))


class Draws:
    """All samplers of a flow, and the attributes of all requests."""

    def __init__(self, flow: f.Flow, schedule: "Schedule", *, seed: int) -> None:
        places = {name: place for place, name in enumerate(f.accounts(flow))}
        self._samplers: dict[int, Sampler] = {}
        for step in drawing_steps(flow):
            spawns = isinstance(step, f.Spawn)
            time, account = (step.after, -1) if spawns else (step.time, places[f.account_of(step)])
            sampler = Sampler(step.site, f.as_time(time), account, seed=seed, requests=len(schedule))
            self._samplers[id(step)] = sampler
        self._attributes = {
            "key": schedule.key.tolist(),
            "size_bytes": schedule.size_bytes.tolist(),
            "tokens_in": schedule.tokens_in.tolist(),
            "tokens_out": schedule.tokens_out.tolist(),
        }

    def of(self, step: f.Delay | f.Serve | f.Spawn) -> Sampler:
        """The sampler of *step*."""
        return self._samplers[id(step)]

    def attribute(self, name: str, request: int) -> float:
        """What *request* carries under *name*."""
        return float(self._attributes[name][request])
