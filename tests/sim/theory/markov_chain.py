"""Markov chains solved as they stand: states by enumeration, balance equations by linear algebra.

The oracle of the queueing formulas. It knows nothing of queues, only rates from state to state.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, lil_matrix
from scipy.sparse.linalg import expm_multiply, spsolve

State = TypeVar("State", bound=Hashable)
Rates = Callable[[State], Iterable[tuple[State, float]]]


def reachable(start: State, rates: Rates[State]) -> list[State]:
    """Every state that *start* leads to, in order of discovery."""
    states, seen = [start], {start}
    for state in states:
        for target, _ in rates(state):
            if target not in seen:
                seen.add(target)
                states.append(target)
    return states


def generator(states: list[State], rates: Rates[State]) -> csc_matrix:
    """Rate matrix: row i, column j is the rate from state i to j; rows add up to 0 but for rates out of *states*."""
    index = {state: i for i, state in enumerate(states)}
    matrix = lil_matrix((len(states), len(states)))
    for state, i in index.items():
        for target, rate in rates(state):
            matrix[i, i] -= rate
            if target in index:
                matrix[i, index[target]] += rate
    return csc_matrix(matrix)


def stationary(start: State, rates: Rates[State]) -> dict[State, float]:
    """Long-run share of the time in each state."""
    states = reachable(start, rates)
    balance = lil_matrix(generator(states, rates).T)
    balance[0, :] = 1
    known = np.zeros(len(states))
    known[0] = 1
    return dict(zip(states, spsolve(csc_matrix(balance), known).tolist(), strict=True))


def survival(entry: dict[State, float], rates: Rates[State], times: Iterable[float]) -> NDArray[np.float64]:
    """Probability that the chain, entered at random, has not yet left the states of *entry* by each time.

    States are left for good when *rates* leads to a state outside *entry*.
    """
    states = list(entry)
    forward = csc_matrix(generator(states, rates).T)
    start = np.array([entry[state] for state in states])
    return np.array([expm_multiply(forward * t, start).sum() for t in times])
