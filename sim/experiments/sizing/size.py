"""The one call of all sizings that compare choices."""

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from sim.experiments.capacity import check_lasting
from sim.experiments.sizing.choices import Sizing
from sim.experiments.sizing.databases import d1_split
from sim.experiments.sizing.parts import part_size
from sim.experiments.sizing.probes import probe_interval
from sim.experiments.sizing.quiet import heartbeat, idle
from sim.experiments.sizing.runs import SEEDS
from sim.experiments.sizing.shards import shards
from sim.foundation.errors import UsageError

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

SIZINGS: dict[str, Callable[..., Sizing]] = {
    "shards": shards,
    "part_size": part_size,
    "heartbeat": heartbeat,
    "idle": idle,
    "probe_interval": probe_interval,
    "d1_split": d1_split,
}


OF_AN_INSTANCE = ("shards", "part_size", "d1_split")
"""Sizings of one instance, of which a scenario may have several."""


def size(
    scenario: "Scenario",
    what: str,
    *,
    values: Sequence[Any] | None = None,
    rng: int | None = None,
    seeds: int = SEEDS,
    of: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Sizing:
    """Compare the sensible values of one design number of *scenario*, and choose.

    Parameters
    ----------
    scenario : Scenario
    what : {"shards", "part_size", "heartbeat", "idle", "probe_interval", "d1_split"}
        Objects that share the keys; R2 parts (MiB), with several at a time; time between heartbeats (s); idle timeout
        (s); time between probes (s), with several failures in a row; D1 databases.
    values : sequence, optional
        To compare, the plainest first; by default those of the sizing.
    rng : int, optional
        Seed; the scenario's own if None.
    seeds : int
        Replications of every choice, with common random numbers; at least 2.
    of : str, optional
        The instance whose shards, parts or databases they are; by default the one that most traffic reaches.
    on_progress : callable, optional
        Given what is done, in a few words.

    Returns
    -------
    Sizing

    Raises
    ------
    UsageError
        There is no such sizing, the scenario has no such part, a value is none; or the scenario has faults.
    ScenarioError
        A value that breaks the scenario's rules.
    """
    if what not in SIZINGS:
        raise UsageError(f"what={what!r} must be one of {', '.join(SIZINGS)}")
    if of is not None and what not in OF_AN_INSTANCE:
        raise UsageError(f"of={of!r} must not be given with {what}, but with {', '.join(OF_AN_INSTANCE)}")
    if values is not None and (isinstance(values, str) or not len(values)):
        raise UsageError(f"values={values!r} must be a list of at least one value")
    if what != "shards" and values is not None:
        wrong = [
            one for one in values if isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one < inf
        ]
        if wrong:
            raise UsageError(f"values={list(values)!r}: {wrong[0]!r} must be a number >= 0")
    check_lasting(scenario, what="a sizing")
    asked = scenario if rng is None else scenario.with_(seed=rng)
    named = {"of": of} if what in OF_AN_INSTANCE else {}
    return SIZINGS[what](asked, values=values, seeds=seeds, on_progress=on_progress, **named)
