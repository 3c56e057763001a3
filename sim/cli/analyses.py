"""Commands that analyse a scenario: ``plan``, ``run``, ``capacity``, ``sweep``, ``uncertainty``, ``cost``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.application import app
from sim.cli.options import (
    USAGE_STATUS,
    Changes,
    Columns,
    Engine,
    Json,
    Rate,
    ScenarioName,
    Seed,
    Trace,
    Unmatched,
    check_save,
    scenario_asked,
    typed,
)
from sim.cli.results import finish
from sim.report.console import progress_printer, say, show

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario


@app.command(epilog="Example: headroom plan launch --trace requests.csv")
def plan(
    scenario: ScenarioName = "launch",
    *,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    rate: Rate = None,
    seed: Seed = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    live: Annotated[bool, typer.Option(help="Play a part on a deployment, in real time.")] = True,
    on: Annotated[str, typer.Option(help="That deployment: reference, or workerd (the real runtime).")] = "reference",
    out: Annotated[Path, typer.Option(help="Folder for the report, the results and the recorded run.")] = Path("out"),
    json: Json = None,
) -> int:
    """Simulate a scenario, measure it on the reference, compare, judge the targets and write a report."""
    from sim.experiments.plan import plan as do_plan
    from sim.report.json_document import plan_document
    from sim.report.output_folder import prepared_folder, write_plan
    from sim.report.terminal import plan_tables

    on_progress = progress_printer()
    how = (columns, unmatched)
    asked = scenario_asked(scenario, rate=rate, trace=trace, how=how, changes=changes, aloud=False)
    with prepared_folder(out, asked.name) as folder:
        found = do_plan(asked, rng=seed, engine=engine, live=live, on=on, on_progress=on_progress, progress=True)
        on_progress("writing the report")
        files = write_plan(found, folder, command=typed(seed=None if seed is not None else found.seed))
    show(plan_tables(found), document=plan_document(found), json=json)
    for path in files:
        say(f"written: {path}")
    return found.exit_status


@app.command(epilog="Example: headroom run launch --on reference --save run.parquet")
def run(
    scenario: ScenarioName,
    *,
    on: Annotated[
        str, typer.Option(help="simpy, compiled, reference, workerd, URL, server.json, or run.parquet.")
    ] = "compiled",
    requests: Annotated[int | None, typer.Option(metavar="N", help="Play only the first N requests.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="PRECISION", help='Run replications until a precision such as "p99 ± 2 %".')
    ] = None,
    requests_max: Annotated[
        int | None, typer.Option(metavar="N", help="With --until: at most N requests over all replications.")
    ] = None,
    rate: Rate = None,
    seed: Seed = None,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    changes: Changes = None,
    save: Annotated[Path | None, typer.Option(metavar="RUN.parquet", help="Save the run to this file.")] = None,
    json: Json = None,
) -> int:
    """Run a scenario once and judge it; with --until, run replications until the answer is precise enough."""
    from sim.runners.play import run as do_run

    if save is not None:
        check_save(save, suffix=".parquet")
    asked = scenario_asked(scenario, rate=rate, trace=trace, how=(columns, unmatched), changes=changes, aloud=False)
    if until is not None or requests_max is not None:
        return _run_until(
            asked, until, on=on, rng=seed, requests=requests, requests_max=requests_max, save=save, json=json
        )
    result = do_run(asked, on, rng=seed, requests=requests, progress=True)
    return finish(result, save=save, json=json)


def _run_until(
    asked: "Scenario", until: str | None, *, requests_max: int | None, save: Path | None, json: str | None, **how: Any
) -> int:
    from sim.experiments.stopping import REQUESTS_MAX, run_until, target_of
    from sim.foundation.errors import UsageError
    from sim.judgement.judge import status_of
    from sim.judgement.targets import decide
    from sim.report.json_document import sequential_document
    from sim.report.tables import sequential
    from sim.report.terminal import table

    if until is None:
        raise UsageError(f'requests_max={requests_max} needs --until (--until "p99 ± 2 %")')
    if save is not None:
        raise UsageError(f"save={str(save)!r} saves one run; it must not be given with --until")
    budget = REQUESTS_MAX if requests_max is None else requests_max
    found = run_until(asked, until, requests_max=budget, on_progress=progress_printer(), **how)
    show([table(sequential(found, asked))], document=sequential_document(found, asked), json=json)
    if found.interrupted:
        return USAGE_STATUS
    line = target_of(found.precision, asked)
    if line is not None:
        return status_of(decide(found.estimate.low, found.estimate.high, line=line))
    return 0 if found.reached else 3


@app.command(epilog="Example: headroom capacity phase4")
def capacity(
    scenario: ScenarioName,
    *,
    seeds: Annotated[int, typer.Option(help="Independent searches; their variance gives the interval.")] = 5,
    seed: Seed = None,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    json: Json = None,
) -> int:
    """Find the highest load that meets the targets."""
    from sim.experiments.capacity import capacity as search
    from sim.report.json_document import capacity_document
    from sim.report.tables import capacity as capacity_grid
    from sim.report.terminal import table

    asked = scenario_asked(scenario, seed=seed, trace=trace, how=(columns, unmatched), changes=changes)
    found = search(asked, engine=engine, seeds=seeds, on_progress=progress_printer())
    show([table(capacity_grid(found))], document=capacity_document(found), json=json)
    return 1 if found.missed or found.lower.missed_at is not None else 0


@app.command(epilog="Example: headroom sweep launch --vary system.durable_objects.shards=1,4,16,per_key")
def sweep(
    scenario: ScenarioName,
    *,
    vary: Annotated[
        list[str], typer.Option(metavar="PATH=VALUES", help="Comma-separated values; repeatable: all combinations.")
    ],
    seeds: Annotated[int, typer.Option(help="Replications of each point, with common random numbers.")] = 5,
    cluster: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run on this Dask scheduler.")] = None,
    rate: Rate = None,
    seed: Seed = None,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    json: Json = None,
) -> int:
    """Simulate every combination of some values."""
    from sim.experiments.sweep import sweep as do_sweep
    from sim.judgement.judge import status_of, worst
    from sim.report.json_document import sweep_document
    from sim.report.tables import sweep as sweep_grid
    from sim.report.terminal import table
    from sim.scenario.assignments import values

    asked = scenario_asked(scenario, rate=rate, seed=seed, trace=trace, how=(columns, unmatched), changes=changes)
    points = dict(values(text) for text in vary)
    found = do_sweep(asked, vary=points, engine=engine, seeds=seeds, cluster=cluster, progress=True)
    show([table(sweep_grid(found))], document=sweep_document(found), json=json)
    if found.ended_early:
        say(f"headroom: {found.ended_early}")
    return USAGE_STATUS if found.interrupted else status_of(worst(found.points["verdict"]))


@app.command(epilog="Example: headroom uncertainty launch --factor 1.5")
def uncertainty(
    scenario: ScenarioName,
    *,
    factor: Annotated[
        float, typer.Option(help="Each low-confidence number is divided and multiplied by up to it.")
    ] = 2.0,
    draws: Annotated[int, typer.Option(help="Random variants behind the shares that meet each target.")] = 256,
    rate: Rate = None,
    seed: Seed = None,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    json: Json = None,
) -> int:
    """Vary all low-confidence numbers at once: what they leave open, and which to measure."""
    from sim.experiments.uncertainty import uncertainty as study
    from sim.report.json_document import uncertainty_document
    from sim.report.terminal import table
    from sim.report.uncertainty_tables import shares, spread

    asked = scenario_asked(scenario, rate=rate, seed=seed, trace=trace, how=(columns, unmatched), changes=changes)
    found = study(asked, factor=factor, draws=draws, engine=engine, on_progress=progress_printer())
    grids = [spread(found), *([shares(found)] if any(one.shares for one in found.outputs) else [])]
    show([table(one) for one in grids], document=uncertainty_document(found), json=json)
    if found.ended_early:
        say(f"headroom: {found.ended_early}")
        return USAGE_STATUS
    return 0


@app.command(epilog="Example: headroom cost phase4 --runaway")
def cost(
    scenario: ScenarioName,
    *,
    month: Annotated[int, typer.Option(help="Storage and traffic grow: 1 is the first month.")] = 1,
    history: Annotated[Path | None, typer.Option(help="CSV of days, date,count: forecast the month from it.")] = None,
    runaway: Annotated[bool, typer.Option(help="Price an alarm loop, a full scan and a retry storm too.")] = False,
    spending_limit: Annotated[
        float, typer.Option(metavar="USD", help="The account's spending limit above its usual month.")
    ] = 100.0,
    first_day: Annotated[
        str | None, typer.Option(metavar="DATE", help="First day of month 1; without it, the platform file's.")
    ] = None,
    rate: Rate = None,
    trace: Trace = None,
    columns: Columns = None,
    unmatched: Unmatched = None,
    changes: Changes = None,
    json: Json = None,
) -> int:
    """Estimate the monthly bill of a volume, and what breaks first as it grows."""
    from sim.judgement.cost import cost as bill_of
    from sim.report.json_document import cost_document
    from sim.report.terminal import cost_tables
    from sim.scenario.recorded import volume_notes
    from sim.scenario.scenario import load_scenario

    asked = scenario_asked(scenario, rate=rate, trace=trace, how=(columns, unmatched), changes=changes)
    for note in volume_notes(load_scenario(scenario), asked) if trace is not None else ():
        say(note)
    bill = bill_of(asked, month=month, history=history, spending_limit_usd=spending_limit, first_day=first_day)
    show(cost_tables(bill, runaway=runaway), document=cost_document(bill), json=json)
    return 0
