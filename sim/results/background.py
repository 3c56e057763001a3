"""What became of background work: steps that a route spawns, and a component's own alarms and deliveries.

Nobody waits for them, so no request's outcome shows that one was refused. The engines count how each ended, over the
whole run, since one of the warm-up may end after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.scenario.routes import expected_uses

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.routes import Step
    from sim.scenario.scenario import Scenario

SPAWN = ".spawn"
"""End of the name of a step that a route spawns: ``feed.kv.put.spawn`` (:mod:`sim.scenario.deployment`)."""

ENDED = {
    "timeout": "timed out",
    "overloaded": "rejected as overloaded",
    "too_large": "refused as too large",
    "refused": "refused",
    "error": "failed",
}


@dataclass(frozen=True)
class Background:
    """How one background step ended.

    Attributes
    ----------
    what : str
        An operation (``kv.put``), ``groups of steps``, or a component's own work (``ledger.alarm``).
    route : str
        The route whose step it is; empty for a component's own work.
    ended : dict of str to int
        Number by outcome, over all runs.
    runs : int
    rule : str
        The rule by which the component refuses; empty where none was refused, or it has no such rule.
    """

    what: str
    route: str
    ended: dict[str, int]
    runs: int
    rule: str = ""

    @property
    def count(self) -> int:
        """All that ended."""
        return sum(self.ended.values())

    @property
    def failures(self) -> dict[str, int]:
        """Those that failed, by outcome."""
        return {outcome: count for outcome, count in self.ended.items() if outcome != "ok" and count}

    def __str__(self) -> str:
        failed = [f"{count:,} {ENDED.get(outcome, outcome)}" for outcome, count in self.failures.items()]
        share = 100 * sum(self.failures.values()) / self.count
        where = f" of route {self.route}" if self.route else ""
        runs = f", {self.runs} runs" if self.runs > 1 else ""
        rule = f": {self.rule}" if self.rule else ""
        return (
            f"{', '.join(failed)} of {self.count:,} background {self.what}{where} ({share:.2g} %{runs}, warm-up "
            f"included){rule}; nobody waits for them, so no request is counted as failed"
        )


def background(results: "Sequence[Result]") -> tuple[Background, ...]:
    """Return how the background steps of a run, or of replications of it, ended: a row a step, in order of names."""
    ended: dict[str, dict[str, int]] = {}
    for result in results:
        for name, counts in result.background.items():
            sums = ended.setdefault(name, {})
            for outcome, count in counts.items():
                sums[outcome] = sums.get(outcome, 0) + count
    return tuple(_row(results[0].scenario, name, counts, len(results)) for name, counts in sorted(ended.items()))


def background_rows(results: "Sequence[Result]") -> list[dict[str, Any]]:
    """Return the same as rows of a JSON document."""
    return [
        {"what": row.what, "route": row.route or None, "count": row.count, "failures": row.failures, "rule": row.rule}
        for row in background(results)
    ]


def background_notes(results: "Sequence[Result]") -> tuple[str, ...]:
    """Return a sentence for each background step of which some failed."""
    return tuple(str(row) for row in background(results) if row.failures)


def refusals_billed(results: "Sequence[Result]") -> tuple[str, ...]:
    """Return, for the notes of a bill, what it does with background operations that were refused.

    The provider's pricing pages of KV and R2 (``kv_pricing.mdx``, ``r2/pricing.mdx``) do not say whether a call that is
    answered 429 is charged, so the bill counts each call that is made.
    """
    return tuple(
        f"{100 * row.failures['refused'] / row.count:.2g} % of background {row.what} of route {row.route} were refused "
        "in the simulation; the bill counts them as charged, since no source says whether a refused call is."
        for row in background(results)
        if row.rule and row.failures.get("refused")
    )


def _row(scenario: "Scenario", name: str, ended: dict[str, int], runs: int) -> Background:
    route, _, what = name.removesuffix(SPAWN).partition(".")
    if not name.endswith(SPAWN) or route not in scenario.routes:
        return Background(name, "", ended, runs)
    what = "groups of steps" if what == "group" else what
    rules = dict.fromkeys(_rules(scenario, route, what)) if ended.get("refused") else {}
    return Background(what, route, ended, runs, "; ".join(rules))


def _rules(scenario: "Scenario", route: str, what: str) -> list[str]:
    """Return the rules by which the operations of a spawned step refuse."""
    return [
        rule
        for step, _ in expected_uses(scenario.routes[route].steps)
        if step.use is not None and what in (step.use, "groups of steps") and (rule := _rule(scenario, step))
    ]


def _rule(scenario: "Scenario", step: "Step") -> str:
    assert step.use is not None
    where, _, operation = step.use.partition(".")
    instance = scenario.system.instances[where]
    wanted = instance.component.operations[operation]
    return wanted.refusal(instance, wanted.parameters.model_validate(step.parameters))
