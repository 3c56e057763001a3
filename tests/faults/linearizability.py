"""A linearizability checker: whether some sequential order of the operations explains what the clients saw.

Every operation took effect at one moment between its beginning and its end, says linearizability. The checker looks for
an order of operations that keeps to that and in which every answer is the right one. It follows Wing and Gong: of the
operations that are not placed yet, only those may come next that began before any other of them ended; what was tried
from the same set and the same state is not tried again (Lowe).

An operation whose end nobody saw may have taken effect at any time after its beginning, or never.

Sources
-------
J. M. Wing, C. Gong: Testing and verifying concurrent objects (1993). G. Lowe: Testing for linearizability (2017).
"""

from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)
Asked = TypeVar("Asked")

NEVER = float("inf")


class Operation(NamedTuple, Generic[Asked]):
    """One operation: when it began and ended, what was asked, and what was answered."""

    began: float
    ended: float
    asked: Asked


def is_linearizable(
    operations: Sequence[Operation[Asked]],
    initial: State,
    *,
    step: Callable[[State, Operation[Asked]], State | None],
) -> bool:
    """Tell whether there is an order that explains every answer.

    Parameters
    ----------
    operations
        In any order.
    initial
        The state before all of them.
    step
        The state after an operation; None if its answer is wrong in this state.
    """
    # Whoever ends last is tried last: the order in which operations end is nearly always one that explains them.
    line = sorted(operations, key=attrgetter("ended"), reverse=True)
    everyone = [(1 << i, operation.began, operation) for i, operation in enumerate(line)]
    must = sum(bit for bit, _, operation in everyone if operation.ended != NEVER)
    stack = [(0, initial)]
    seen = {(0, initial)}
    while stack:
        placed, state = stack.pop()
        if must & ~placed == 0:
            return True
        left = [entry for entry in everyone if not placed & entry[0]]
        first_end = left[-1][2].ended
        for bit, began, operation in left:
            if began > first_end:
                continue
            after = step(state, operation)
            if after is None:
                continue
            found = (placed | bit, after)
            if found not in seen:
                seen.add(found)
                stack.append(found)
    return False
