"""Fixed-point iteration over the notes of a walk: damped where the last steps went to and fro.

A plain iteration x -> g(x) alternates for ever where g falls steeply: a batch that fills more often is found less
full. Wegstein's method estimates the slope of g for each number from the last two steps, and goes to where the line
through them meets its own value. Only falling slopes are damped; where g rises the plain step is taken.

Sources
-------
Wegstein, "Accelerating convergence of iterative processes", Comm. ACM 1(6), 1958.
"""

from dataclasses import replace

import numpy as np

from sim.screening.logbook import Notes, Use
from sim.screening.passage import Array

PLAIN_STEPS = 2
"""The first steps find which parts are visited at all."""

KEEP_MAX = 0.999
"""Largest share of the previous point that is kept: slopes down to -1,000."""

PATIENCE, KEEP_LATE = 30, 0.5
"""After this number of steps at least this share of the previous point is kept: numbers that depend on each other."""

Key = tuple[str, ...]


class Iteration:
    """The points of a fixed-point iteration.

    Parameters
    ----------
    start : Notes
        The first point.

    Attributes
    ----------
    point : Notes
        For the next walk.
    """

    def __init__(self, start: Notes) -> None:
        self.point, self.steps = start, 0
        self.before: tuple[dict[Key, Array], dict[Key, Array]] | None = None

    def advance(self, result: Notes) -> None:
        """Choose the next point, given the *result* of the walk from the last one."""
        here, there = _numbers(self.point), _numbers(result)
        self.steps += 1
        if self.steps <= PLAIN_STEPS or self.before is None:
            self.point = result
        else:
            least = KEEP_LATE if self.steps > PATIENCE else 0.0
            mixed = {key: self._mixed(key, here, there=there, least=least) for key in there}
            self.point = _filled(result, mixed)
        self.before = here, there

    def _mixed(self, key: Key, here: dict[Key, Array], *, there: dict[Key, Array], least: float) -> Array:
        assert self.before is not None
        old_here, old_there = (numbers.get(key) for numbers in self.before)
        if key not in here or old_here is None or old_there is None:
            return there[key]
        moved = here[key] - old_here
        slope = np.divide(there[key] - old_there, moved, out=np.zeros_like(moved), where=np.abs(moved) > 1e-300)
        slope = np.minimum(np.nan_to_num(slope), 0.0)
        keep = np.clip(slope / (slope - 1), least, KEEP_MAX)
        return np.asarray(keep * here[key] + (1 - keep) * there[key])


def _numbers(notes: Notes) -> dict[Key, Array]:
    """Return all numbers of *notes* that a walk reads."""
    found: dict[Key, Array] = {("rate", *key): np.asarray(rate) for key, rate in notes.rates.items()}
    found |= {("wait_ms", name): wait_ms for name, wait_ms in notes.wait_ms.items()}
    for name, use in notes.use.items():
        found |= {("visits", name): use.visits, ("work_ms", name): use.work_ms, ("square", name): use.square}
    return found


def _filled(notes: Notes, numbers: dict[Key, Array]) -> Notes:
    """Return *notes* with other numbers."""
    use = {name: Use(*(numbers[kind, name] for kind in ("visits", "work_ms", "square"))) for name in notes.use}
    wait_ms = {name: numbers["wait_ms", name] for name in notes.wait_ms}
    return replace(notes, use=use, wait_ms=wait_ms, rates={key: numbers["rate", *key] for key in notes.rates})
