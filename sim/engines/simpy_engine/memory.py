"""The state of a simulated deployment: stations, counters, stamps, alarms, token buckets, retry budgets.

It is declared in ``sim/flow/state.py``. A request's key selects the instance of each.
"""

from math import inf
from typing import TYPE_CHECKING, Any

from simpy import Environment

from sim import flow as f
from sim.engines.recording import StationUse
from sim.engines.simpy_engine.draws import Draws, Sampler
from sim.engines.simpy_engine.stations import Instance, NewestInstance, PriorityInstance, SharingInstance
from sim.engines.simpy_engine.token import Token
from sim.flow.windows import paced_ms
from sim.randomness.streams import stream_key, uniform

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

INSTANCE = {"fcfs": Instance, "lcfs": NewestInstance, "priority": PriorityInstance, "ps": SharingInstance}


class Memory:
    """All state of one run.

    Parameters
    ----------
    env : Environment
        Provides the clock.
    flow : Flow
    schedule : Schedule
    seed : int
    horizon_ms : float
        Time of the last arrival; infinite for a closed loop.
    """

    def __init__(self, env: Environment, flow: f.Flow, schedule: "Schedule", *, seed: int, horizon_ms: float) -> None:
        self.env, self.flow, self.horizon_ms = env, flow, horizon_ms
        self.key: list[int] = schedule.key.tolist()
        self.draws = Draws(flow, schedule, seed=seed)
        self.stations: dict[str, list[Any]] = {
            station.name: [INSTANCE[station.discipline](env, station, horizon_ms) for _ in range(station.instances)]
            for station in f.states(flow, f.Station)
        }
        self.links = {
            link.name: [SharingInstance(env, f.Station(link.name), horizon_ms) for _ in range(link.instances)]
            for link in f.states(flow, f.Link)
            if link.shared
        }
        self.counters = {c.name: [0.0] * c.instances for c in f.states(flow, f.Counter)}
        self.stamps = {s.name: [-inf] * s.instances for s in f.states(flow, f.Stamp)}
        self.latches = {latch.name: [False] * latch.instances for latch in f.states(flow, f.Latch)}
        self.buckets = {b.name: [(b.burst, 0.0)] * b.instances for b in f.states(flow, f.Bucket)}
        self.budgets = {b.name: b.burst for b in f.states(flow, f.RetryBudget)}
        self.stream_keys: dict[str, int] = {
            part.stream: stream_key(seed, part.stream) for part in f.walk(flow) if hasattr(part, "stream")
        }

    def station(self, station: f.Station, token: Token) -> Any:
        """Return the instance of *station* that serves this token's key."""
        instances = self.stations[station.name]
        return instances[self.key[token.request] % len(instances)]

    def link(self, link: f.Link, token: Token) -> SharingInstance:
        """Return the instance of a shared *link* that carries this token's bytes."""
        instances = self.links[link.name]
        return instances[self.key[token.request] % len(instances)]

    def duration_ms(self, sampler: Sampler, token: Token) -> float:
        """Return the duration of a time now: the sampled value, and what grows with a counter or an attribute."""
        duration_ms = self._grown_ms(sampler, token)
        if not sampler.paces:
            return duration_ms
        key = self.key[token.request]
        spans = [span for windows, spans in sampler.paces if windows.concern(key) for span in spans]
        return paced_ms(self.env.now, duration_ms, paces=spans)

    def _grown_ms(self, sampler: Sampler, token: Token) -> float:
        duration_ms = sampler.value(token.request, token.context)
        time = sampler.time
        if time.of is None:
            return duration_ms if time.since is None else self._left_ms(time.since, duration_ms, token)
        if isinstance(time.of, f.Counter):
            counts = self.counters[time.of.name]
            amount = counts[self.key[token.request] % len(counts)]
        else:
            amount = self.draws.attribute(time.of, token.request)
        if time.at_most is not None:
            amount = min(amount, time.at_most)
        return duration_ms + time.each_ms * amount

    def _left_ms(self, since: f.Stamp, duration_ms: float, token: Token) -> float:
        """Return what is left of a time that began when its stamp was set."""
        stamps = self.stamps[since.name]
        passed_ms = self.env.now - stamps[self.key[token.request] % len(stamps)]
        return max(0.0, duration_ms - passed_ms)

    def holds(self, condition: f.Condition, token: Token) -> bool:
        """Return whether *condition* is true for this token now."""
        key = self.key[token.request]
        match condition:
            case f.Chance(probability, stream):
                return bool(uniform(self.stream_keys[stream], token.request, context=token.context) < probability)
            case f.Idle(station, longer_than_ms):
                return bool(self.station(station, token).idle_ms > longer_than_ms)
            case f.Waiting(station, at_least):
                return bool(self.station(station, token).meter.waiting >= at_least)
            case f.CountAtLeast(counter, at_least):
                return bool(self.counters[counter.name][key % counter.instances] >= at_least)
            case f.AttributeOver(attribute, limit):
                return self.draws.attribute(attribute, token.request) > limit
            case f.During(start_ms, end_ms):
                return start_ms <= self.env.now < end_ms
            case f.Within(windows):
                return windows.concern(key) and windows.open_at(self.env.now)
            case f.Drained(bucket):
                return self._drained(bucket, key % bucket.instances)
            case _:
                raise f.unknown(condition, "the simpy engine")

    def _drained(self, bucket: f.Bucket, place: int) -> bool:
        tokens, filled_ms = self.buckets[bucket.name][place]
        tokens = min(bucket.burst, tokens + (self.env.now - filled_ms) * (bucket.per_s / 1000.0))
        drained = bool(tokens < 1.0)
        self.buckets[bucket.name][place] = (tokens if drained else tokens - 1.0, self.env.now)
        return drained

    def count(self, step: f.Count, token: Token) -> None:
        """Add to a counter, which never falls below 0."""
        counts = self.counters[step.counter.name]
        place = self.key[token.request] % len(counts)
        by = self.draws.attribute(step.by, token.request) if isinstance(step.by, str) else step.by
        counts[place] = max(0.0, counts[place] + by)

    def reset(self, step: f.Reset, token: Token) -> None:
        """Set a counter to 0."""
        counts = self.counters[step.counter.name]
        counts[self.key[token.request] % len(counts)] = 0.0

    def move(self, step: f.Move, token: Token) -> None:
        """Empty one counter into another."""
        source, into = self.counters[step.counter.name], self.counters[step.into.name]
        key = self.key[token.request]
        into[key % len(into)] += source[key % len(source)]
        source[key % len(source)] = 0.0

    def gather(self, step: f.Gather, token: Token) -> None:
        """Have what waits served next, and count it."""
        at_most = inf if step.at_most is None else step.at_most
        into = self.counters[step.into.name]
        into[self.key[token.request] % len(into)] += self.station(step.station, token).gather(at_most)

    def mark(self, step: f.Mark, token: Token) -> None:
        """Set a stamp to now, or to another one that is later."""
        stamps, key = self.stamps[step.stamp.name], self.key[token.request]
        place = key % len(stamps)
        if step.at is None:
            stamps[place] = self.env.now
        else:
            others = self.stamps[step.at.name]
            stamps[place] = max(stamps[place], others[key % len(others)])

    def latch(self, latch: f.Latch, token: Token) -> tuple[list[bool], int]:
        """Return the flags of *latch*, and the index of this token's."""
        flags = self.latches[latch.name]
        return flags, self.key[token.request] % len(flags)

    def deposit(self, budget: f.RetryBudget | None) -> None:
        """Add a first attempt's share to its budget."""
        if budget is not None:
            self.budgets[budget.name] = min(budget.burst, self.budgets[budget.name] + budget.ratio)

    def withdraw(self, budget: f.RetryBudget | None) -> bool:
        """Withdraw a retry from the budget; return whether it allowed one."""
        if budget is None:
            return True
        if self.budgets[budget.name] < 1.0:
            return False
        self.budgets[budget.name] -= 1.0
        return True

    def uses(self) -> tuple[StationUse, ...]:
        """Return the usage of each station, then of each shared link."""
        stations = [_use(name, instances) for name, instances in self.stations.items()]
        return (*stations, *(_use(name, instances) for name, instances in self.links.items()))


def _use(name: str, instances: list[Any]) -> StationUse:
    """Return the usage of a station over all its *instances*."""
    meters = [instance.meter for instance in instances]
    return StationUse(
        name=name,
        servers=instances[0].servers,
        instances=len(instances),
        served=sum(m.served for m in meters),
        refused=sum(m.refused for m in meters),
        busy_ms=sum(m.busy_ms for m in meters),
        queue_ms=sum(m.queue_ms for m in meters),
        waited_ms=sum(m.waited_ms for m in meters),
        queue_total_ms=sum(m.queue_total_ms for m in meters),
        busiest_ms=max(m.busy_ms for m in meters),
        offered_ms=max(m.busy_total_ms * (1 + m.refused / max(m.served, 1)) for m in meters),
    )
