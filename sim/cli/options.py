"""Options that several commands share, and the scenario that they ask for."""

import sys
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

import typer

from sim.report.console import say

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

USAGE_STATUS = 2

ScenarioName = Annotated[str, typer.Argument(help="A scenario file, or the name of one in scenarios/.")]
Trace = Annotated[Path | None, typer.Option(help="Real requests (CSV, JSON, access log) in place of the scenario's.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="NAME=COLUMN,...", help="What columns of the trace are: time=ts,key=tenant,unit=s."),
]
Unmatched = Annotated[str | None, typer.Option(help="Rows of the trace that match no route: refuse, or skip.")]
Rate = Annotated[float | None, typer.Option(metavar="PER_S", help="Arrival rate in place of the scenario's.")]
Seed = Annotated[int | None, typer.Option(help="Seed of all random numbers; default: the scenario's.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Value in place of the scenario's; repeatable.")
]
Engine = Annotated[str, typer.Option(help="simpy or compiled; both give the same numbers.")]


def _check_json(place: str | None) -> str | None:
    """Refuse a place that cannot be written to before the work, not after it."""
    if place is not None:
        from sim.foundation.files import check_place

        check_place(place, what="--json")
    return place


Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", callback=_check_json, help="Write the result as JSON; - for stdout."),
]


def scenario_asked(
    scenario: str,
    *,
    rate: float | None = None,
    seed: int | None = None,
    trace: Path | None = None,
    how: tuple[str | None, str | None] = (None, None),
    changes: list[str] | None = None,
    aloud: bool = True,
) -> "Scenario":
    """Return the scenario with the changes given on the command line; with *aloud*, print how its trace was read."""
    from sim.runners.play import prepare
    from sim.scenario.assignments import change
    from sim.scenario.notes import loading_notes
    from sim.scenario.recorded import sample_notes
    from sim.scenario.scenario import load_scenario
    from sim.traces.options import trace_options

    given = any(part is not None for part in how)
    asked = prepare(scenario, rate_per_s=rate, trace=trace, how=trace_options(*how) if given else None)
    changed = dict(change(text) for text in changes or ())
    if seed is not None:
        changed["seed"] = seed
    asked = asked.with_(**changed) if changed else asked
    sampled = sample_notes(load_scenario(scenario), asked) if trace is not None else ()
    for note in (*(loading_notes(asked) if aloud else ()), *sampled):  # Results repeat the notes, but not this one.
        say(note)
    return asked


def check_save(path: Path, *, suffix: str, what: str = "save") -> None:
    """Refuse a place that cannot be written to, before the work whose result it is for."""
    from sim.foundation.errors import UsageError
    from sim.foundation.files import check_place

    if path.suffix != suffix:
        raise UsageError(f"{what}={str(path)!r} must end in {suffix}")
    check_place(path, what=what)


def typed(*, seed: int | None) -> str:
    """Return the command as it was typed, with the seed that it took if it named none."""
    named = [] if seed is None else ["--seed", str(seed)]
    return join(["headroom", *sys.argv[1:], *named])
