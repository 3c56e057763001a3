"""Compute the mean demand of a Flow on each station, by walking it with shares of traffic in place of requests.

The traffic enters at the top, split by route and by group of organisations (:mod:`sim.screening.traffic`). A branch
splits it, a guard removes some of it, a retry adds to it; a station records its visits and how long each takes. Steps
may depend on load (an object that is called less often is cold more often), so the walk is a fixed-point iteration:
each walk uses the notes of the previous one, until they no longer change.

Exact where steps do not depend on state. Approximations are listed in :attr:`Notes.approximations`.

Sources
-------
Denning and Buzen, "The operational analysis of queueing network models", ACM Comput. Surv. 10, 1978 (visits, demand).
Hazard H14 (a cold start is as likely as no request for so long).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sim import flow as f
from sim.foundation.errors import UsageError
from sim.screening.batching import Cycle, cycle
from sim.screening.idling import idle
from sim.screening.logbook import Logbook, Notes
from sim.screening.passage import ALL, NONE, Array, Passage
from sim.screening.stamps import left
from sim.screening.structure import Batch, Flag, Follows, batch_of, drain, flag_of, grows, sharing, stations
from sim.screening.traffic import Traffic
from sim.screening.turns import Turn, in_turn, through, turn_of
from sim.theory import squared_variation


class Walker:
    """Walks a Flow with the mean traffic, any number of times.

    Parameters
    ----------
    flow : Flow
        Without :class:`~sim.flow.Custom` steps.
    """

    def __init__(self, flow: f.Flow) -> None:
        self.flow, self.stations = flow, stations(flow)
        self.fixed: dict[int, Passage] = {}
        self.drains: dict[int, float] = {}
        self.returns: dict[int, tuple[f.Station, ...]] = {}
        self.held: tuple[f.Station, ...] = ()
        self.follows: Follows | None = None
        self.pending: dict[str, Array] = {}
        self.added: dict[str, float] = {}
        self.marked: dict[str, f.Stamp | None] = {}
        self.flags: dict[int, Flag | None] = {}
        self.turns: dict[int, Turn | None] = {}
        self.batches = {
            batch.counter.name: batch
            for part in f.walk(flow)
            if isinstance(part, f.Branch) and (batch := batch_of(part)) is not None
        }
        handlers: dict[type, Callable[[Any, Array], Passage]] = {
            f.Delay: self._delay,
            f.Serve: self._serve,
            f.Hold: self._hold,
            f.Finally: self._finally,
            f.Transfer: self._transfer,
            f.Branch: self._branch,
            f.Match: self._match,
            f.Repeat: self._repeat,
            f.Parallel: self._parallel,
            f.Hedge: self._hedge,
            f.Attempt: self._attempt,
            f.Spawn: self._spawn,
            f.Guard: self._guard,
            f.Count: self._count,
            f.Reset: self._reset,
            f.Move: self._move,
            f.Gather: self._gather,
            f.Mark: self._mark,
            f.Custom: self._custom,
        }
        self.steps = f.StepTable("screening", handlers)

    def walk(self, traffic: Traffic, past: Notes) -> tuple[Passage, Notes]:
        """Send *traffic* through the flow, given the notes of the previous walk; return its passage and new notes."""
        self.traffic, self.log = traffic, Logbook(traffic, past)
        return self._go(self.flow, ALL), self.log.now

    def _go(self, steps: f.Flow, weight: Array) -> Passage:
        """Send *weight* times the traffic through *steps*."""
        before = self.added, self.marked
        passage = self._in_order(steps, weight)
        self.added, self.marked = before
        return passage

    def _in_order(self, steps: f.Flow, weight: Array) -> Passage:
        passage = Passage()
        for step in steps:
            passage = passage.then(self.steps[type(step)](step, weight * passage.through))
        return passage

    # ------------------------------------------------------------ steps that take time

    def _delay(self, step: f.Delay, weight: Array) -> Passage:
        return self._time(step.time)

    def _serve(self, step: f.Serve, weight: Array) -> Passage:
        work = self._time(step.time)
        self._visit(step.station, weight, held=work)
        return self.log.entry(step.station).then(work)

    def _hold(self, step: f.Hold, weight: Array) -> Passage:
        entry, outside = self.log.entry(step.station), self.held
        self.held = (*outside, step.station)
        inside = self._go(step.steps, weight * entry.through)
        self.held = outside
        self._visit(step.station, weight, held=inside)
        return entry.then(inside)

    def _finally(self, step: f.Finally, weight: Array) -> Passage:
        inside, back = self._in_order(step.steps, weight), self._in_order(step.after, weight)
        return Passage(inside.time_ms + back.time_ms, inside.variance + back.variance, inside.failed)

    def _transfer(self, step: f.Transfer, weight: Array) -> Passage:
        each_ms = 1000 / step.link.bytes_per_s
        mean, variance = self._carried(step.size, None)
        alone = Passage(mean * each_ms, variance * each_ms**2)
        if not step.link.shared:
            return alone
        self._visit(sharing(step.link), weight, held=alone)
        return self.log.entry(sharing(step.link)).then(alone)

    def _branch(self, step: f.Branch, weight: Array) -> Passage:
        if id(step) not in self.flags:
            self.flags[id(step)], self.turns[id(step)] = flag_of(step), turn_of(step)
        flag, turn = self.flags[id(step)], self.turns[id(step)]
        if turn is not None and self.held:
            return self._turn(step, turn, weight)
        share = self._true(step.condition, weight) if flag is None else self._raised(flag, weight)
        then = self._go(step.then, weight * share)
        return then.mixed(self._go(step.otherwise, weight * (1 - share)), share)

    def _turn(self, step: f.Branch, turn: Turn, weight: Array) -> Passage:
        """One request in each turn holds the object for all of it, the others pass at its end."""
        met = in_turn(turn, self.held[-1], log=self.log)
        leads = 1 / met.requests
        first = self._go(turn.alone, weight * leads)
        others = self._go(step.then, weight * (1 - leads))
        return through(turn, met, first=first, others=others, weight=weight, station=self.held[-1], log=self.log)

    def _match(self, step: f.Match, weight: Array) -> Passage:
        passage = Passage()
        for route, steps in dict(step.routes).items():  # Of two entries for one route the last counts.
            if route in self.traffic.routes:
                here = (np.array(self.traffic.routes) == route)[:, np.newaxis] * 1.0
                passage = self._go(steps, weight * here).mixed(passage, here)
        return passage

    def _repeat(self, step: f.Repeat, weight: Array) -> Passage:
        condition, variance = step.condition, NONE
        if isinstance(condition, f.CountAtLeast):
            turns = self._turns(step, condition.counter, weight, condition.at_least)
        else:
            share = self._true(condition, weight)
            more = np.clip(share, 0, 1 - 1e-12)
            turns = more * (1 - more**step.limit) / (1 - more)
            variance = turns * (1 + turns)  # Of a geometric number.
        turns = np.minimum(turns, step.limit)
        once = self._go(step.steps, weight * turns)
        self.pending.pop(condition.counter.name if isinstance(condition, f.CountAtLeast) else "", None)
        failed = {error: np.minimum(share * turns, 1) for error, share in once.failed.items()}
        return Passage(once.time_ms * turns, once.variance * turns + once.time_ms**2 * variance, failed)

    def _turns(self, step: f.Repeat, counter: f.Counter, weight: Array, least: float) -> Array:
        """Return the iterations of a loop that drains *counter*: what has accumulated, over what an iteration takes."""
        self.log.empty(counter, weight)
        if id(step) not in self.drains:
            self.drains[id(step)] = drain(step.steps, counter)
        each, waiting = self.drains[id(step)], self.log.top(counter)
        if not each:
            turns = np.full_like(waiting, step.limit)
        else:
            turns = np.maximum(1.0, waiting / each + 0.5 * (waiting > each))  # The last turn is half full.
        turns = np.where(waiting < least, 0.0, turns)
        self.pending[counter.name] = waiting / np.maximum(turns, 1)
        return turns

    # ------------------------------------------------------------ steps that run flows side by side

    def _parallel(self, step: f.Parallel, weight: Array) -> Passage:
        ways = [self._go(steps, weight) for steps in step.flows]
        if len(ways) > 1:
            self.log.say(f"Parallel({step.stream!r}) is taken to last as long as the mean of the flow that decides it")
        times = np.sort(np.stack(np.broadcast_arrays(*(way.time_ms for way in ways))), axis=0)
        through = np.sort(np.stack(np.broadcast_arrays(*(way.through for way in ways))), axis=0)[-step.need]
        errors = [error for way in ways for error in way.failed]
        failed = {errors[0]: 1 - through} if errors else {}
        return Passage(times[step.need - 1], ways[0].variance, failed)

    def _hedge(self, step: f.Hedge, weight: Array) -> Passage:
        first = self._go(step.steps, weight)
        if self.log.past.wait_ms:
            self.log.say(
                f"Hedge({step.stream!r}) is taken to be late as often as an exponential time of the same mean is"
            )
            late = np.exp(-step.after_ms / np.maximum(first.time_ms, 1e-9))
            self._go(step.steps, weight * late)
        return first

    def _attempt(self, step: f.Attempt, weight: Array) -> Passage:
        once = self._go(step.steps, weight)
        again = {error: share for error, share in once.failed.items() if error not in step.final}
        share = np.clip(sum(again.values(), NONE), 0, 1 - 1e-12)
        if step.timeout_ms is not None and float(np.max(once.time_ms)) > step.timeout_ms:
            self.log.say(f"Attempt({step.stream!r}) times out often: the load of these retries is left out")
            once = Passage(np.minimum(once.time_ms, step.timeout_ms), once.variance, once.failed)
        if step.retries == 0 or not share.any():
            return once
        more = share * (1 - share**step.retries) / (1 - share)
        if step.budget is not None:
            more = np.minimum(more, step.budget.ratio)
        self._go(step.steps, weight * more)
        pause_ms = min(step.backoff_max_ms, step.backoff_ms) * (0.5 if step.jitter else 1.0)
        left = {error: part * share**step.retries if error in again else part for error, part in once.failed.items()}
        return Passage(once.time_ms * (1 + more) + pause_ms * more, once.variance * (1 + more), left)

    def _spawn(self, step: f.Spawn, weight: Array) -> Passage:
        after = self._time(step.after).time_ms
        after_ms = float(np.max(after))
        if id(step) not in self.returns:
            self.returns[id(step)] = f.states(step.steps, f.Station)
        for station in set(self.held).intersection(self.returns[id(step)]):
            self.log.touch("armed", station, weight=weight * after)
        # A flow delayed this long sees the time-averaged rate, not the current one.
        lasting = self.log.lasting(after_ms) if self.log.evened == 1 else 1.0
        weight = weight * lasting * self._started(step, weight, after_ms=lasting * after)
        outside = self.held, self.follows, self.pending, self.log.evened
        self.held, self.follows, self.pending = (), Follows(after_ms, self.held, once=step.once), {}
        added, self.added = self.added, {}
        self.log.evened *= lasting
        self._go(step.steps, weight)
        self.held, self.follows, self.pending, self.log.evened = outside
        self.added = added
        return Passage()

    def _started(self, step: f.Spawn, weight: Array, *, after_ms: Array) -> Array:
        """Return the share of spawned flows that are started: none while another one of the same latch is pending."""
        if step.once is None or any(flag is not None and flag.lowers is step for flag in self.flags.values()):
            return ALL
        for batch in self.batches.values():
            if batch.timer is step:  # One in each cycle, of all messages that find no full batch.
                met = self._cycle(batch)
                return np.asarray(1 / np.maximum(met.messages - met.full, 1e-12))
        self.log.touch("latched", step.once, weight=weight)
        return np.asarray(1 / (1 + self.log.touched("latched", step.once) * after_ms))

    # ------------------------------------------------------------ steps that take no time

    def _guard(self, step: f.Guard, weight: Array) -> Passage:
        return Passage(failed={step.error: self._true(step.condition, weight)})

    def _count(self, step: f.Count, weight: Array) -> Passage:
        if grows(step):
            by = self._carried(step.by, None)[0] if isinstance(step.by, str) else step.by
            self.log.count(step.counter, weight * by)
            self.added = {**self.added, step.counter.name: float(np.max(by))}
        elif step.counter.name in self.batches:
            self.log.count(step.counter, weight * float(step.by))
        elif step.counter.name not in self.pending:
            self.log.empty(step.counter, weight)
        return Passage()

    def _reset(self, step: f.Reset | f.Move, weight: Array) -> Passage:
        if step.counter.name not in self.pending:
            self.log.empty(step.counter, weight)
        return Passage()

    def _move(self, step: f.Move, weight: Array) -> Passage:
        self._reset(step, weight)
        self.log.count(step.into, weight * self.log.top(step.counter))
        return Passage()

    def _gather(self, step: f.Gather, weight: Array) -> Passage:
        return Passage()  # The order of service changes no mean; what is counted is not known here.

    def _mark(self, step: f.Mark, weight: Array) -> Passage:
        self.marked = {**self.marked, step.stamp.name: step.at}
        if step.at is None:
            self.log.touch("marked", step.stamp, weight=weight)
        return Passage()

    def _custom(self, step: f.Custom, weight: Array) -> Passage:
        raise UsageError(f"Custom({step.category!r}) cannot be screened: nothing is known about it (simulate it)")

    # ------------------------------------------------------------ times and conditions

    def _visit(self, station: f.Station, weight: Array, *, held: Passage) -> None:
        """Record a visit to *station*, and whether the visitor was spawned by a flow that held it."""
        if self.follows is not None and station in self.follows.held:
            self.log.touch("followed", station, weight=weight)
        self.log.use(station, weight, held=held)

    def _time(self, time: Any) -> Passage:
        """Return the mean and variance of a step's time."""
        if id(time) in self.fixed:
            return self.fixed[id(time)]
        spec = f.as_time(time)
        if spec.since is not None:
            return left(spec, marked=self.marked, log=self.log)
        mean_ms = spec.scale * spec.distribution.expected()
        variance = squared_variation(spec.distribution) * mean_ms**2
        if spec.of is None:
            fixed = self.fixed[id(time)] = Passage(np.full((1, 1), mean_ms), np.full((1, 1), variance))
            return fixed
        if isinstance(spec.of, f.Counter):
            amount = self.pending.get(spec.of.name, self.log.top(spec.of) / 2)
            amount = amount if spec.at_most is None else np.minimum(amount, spec.at_most)
            return Passage(mean_ms + spec.each_ms * amount, np.full((1, 1), variance))
        carried, scatter = self._carried(spec.of, spec.at_most)
        return Passage(mean_ms + spec.each_ms * carried, variance + spec.each_ms**2 * scatter)

    def _carried(self, attribute: str, at_most: float | None) -> tuple[Array, Array]:
        """Return the mean and variance of an attribute of the requests."""
        if attribute == "key":
            keys = self.traffic.key[np.newaxis].astype(np.float64)
            return (keys if at_most is None else np.minimum(keys, at_most)), NONE
        numbers = self.traffic.numbers[attribute]
        mean = [one.mean if at_most is None else one.at_most(at_most) for one in numbers]
        return np.array(mean)[:, np.newaxis], np.array([one.variance for one in numbers])[:, np.newaxis]

    def _true(self, condition: f.Condition, weight: Array) -> Array:
        """Return the probability that a condition is true."""
        match condition:
            case f.Chance(probability=share):
                return np.full((1, 1), share)
            case f.Idle(station=station, longer_than_ms=longer_ms):
                return idle(station, longer_ms, follows=self.follows, log=self.log)
            case f.Waiting(station=station, at_least=least):
                return self._waiting(station, least)
            case f.CountAtLeast(counter=counter, at_least=least):
                return self._reached(counter, least, weight)
            case f.AttributeOver(attribute="key", limit=limit):
                return (self.traffic.key > limit)[np.newaxis].astype(np.float64)
            case f.AttributeOver(attribute=attribute, limit=limit):
                return np.array([one.over(limit) for one in self.traffic.numbers[attribute]])[:, np.newaxis]
            case f.Within():
                self.log.say("windows of faults are taken to be closed")
                return NONE
            case f.During(start_ms=start_ms, end_ms=end_ms):
                inside = min(end_ms, self.traffic.duration_ms) - min(start_ms, self.traffic.duration_ms)
                return np.full((1, 1), inside / self.traffic.duration_ms)
            case f.Drained(bucket=bucket):
                self.log.touch("taken", bucket, weight=weight)
                asked = np.maximum(self.log.touched("taken", bucket), 1e-12)
                return np.clip(1 - bucket.per_s / 1000 / asked, 0, 1)
            case _:
                raise f.unknown(condition, "screening")

    def _reached(self, counter: f.Counter, least: float, weight: Array) -> Array:
        """Return the probability that *counter* holds *least*: one who has just added to it sees his own part too."""
        if counter.name in self.batches:
            return self._batched(self.batches[counter.name], weight)
        self.log.say(f"counter {counter.name!r} is taken to rise steadily from 0 to what it holds at last")
        least -= self.added.get(counter.name, 0.0)
        below = max(least, 0) / np.maximum(self.log.top(counter), 1e-9)
        return np.clip(1 - below, float(least <= 0), 1)

    def _batched(self, batch: Batch, weight: Array) -> Array:
        """Return the probability that a message finds a full *batch*, or that the batch's timer finds a message."""
        self.log.say(f"messages of {batch.counter.name!r} are taken to come at random times")
        timer = self.follows is not None and self.follows.once == batch.timer.once
        if not timer:
            self.log.touch("asked", batch.counter, weight=weight)
        met = self._cycle(batch)
        return met.rest if timer else met.full / met.messages

    def _cycle(self, batch: Batch) -> Cycle:
        return cycle(
            self.log.touched("asked", batch.counter) * self._time(batch.timer.after).time_ms, batch.full.at_least
        )

    def _raised(self, flag: Flag, weight: Array) -> Array:
        """Return the share of time for which a *flag* is raised: the next request after it was lowered raises it."""
        self.log.say(f"visits that ask for {flag.counter.name!r} are taken to come at random times")
        self.log.touch("asked", flag.counter, weight=weight)
        raised = self.log.touched("asked", flag.counter) * self._time(flag.lowers.after).time_ms
        return raised / (1 + raised)

    def _waiting(self, station: f.Station, least: int) -> Array:
        if least <= 0:
            return ALL
        if station.name not in self.log.past.wait_ms:
            return NONE
        self.log.say(f"the queue of {station.name!r} is taken to be as long as a memoryless one")
        busy = self.log.busy(station)
        return np.where(busy < 1, np.minimum(busy, 1) ** (least + station.servers), 1 - 1 / np.maximum(busy, 1))
