"""A failing plan made small: what can be taken out and still fails, is taken out."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.faults.auditor import ViolationError
from tests.faults.plan import Plan
from tests.faults.schedule import run

FAILURES = (Exception, ViolationError)
"""A defect may show as anything."""


def failure(plan: Plan, play: Callable[[Plan], object] = run) -> str | None:
    """Play *plan*; return how it fails, or None."""
    try:
        play(plan)
    except FAILURES as error:
        return f"{type(error).__name__}: {error}"
    return None


def shrink(plan: Plan, *, fails: Callable[[Plan], bool] = lambda plan: failure(plan) is not None) -> Plan:
    """Return a smallest plan that still fails: taking out any one more part makes it pass."""
    assert fails(plan), "only what fails can be made small"
    while True:
        for smaller in _smaller(plan):
            if fails(smaller):
                plan = smaller
                break
        else:
            return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    # Halves first: most of a long plan has nothing to do with the failure.
    for part in ("ops", "faults"):
        entries = getattr(plan, part)
        size = len(entries) // 2
        while size:
            for start in range(0, len(entries), size):
                kept = entries[:start] + entries[start + size :]
                yield replace(plan, **{part: kept})
            size //= 2
    for name in plan.terms:
        yield replace(plan, terms={kept: terms for kept, terms in plan.terms.items() if kept != name})
    if not plan.has_schema:
        yield replace(plan, has_schema=True)
    for position, op in enumerate(plan.ops):
        if op.client:
            yield replace(plan, ops=(*plan.ops[:position], op._replace(client=0), *plan.ops[position + 1 :]))
