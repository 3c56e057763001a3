"""What a month of a scenario's traffic moves on every meter: by the operations that its routes really use.

Rates, shares and sizes are those that are played: a trace's own where there is one. What comes by a schedule comes as
often as that says, whatever the volume. Amounts are bounded by physics: an object is active for at most the whole
month, nothing holds more bytes than the platform lets it, and no call uses more CPU than it is given.

An object does one thing at a time, so the durations of its calls add up, as in the provider's worked examples. Those
that wait behind the output gate may overlap and are added up all the same: a hot object's duration is a ceiling.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE
from sim.judgement.cost.mix import Mix, mix_of
from sim.models.billing import DAYS_PER_MONTH, GB, SECONDS_PER_MONTH, Call, Demand, Meter, StorageLimit, Usage
from sim.models.registry import meters
from sim.scenario.arrivals import TraceReplay
from sim.scenario.generation import key_weights, schedule, stored_bytes
from sim.scenario.messages import message_routes
from sim.scenario.routes import Route, expected_uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.models.component import Instance
    from sim.scenario.platform import Platform
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule


@dataclass(frozen=True)
class Movement:
    """What is moved on the meters, *per_month* times: by one operation on a route, or in the background.

    Attributes
    ----------
    route : str
        Empty for what happens in the background.
    instance : Instance
    usage : Usage
    per_month : float
    """

    route: str
    instance: "Instance"
    usage: Usage
    per_month: float

    def owner(self, meter: str) -> "Instance":
        """Return the instance whose meter it is: its own, or that of the component that it works through."""
        home = meter.partition(".")[0]
        linked = [self.instance.linked(key) for key in self.instance.component.links]
        return next((one for one in (self.instance, *linked) if one.component.name == home), self.instance)


class Traffic:
    """A scenario's traffic as the bill sees it: prepared once, asked for any number of requests a month.

    Parameters
    ----------
    scenario : Scenario
    requests_per_month : float
        The volume at which the storage of one request is reckoned, what schedules store included.
    like : Traffic, optional
        Whose recorded requests are taken over: the scenario differs from its own in other numbers.
    """

    def __init__(self, scenario: "Scenario", requests_per_month: float = 1e6, *, like: "Traffic | None" = None) -> None:
        self.scenario = scenario
        self._like = like
        self._key_share: dict[str, NDArray[np.float64]] = {}
        self.requests_per_month = max(requests_per_month, 1.0)
        self.meters: dict[str, Meter] = {meter.name: meter for meter in meters()}

    @cached_property
    def recorded(self) -> "Schedule | None":
        """The requests of a trace; None where they are drawn."""
        if not isinstance(self.scenario.workload.arrivals, TraceReplay):
            return None
        return schedule(self.scenario) if self._like is None else self._like.recorded

    @cached_property
    def mix(self) -> Mix:
        """Shares and sizes of the routes: the trace's own, or what the scenario draws from."""
        return mix_of(self.scenario, self.recorded)

    def requests_of(self, requests_per_month: float) -> dict[str, float]:
        """Return the requests of a month by route: schedules, shares of the rest of the volume, and their messages.

        A trace that has rows of a schedule says itself how often it comes. The rate of a trace that has none does not
        hold its runs, which come on top of it; a volume that ``[demand]`` says holds them.
        """
        scheduled = self._scheduled()
        messages = message_routes(self.scenario.routes)  # They come beside the volume, in proportion to it.
        drawn = fsum(share for name, share in self.mix.share.items() if name not in scheduled and name not in messages)
        on_top = self.recorded is not None and self.scenario.demand is None
        rest = requests_per_month if on_top else max(requests_per_month - fsum(scheduled.values()), 0.0)
        return {
            name: scheduled[name] if name in scheduled else rest * share / drawn if drawn else 0.0
            for name, share in self.mix.share.items()
        }

    def _scheduled(self) -> dict[str, float]:
        """Runs of a month that come by a schedule, by route, but for those of which a trace has rows."""
        found: dict[str, float] = {}
        for name, route in self.scenario.routes.items():
            entry = self.scenario.system.instances[route.enter]
            runs_per_s = entry.component.runs_per_s
            if runs_per_s is not None and not (self.recorded is not None and self.mix.share[name]):
                found[name] = route.share * runs_per_s(entry) * SECONDS_PER_MONTH
        return found

    def absent(self) -> tuple[str, ...]:
        """Routes of the scenario that a trace has no row of, and no schedule plays: the bill leaves them out."""
        if self.recorded is None:
            return ()
        scheduled = self._scheduled()
        return tuple(
            name
            for name, route in self.scenario.routes.items()
            if route.share and not self.mix.share[name] and name not in scheduled
        )

    def counted(self, requests_per_month: float) -> dict[str, float]:
        """Return the requests of a month by what they are, the most first: those of HTTP, messages, scheduled runs."""
        found: dict[str, float] = {}
        for name, requests in self.requests_of(requests_per_month).items():
            if requests:
                kind = self._kind(self.scenario.routes[name])
                found[kind] = found.get(kind, 0.0) + requests
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def _kind(self, route: Route) -> str:
        entry = self.scenario.system.instances[route.enter].component
        if entry.runs_per_s is not None:
            return "scheduled runs"
        for step, _ in expected_uses(route.steps):
            where, _, operation = (step.use or "").partition(".")
            if self.scenario.system.instances[where].component.operations[operation].message:
                return "socket messages"
        return "HTTP requests" if entry.transport == "http" else "QUIC requests"

    def movements(self, requests_per_month: float) -> Iterator[Movement]:
        """Yield what every operation moves, then what happens in the background of every instance."""
        calls: dict[str, dict[str, float]] = {}
        by_route = self.requests_of(requests_per_month)
        for name, route in self.scenario.routes.items():
            requests = by_route[name]
            for step, often in expected_uses(route.steps):
                assert step.use is not None
                where, _, operation = step.use.partition(".")
                instance = self.scenario.system.instances[where]
                wanted = instance.component.operations[operation]
                call = self.call(name, wanted.parameters.model_validate(step.parameters))
                usage = wanted.usage(instance, call)
                if route.objects is not None:  # An upload replaces one of the objects that are there.
                    usage = replace(usage, stored_gb={}, replaced_gb=_sums(usage.replaced_gb, usage.stored_gb))
                usage = replace(usage, amounts=_sums(usage.amounts, self._minimum(usage)))
                self._check_call(usage, instance)
                yield Movement(name, instance, usage, requests * often)
                per_month = calls.setdefault(where, {})
                per_month[operation] = per_month.get(operation, 0.0) + requests * often
        for where, per_month in calls.items():
            instance = self.scenario.system.instances[where]
            if instance.component.background is not None:
                demand = Demand(per_month, self.key_share(instance))
                yield Movement("", instance, instance.component.background(instance, demand), 1.0)

    def call(self, route: str, parameters: Any) -> Call:
        """Return what the bill of one call on a route depends on."""
        sizes = self.mix.sizes_bytes[route]
        return Call(parameters, self.mix.size_bytes[route], sizes if sizes.size else None)

    def _minimum(self, usage: Usage) -> dict[str, float]:
        """Return the GB-months of what is replaced: its minimum, as if it were replaced at once."""
        minimum = {name: self.meters[name].minimum for name in usage.replaced_gb}
        return {
            name: usage.replaced_gb[name] * number(self.scenario.facts, fact) / DAYS_PER_MONTH
            for name, fact in minimum.items()
            if fact in self.scenario.facts.facts
        }

    def replaced_gb_month(self, requests_per_month: float) -> dict[str, float]:
        """Return the GB-months of a month that are billed of objects which were replaced, by meter."""
        found: dict[str, float] = {}
        for movement in self.movements(requests_per_month):
            for name, amount in self._minimum(movement.usage).items():
                found[name] = found.get(name, 0.0) + amount * movement.per_month
        return {name: amount for name, amount in found.items() if amount}

    def _check_call(self, usage: Usage, instance: "Instance") -> None:
        """Refuse a call that uses more than the platform lets one use."""
        for name, amount in usage.amounts.items():
            bound = self.meters[name].call_limit if name in self.meters else ""
            if bound in self.scenario.facts.facts and amount > (most := number(self.scenario.facts, bound)):
                raise ScenarioError(
                    f"system.{instance.name} uses {amount:g} {self.meters[name].unit} in one call, must be <= "
                    f"{most:g}: the platform ends it there (platform:{bound}, {PAGE})"
                )

    def key_share(self, instance: "Instance") -> "NDArray[np.float64]":
        """Share of each key in the calls of an instance, shape (keys,); they add up to 1, or are all 0."""
        if instance.name not in self._key_share:
            same = self._like is not None and self.recorded is not None
            found = self._like.key_share(instance) if same and self._like is not None else self._shares(instance)
            self._key_share[instance.name] = found
        return self._key_share[instance.name]

    def _shares(self, instance: "Instance") -> "NDArray[np.float64]":
        shares, played = np.zeros(instance.keys), self.recorded
        using = [
            name
            for name, used in self.scenario.operations.items()
            if any(operation.partition(".")[0] == instance.name for operation in used)
        ]
        if played is not None:
            codes = [code for code, name in enumerate(self.scenario.routes) if name in using]
            keys = played.key[np.isin(played.route_code, codes)] % instance.keys
            shares += np.bincount(keys, minlength=instance.keys)
        else:
            for name in using:
                weight = key_weights(self.scenario, name)
                shares[: weight.size] += self.mix.share[name] * weight / weight.sum()
        return shares / shares.sum() if shares.sum() else shares

    def part_share(self, instance: "Instance", caller: "Instance") -> "NDArray[np.float64]":
        """Share of each keyed part of *instance* (an object) in what *caller* does to it, shape (parts,)."""
        station = instance.component.station
        parts = station(instance).instances if station is not None else 1
        by_key = self.key_share(caller)
        return np.bincount(np.arange(by_key.size) % parts, weights=by_key, minlength=parts).astype(np.float64)

    def usage(self, requests_per_month: float) -> dict[str, float]:
        """Return what a month moves on every meter but those of storage, in the meter's own unit."""
        found: dict[str, float] = {}
        active_s: dict[tuple[str, str], NDArray[np.float64]] = {}
        for movement in self.movements(requests_per_month):
            for name, amount in movement.usage.amounts.items():
                meter = self.meters.get(name)
                if meter is not None and meter.once:
                    found[name] = amount
                elif meter is not None and meter.active:
                    owner = movement.owner(name)
                    share = self.part_share(owner, movement.instance)
                    if not movement.route:  # What goes on by itself does so in every part that is used at all.
                        used_parts = share > 0
                        share = used_parts / max(float(used_parts.sum()), 1.0)
                    spent = amount * movement.per_month * share
                    active_s[name, owner.name] = active_s.get((name, owner.name), np.zeros(spent.size)) + spent
                else:
                    found[name] = found.get(name, 0.0) + movement.per_month * amount
        for (name, _), spent in active_s.items():
            found[name] = found.get(name, 0.0) + float(np.minimum(spent, SECONDS_PER_MONTH).sum())
        return {name: amount * self.scale(name) for name, amount in found.items()}

    def scale(self, name: str) -> float:
        """Return what an operation's amount is multiplied by on a meter."""
        meter = self.meters.get(name)
        return number(self.scenario.facts, meter.scale) if meter is not None and meter.scale else 1.0

    def stored_scale(self, name: str) -> float:
        """Return what one stored GB is on a meter."""
        meter = self.meters.get(name)
        return self.scale(name) * (meter.stored_unit if meter is not None else 1.0)

    def kept_gb(self) -> dict[tuple[str, str], float]:
        """Return the GB of the objects that a route says are stored, by route and meter: there from the first day."""
        found: dict[tuple[str, str], float] = {}
        for name, route in self.scenario.routes.items():
            if route.objects is None or route.size_bytes is None or not self.mix.share[name]:
                continue
            places = {(step.use or "").partition(".")[0] for step, _ in expected_uses(route.steps)}
            for instance in (self.scenario.system.instances[place] for place in sorted(places)):
                meter = instance.component.keeps(instance) if instance.component.keeps is not None else None
                if meter is not None:
                    kept = float(stored_bytes(route).sum()) / GB
                    found[name, meter] = found.get((name, meter), 0.0) + kept
        return found

    def stored_gb(self) -> dict[tuple[str, str, str], float]:
        """Return the GB that stay of one request, by meter, instance that holds them, and instance that put them."""
        found: dict[tuple[str, str, str], float] = {}
        for movement in self.movements(self.requests_per_month):
            for name, stored in movement.usage.stored_gb.items():
                place = (name, movement.owner(name).name, movement.instance.name)
                each = movement.per_month / self.requests_per_month
                found[place] = found.get(place, 0.0) + each * stored
        return found

    def stored_mean_gb(self, requests: "NDArray[np.float64]") -> dict[str, float]:
        """Return the GB on every meter of storage, averaged over times at which *requests* had arrived in total.

        Nothing is deleted, and nothing grows beyond the platform's bounds. What routes say is stored counts from the
        first day.

        Parameters
        ----------
        requests : ndarray, shape (times,)
        """
        held: dict[tuple[str, str], NDArray[np.float64]] = {}
        for (name, owner, caller), each_gb in self.stored_gb().items():
            holder, putter = (self.scenario.system.instances[one] for one in (owner, caller))
            parts = each_gb * self.part_share(holder, putter) * requests[:, None]
            if putter is not holder:
                parts = np.minimum(parts, self._bound_gb(name, putter, per="key"))
            held[name, owner] = held.get((name, owner), np.zeros(parts.shape)) + parts
        found: dict[str, float] = {}
        for (name, owner), parts in held.items():
            holder = self.scenario.system.instances[owner]
            whole = np.minimum(parts, self._bound_gb(name, holder, per="key")).sum(axis=1)
            mean = float(np.minimum(whole, self._bound_gb(name, holder, per="instance")).mean())
            found[name] = found.get(name, 0.0) + mean * self.stored_scale(name)
        for (_, name), kept in self.kept_gb().items():
            found[name] = found.get(name, 0.0) + kept * self.stored_scale(name)
        return found

    def _bound_gb(self, meter: str, instance: "Instance", *, per: str) -> float:
        bounds = [
            limit.left(instance.table, number(self.scenario.facts, limit.fact)) / GB
            for limit in self._limits(instance, "paid")
            if limit.meter == meter and limit.per == per
        ]
        return min(bounds, default=np.inf)

    def _limits(self, instance: "Instance", plan: str) -> list[StorageLimit]:
        """Bounds of an instance that apply to it and that the platform file holds."""
        return [
            limit
            for limit in instance.component.limits
            if limit.plan == plan
            and limit.fact in self.scenario.facts.facts
            and (limit.applies is None or limit.applies(instance.table))
        ]

    def storage_limits(self, plan: str = "paid") -> Iterator[tuple[StorageLimit, "Instance", float]]:
        """Yield every bound on what is stored, whose it is, and with how many requests it is reached.

        Of a keyed part the fullest counts. A bound that the platform file does not hold, or that nothing comes nearer
        to, is left out.
        """
        stored = self.stored_gb()
        for instance in self.scenario.system.instances.values():
            for limit in self._limits(instance, plan):
                each_gb = fsum(
                    amount * (self._fullest(owner, caller) if limit.per == "key" else 1.0)
                    for (name, owner, caller), amount in stored.items()
                    if name == limit.meter and instance.name in (owner, caller)
                )
                if each_gb > 0:
                    bound = number(self.scenario.facts, limit.fact)
                    yield limit, instance, limit.left(instance.table, bound) / GB / each_gb

    def _fullest(self, owner: str, caller: str) -> float:
        instances = self.scenario.system.instances
        return float(self.part_share(instances[owner], instances[caller]).max(initial=0.0))


def number(platform: "Platform", key: str) -> float:
    """Return the value of a fact that says how much.

    Raises
    ------
    ScenarioError
        There is no such fact, it is no number, or a negative one.
    """
    value = platform.fact(key).value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise ScenarioError(f"platform:{key}={value!r} must be a number >= 0 ({platform.path.name})")
    return float(value)


def _sums(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in (*first, *second)}
