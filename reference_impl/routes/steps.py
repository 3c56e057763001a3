"""The steps of a route: operations of instances or groups of steps, with repetition, probability and a caller's policy.

Sources
-------
Full jitter: Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015. Hedged requests: Dean and
Barroso, "The tail at scale", Comm. ACM 56, 2013.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from reference_impl.errors import ConfigError
from reference_impl.parts import Operation, Part, no_parameters
from reference_impl.tables import Table, nearest, read_table
from reference_impl.timing.tape import Tape

TIMES_MAX = 1_000
RETRIES_MAX = 1_000
BACKOFF_MS_MAX = 60_000.0
"""Upper bound of the exponential backoff."""


@dataclass(frozen=True)
class Policy:
    """The caller's policy for a step: timeout, retries and hedging.

    Parameters
    ----------
    timeout_ms
        Timeout of an attempt; None: none.
    retries
        Number of attempts after the first.
    backoff_ms
        Pause before the first retry; it doubles with each further one.
    jitter
        Samples the fraction of a pause that is waited, 0 to 1 (full jitter); None: the whole pause.
    hedge_ms
        Delay after which a second copy of an attempt is started; None: never.
    """

    timeout_ms: float | None
    retries: int
    backoff_ms: float
    jitter: Tape | None
    hedge_ms: float | None

    def pause_ms(self, retry: int) -> float:
        """Return the pause before retry number *retry*, counted from 0."""
        longest_ms = min(self.backoff_ms * 2.0 ** min(retry, 62), BACKOFF_MS_MAX)
        return longest_ms if self.jitter is None else longest_ms * self.jitter.draw()


@dataclass(frozen=True)
class Step:
    """One step of a route: an operation or a group.

    Parameters
    ----------
    index
        Its position among all steps of the route, nested ones included, in the order of the file.
    use
        The operation as the file names it, ``d1.read``; empty for a group.
    instance, operation, parameters
        The operation, its instance and its parameters; *operation* None: the step is a group.
    steps
        The steps of the group.
    times
        Number of repetitions.
    is_parallel
        Whether repetitions, and the steps of the group, run concurrently.
    chance_share
        Probability that a request executes the step.
    chance
        Uniform random numbers that decide it.
    is_spawned
        Whether the request continues without waiting for it.
    policy
        Timeout, retries and hedging.
    """

    index: int
    use: str
    instance: str
    operation: Operation | None
    parameters: Any
    steps: "tuple[Step, ...]"
    times: int
    is_parallel: bool
    chance_share: float
    chance: Tape
    is_spawned: bool
    policy: Policy


def read_steps(
    table: Table, key: str, *, parts: Mapping[str, Part], indices: Iterator[int] | None = None
) -> tuple[Step, ...]:
    """Read the list of steps at *key*; *parts* are those of the instances, by name; *indices* number the steps.

    Raises
    ------
    ConfigError
        If a step names an unknown operation, or a key is missing, unknown or invalid.
    """
    numbers = count() if indices is None else indices
    return tuple(_step(step, parts, indices=numbers) for step in table.tables(key))


def _step(table: Table, parts: Mapping[str, Part], *, indices: Iterator[int]) -> Step:
    if ("use" in table) == ("steps" in table):
        raise ConfigError(f"{table.path} must hold either use or steps")
    instance, operation = _operation(table, parts) if "use" in table else ("", None)
    # A group has no parameters; an empty table is accepted.
    read = no_parameters if operation is None else operation.parameters
    parameters = read_table(read, table.table("parameters"))
    step = Step(
        index=next(indices),
        use=table.text("use", ""),
        instance=instance,
        operation=operation,
        parameters=parameters,
        steps=() if operation is not None else read_steps(table, "steps", parts=parts, indices=indices),
        times=table.whole("times", 1, at_least=1, at_most=TIMES_MAX),
        is_parallel=table.flag("parallel"),
        chance_share=table.number("chance", 1, at_most=1),
        chance=table.chance("chance"),
        is_spawned=table.flag("spawn"),
        policy=_policy(table),
    )
    table.close()
    return step


def _operation(table: Table, parts: Mapping[str, Part]) -> tuple[str, Operation]:
    use = table.text("use", "")
    instance, _, operation = use.partition(".")
    if instance not in parts or operation not in parts[instance].operations:
        known = [f"{name}.{what}" for name, part in parts.items() for what in part.operations]
        raise ConfigError(f"{table.where('use')}={use!r} is no operation of the system; {nearest(use, known)}")
    return instance, parts[instance].operations[operation]


def _policy(table: Table) -> Policy:
    return Policy(
        timeout_ms=table.duration_ms("timeout_ms"),
        retries=table.whole("retries", 0, at_most=RETRIES_MAX),
        backoff_ms=table.number("backoff_ms", 0),
        jitter=table.chance("jitter") if table.flag("jitter") else None,
        hedge_ms=table.duration_ms("hedge_ms"),
    )
