"""The command ``size``: one design number at a time, with what is as good."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.application import app
from sim.cli.options import Changes, Columns, Json, Rate, ScenarioName, Seed, Trace, Unmatched, scenario_asked
from sim.report.console import progress_printer, show

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

OTHERS = ("servers", "one_down")
"""Beside the sizings that compare choices."""

WHAT = "shards, part_size, heartbeat, idle, probe_interval, d1_split, servers, or one_down"


@app.command(epilog="Example: headroom size shards phase4")
def size(
    what: Annotated[str, typer.Argument(help=f"{WHAT}.", metavar="WHAT")],
    scenario: ScenarioName,
    *,
    values: Annotated[
        str | None, typer.Option(metavar="V,V,...", help="Compare these values in place of the usual ones.")
    ] = None,
    of: Annotated[
        str | None, typer.Option(metavar="NAME", help="The instance, of several; by default that with most traffic.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Replications of each choice, with common random numbers.")] = None,
    rate: Rate = None,
    seed: Seed = None,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    changes: Changes = None,
    json: Json = None,
) -> int:
    """Choose one design number: every sensible value simulated, the answer, its interval, and what is as good."""
    from sim.experiments.sizing.size import SIZINGS
    from sim.foundation.errors import UsageError

    if what not in (*SIZINGS, *OTHERS):
        raise UsageError(f"what={what!r} must be one of {', '.join((*SIZINGS, *OTHERS))}")
    if what not in SIZINGS and values is not None:
        raise UsageError(f"values={values!r} must not be given with {what}: there are no choices to compare")
    if what not in SIZINGS and of is not None:
        raise UsageError(f"of={of!r} must not be given with {what}: it is of every instance")
    asked = scenario_asked(scenario, rate=rate, seed=seed, trace=trace, how=(columns, unmatched), changes=changes)
    how: dict[str, Any] = {"on_progress": progress_printer(), **({} if seeds is None else {"seeds": seeds})}
    if what == "servers":
        shown, document = _servers(asked, how)
    elif what == "one_down":
        shown, document = _one_down(asked, how)
    else:
        shown, document = _choices(what, asked, values=values, how={**how, "of": of})
    show([shown], document=document, json=json)
    return 0


def _choices(what: str, asked: "Scenario", *, values: str | None, how: dict[str, Any]) -> tuple[Any, Any]:
    from sim.experiments.sizing.size import size as do_size
    from sim.report.sizing_document import sizing_document
    from sim.report.sizing_tables import sizing
    from sim.report.terminal import table
    from sim.scenario.assignments import values as read

    chosen = None if values is None else read(f"values={values}")[1]
    found = do_size(asked, what, values=chosen, **how)
    return table(sizing(found)), sizing_document(found)


def _servers(asked: "Scenario", how: dict[str, Any]) -> tuple[Any, Any]:
    from sim.experiments.sizing.servers import servers
    from sim.report.sizing_document import servers_document
    from sim.report.sizing_tables import servers as grid
    from sim.report.terminal import table

    found = servers(asked, **how)
    return table(grid(found)), servers_document(found)


def _one_down(asked: "Scenario", how: dict[str, Any]) -> tuple[Any, Any]:
    from sim.experiments.sizing.one_down import one_down
    from sim.report.sizing_document import one_down_document
    from sim.report.sizing_tables import one_down as grid
    from sim.report.terminal import table

    found = one_down(asked, **how)
    return table(grid(found)), one_down_document(found)
