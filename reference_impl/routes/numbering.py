"""The numbers of uses on a route: which streams of random numbers each use of an instance has.

The steps are walked in order, repetitions one after another. Each use of an instance is numbered, and so is each of the
instances that it is linked to (a ledger's namespace and database); decisions of one name are numbered in order. The
simulator numbers the same route for itself (docs/DRAWS.md), so both look up the same values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reference_impl.routes.steps import Step

Place = tuple[int, int]
"""A step's index in the file, and the number of its repetition, those of enclosing groups counted in."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of one route.

    Parameters
    ----------
    route
        Its name.
    uses
        Number of the use at a place, from 1.
    decisions
        Number of the decision at a place, from 1, among those of its name.
    """

    route: str
    uses: Mapping[Place, int] = field(default_factory=dict)
    decisions: Mapping[Place, int] = field(default_factory=dict)

    def decision(self, step: Step, repetition: int) -> str:
        """Return the stream of the decision whether *step* is executed."""
        name = f"{self.route}.{step.use or 'group'}.chance"
        number = self.decisions.get((step.index, repetition), 1)
        return name if number == 1 else f"{name}#{number}"

    def copy(self, step: Step, what: str) -> str:
        """Return the stream that names the contexts of copies of *step*: of spawn, attempt or hedge."""
        return f"{self.route}.{step.use or 'group'}.{what}"


def numbers_of(route: str, steps: Sequence[Step], *, links: Callable[[str], Sequence[str]]) -> Numbers:
    """Number the uses and decisions of *route*; *links* names the instances that an instance is linked to."""
    walk = _Walk(links)
    walk.steps(steps, 0, decided={})
    return Numbers(route, walk.uses, walk.decisions)


class _Walk:
    """One walk over the steps of a route."""

    def __init__(self, links: Callable[[str], Sequence[str]]) -> None:
        self.uses: dict[Place, int] = {}
        self.decisions: dict[Place, int] = {}
        self._links = links
        self._used: dict[str, int] = {}

    def steps(self, steps: Sequence[Step], repetition: int, *, decided: dict[str, int]) -> None:
        """Number *steps*, of which *decided* counts the decisions by name so far."""
        for step in steps:
            if step.chance_share < 1:
                name = step.use or "group"
                decided[name] = self.decisions[step.index, repetition] = decided.get(name, 0) + 1
            # A spawned step's decisions are looked up in a context of their own, where counting begins anew.
            inside = {} if step.is_spawned else decided
            for n in range(step.times):
                self._once(step, repetition * step.times + n, decided=inside)

    def _once(self, step: Step, repetition: int, *, decided: dict[str, int]) -> None:
        if step.operation is None:
            self.steps(step.steps, repetition, decided=decided)
            return
        touched = [step.instance, *self._links(step.instance)]
        number = 1 + max(self._used.get(name, 0) for name in touched)
        self._used.update(dict.fromkeys(touched, number))
        self.uses[step.index, repetition] = number
