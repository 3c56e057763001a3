"""What will happen in one schedule, decided before it begins: a workload and the faults that meet it.

A plan is drawn from its seed and is plain data. Faults are tied to what is counted while a schedule runs (the 17th
storage step, the 3rd message), so that a plan with an operation or a fault taken out is a plan too: that is how a
failure is made small (:mod:`tests.faults.shrink`).
"""

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

HORIZON_MS = 400
"""Operations and timed faults begin before this moment."""

ORGANIZATIONS = ("org", "org:1", "acme")
"""The second begins like the first goes on, so that names put together carelessly are mistaken for each other."""

EVENTS = ("e1", "e2", "1:e1", "e3", "e4", "e5")
MODELS = ("sonnet", "opus", "gpt-4-turbo")
TIERS = ("managed", "byok", "free")
SPREADS_MS = (8, 60, HORIZON_MS)
"""Time span of the operations, in ms: concurrent, overlapping, or one by one."""
SYNCS_MS = (1, 3, 25)
KINDS = ("log", "log", "log", "log", "log", "log", "balance", "balance", "flush")


class Op(NamedTuple):
    """One operation of a client: when, by whom, and what it asks."""

    at_ms: int
    client: int
    kind: str
    organization: str
    event: str
    model: str
    tokens: int


class Fault(NamedTuple):
    """One fault: its kind, the count or the moment (ms) at which it strikes, and how hard."""

    kind: str
    at: int
    amount: int


class Terms(NamedTuple):
    """The terms of an organisation's account."""

    tier: str = "managed"
    credits_microusd: int = 0
    ceiling_microusd: int = 10**8
    free_limit_microusd: int = 5 * 10**6


@dataclass(frozen=True)
class Plan:
    """One schedule.

    Parameters
    ----------
    seed
        Draws the order in which tasks that can run do run.
    ops, faults
        What is asked and what goes wrong.
    terms
        Of the organisations that do not have the default terms.
    has_schema
        False: the object's database is empty at first, so that making it is part of the schedule.
    sync_ms
        How long the disk takes to make a commit durable: what is not durable can be lost.
    """

    seed: int
    ops: tuple[Op, ...]
    faults: tuple[Fault, ...]
    terms: dict[str, Terms] = field(default_factory=dict)
    has_schema: bool = True
    sync_ms: int = 3

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}, terms {self.terms or 'default'}, {'' if self.has_schema else 'no '}schema at first"
        ]
        lines += [f"  {op.at_ms:4d} ms  client {op.client}: {_told(op)}" for op in self.ops]
        lines += [f"  fault {fault.kind} at {fault.at}, amount {fault.amount}" for fault in self.faults]
        return "\n".join(lines)


COUNTED = {
    # Kind: (where it strikes: a count or a moment below this, how hard: below this, how often among the faults).
    "power_cut": (220, 256, 6),
    "kill": (220, 1, 3),
    "disk_error": (220, 1, 2),
    "lose": (30, 1, 3),
    "repeat": (30, 200, 3),
    "delay": (30, 120, 3),
    "sink_fails": (6, 1, 2),
    "sink_unknown": (6, 1, 3),
    "sink_late": (6, 5_000, 2),
    "slow_sync": (12, 60, 3),
    "evict": (HORIZON_MS, 1, 2),
    "deploy": (HORIZON_MS, 1, 2),
    "clock_jump": (HORIZON_MS, 7_200_000, 2),
}
FAULT_KINDS = tuple(kind for kind, (_, _, weight) in COUNTED.items() for _ in range(weight))


OPS_MIN, OPS_RATE, OPS_MORE_MAX = 3, 0.25, 14
"""Three operations and some more, six on average. The eight planted defects that are hardest to find took 15 s of one
core with this length, 42 s with four on average and over 58 s with two: long schedules are slow and see more."""


def draw(seed: int) -> Plan:
    """Draw the plan of a seed."""
    rng = Random(seed)
    chance, below = rng.random, rng.randrange
    n_ops = OPS_MIN + min(int(rng.expovariate(OPS_RATE)), OPS_MORE_MAX)
    clients = 1 + below(3)
    organizations = ORGANIZATIONS[: 1 + below(3)]
    # A crowd of operations at one moment, or a walk through the horizon.
    spread_ms = 1 + below(SPREADS_MS[below(len(SPREADS_MS))])
    events = EVENTS[: 1 + below(len(EVENTS))]
    same_content = chance() < 0.7
    ops = []
    for _ in range(n_ops):
        event = events[int(chance() * len(events))]
        kind = KINDS[int(chance() * len(KINDS))]
        organization = organizations[int(chance() * len(organizations))]
        # Usually an event's name fixes its content, as it should; sometimes a client breaks that rule.
        variety = len(event) + ord(event[-1]) if same_content else below(9)
        ops.append(
            Op(
                int(chance() * spread_ms),
                int(chance() * clients),
                kind,
                organization,
                event,
                MODELS[variety % 3],
                1 + 37 * (variety % 11),
            )
        )
    ops.sort()
    faults = []
    for _ in range(1 + min(int(rng.expovariate(0.6)), 7)):
        kind = FAULT_KINDS[int(chance() * len(FAULT_KINDS))]
        at, amount, _ = COUNTED[kind]
        # Small counts are always reached, large ones only in long schedules.
        # Every second power cut takes all that is not durable.
        is_total = kind == "power_cut" and chance() < 0.5
        faults.append(Fault(kind, int(chance() * chance() * at), 0 if is_total else int(chance() * amount)))
    terms = {name: _terms(rng) for name in organizations if chance() < 0.3}
    sync_ms = SYNCS_MS[below(len(SYNCS_MS))]
    return Plan(seed, tuple(ops), tuple(faults), terms, has_schema=chance() < 0.9, sync_ms=sync_ms)


def _terms(rng: Random) -> Terms:
    tier = rng.choice(TIERS)
    credits_microusd = rng.choice((0, 0, 1_000, 20_000))
    ceiling_microusd = rng.choice((10**8, 6_000, 30_000))
    free_limit_microusd = rng.choice((10**8, 5_000, 20_000))
    return Terms(tier, credits_microusd, ceiling_microusd, free_limit_microusd)


def _told(op: Op) -> str:
    if op.kind == "log":
        return f"log {op.event} of {op.organization}: {op.tokens} tokens each way, {op.model}"
    return f"{op.kind} of {op.organization}"
