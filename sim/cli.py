"""The command line interface: ``headroom plan`` and the other commands.

Each command makes one call of the package and prints what it returns. Results go to standard output and everything else
to standard error; with ``--json -`` standard output holds the JSON document alone.

Exit status: 0 all targets met, 1 one missed, 2 a usage error or an interrupted run, 3 not known (inconclusive,
invalid), 4 a crash.

Imports are inside the commands so that ``headroom --help`` does not wait for NumPy.
"""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sim.report.json_document import Document
    from sim.scenario.scenario import Scenario

USAGE_STATUS = 2
PIPE_COLUMNS = 160
INTERRUPTED_STATUS = 130
"""Status that typer returns after Ctrl-C, without a message."""

app = typer.Typer(
    name="headroom",
    epilog="Exit status: 0 all targets met, 1 one missed, 2 usage error or interrupted, 3 not known, 4 a crash.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ScenarioName = Annotated[str, typer.Argument(help="A scenario file, or the name of one in scenarios/.")]
Trace = Annotated[Path | None, typer.Option(help="CSV of real arrivals in place of the scenario's arrivals.")]
Rate = Annotated[float | None, typer.Option(metavar="PER_S", help="Arrival rate in place of the scenario's.")]
Seed = Annotated[int | None, typer.Option(help="Seed of all random numbers; default: the scenario's.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Value in place of the scenario's; repeatable.")
]
Engine = Annotated[str, typer.Option(help="simpy or compiled; both give the same numbers.")]


def _check_json(place: str | None) -> str | None:
    """Refuse a place that cannot be written to before the work, not after it."""
    if place is not None:
        from sim.files import check_place

        check_place(place, what="--json")
    return place


Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", callback=_check_json, help="Write the result as JSON; - for stdout."),
]


def _print_version(asked: bool) -> None:  # noqa: FBT001  # typer calls it so
    if asked:
        from sim.version import __version__

        typer.echo(f"headroom {__version__}")
        raise typer.Exit


@app.callback()
def components(
    *,
    version: Annotated[  # noqa: ARG001  # its callback prints it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    component: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.py", help="Load your own components; repeatable.")
    ] = None,
) -> None:
    """Plan the capacity of an edge deployment: simulate it, measure it and compare the two."""
    if component:
        from sim.models.own import load_components

        for file in component:
            load_components(file)


@app.command(epilog="Example: headroom plan launch --trace requests.csv")
def plan(
    scenario: ScenarioName = "launch",
    *,
    trace: Trace = None,
    rate: Rate = None,
    seed: Seed = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    live: Annotated[bool, typer.Option(help="Play a part on the embedded reference, in real time.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for the report, the results and the recorded run.")] = Path("out"),
    json: Json = None,
) -> int:
    """Simulate a scenario, measure it on the reference, compare, judge the targets and write a report."""
    from sim.experiments.plan import plan as do_plan
    from sim.report.json_document import plan_document
    from sim.report.output_folder import prepared_folder, write_plan
    from sim.report.terminal import plan_tables

    on_progress = _progress_printer()
    asked = _asked(scenario, rate=rate, trace=trace, changes=changes)
    with prepared_folder(out, asked.name) as folder:
        found = do_plan(asked, rng=seed, engine=engine, live=live, on_progress=on_progress, progress=True)
        on_progress("writing the report")
        files = write_plan(found, folder)
    _show(plan_tables(found), document=plan_document(found), json=json)
    for path in files:
        _say(f"written: {path}")
    return found.exit_status


@app.command(epilog="Example: headroom run launch --on reference --save run.parquet")
def run(
    scenario: ScenarioName,
    *,
    on: Annotated[str, typer.Option(help="simpy, compiled, reference, URL, server.json, or run.parquet.")] = "compiled",
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
    changes: Changes = None,
    save: Annotated[Path | None, typer.Option(metavar="RUN.parquet", help="Save the run to this file.")] = None,
    json: Json = None,
) -> int:
    """Run a scenario once and judge it; with --until, run replications until the answer is precise enough."""
    from sim.judgement.judge import status_of
    from sim.judgement.targets import Verdict
    from sim.report.json_document import run_document
    from sim.report.terminal import run_tables
    from sim.runners.play import run as do_run

    if save is not None:
        _check_place(save, suffix=".parquet")
    asked = _asked(scenario, rate=rate, trace=trace, changes=changes)
    if until is not None or requests_max is not None:
        return _run_until(
            asked, until, on=on, rng=seed, requests=requests, requests_max=requests_max, save=save, json=json
        )
    result = do_run(asked, on, rng=seed, requests=requests, progress=True)
    if save is not None:
        from sim.results.storage import save_run

        save_run(result, save)
        _say(f"written: {save}")
    document = run_document(result)
    _show(run_tables(result), document=document, json=json)
    return USAGE_STATUS if result.interrupted else status_of(Verdict(document["verdict"]))


def _run_until(
    asked: "Scenario", until: str | None, *, requests_max: int | None, save: Path | None, json: str | None, **how: Any
) -> int:
    from sim.errors import UsageError
    from sim.experiments.stopping import REQUESTS_MAX, run_until, target_of
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
    found = run_until(asked, until, requests_max=budget, on_progress=_progress_printer(), **how)
    _show([table(sequential(found, asked))], document=sequential_document(found, asked), json=json)
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
    changes: Changes = None,
    engine: Engine = "compiled",
    json: Json = None,
) -> int:
    """Find the highest load that meets the targets."""
    from sim.experiments.capacity import capacity as search
    from sim.report.json_document import capacity_document
    from sim.report.tables import capacity as capacity_grid
    from sim.report.terminal import table

    asked = _asked(scenario, seed=seed, trace=trace, changes=changes)
    found = search(asked, engine=engine, seeds=seeds, on_progress=_progress_printer())
    _show([table(capacity_grid(found))], document=capacity_document(found), json=json)
    return 1 if found.missed else 0


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

    asked = _asked(scenario, rate=rate, seed=seed, trace=trace, changes=changes)
    points = dict(values(text) for text in vary)
    found = do_sweep(asked, vary=points, engine=engine, seeds=seeds, cluster=cluster, progress=True)
    _show([table(sweep_grid(found))], document=sweep_document(found), json=json)
    if found.ended_early:
        _say(f"headroom: {found.ended_early}")
    return USAGE_STATUS if found.interrupted else status_of(worst(found.points["verdict"]))


@app.command(epilog="Example: headroom cost phase4")
def cost(
    scenario: ScenarioName,
    *,
    month: Annotated[int, typer.Option(help="Storage grows: 1 is the first month.")] = 1,
    rate: Rate = None,
    trace: Trace = None,
    changes: Changes = None,
    json: Json = None,
) -> int:
    """Estimate the monthly bill of a scenario's load."""
    from sim.judgement.cost import cost as bill_of
    from sim.report.json_document import cost_document
    from sim.report.terminal import cost_table

    bill = bill_of(_asked(scenario, rate=rate, trace=trace, changes=changes), month=month)
    _show([cost_table(bill), *bill.notes], document=cost_document(bill), json=json)
    return 0


@app.command(epilog="Example: headroom compare simulated.parquet measured.parquet")
def compare(
    simulated: Annotated[Path, typer.Argument(help="A recorded run.")],
    measured: Annotated[Path, typer.Argument(help="Another recorded run of the same requests.")],
    *,
    json: Json = None,
) -> int:
    """Compare two recorded runs of the same requests."""
    from sim.judgement.comparison import compare as compare_runs
    from sim.report.json_document import comparison_document
    from sim.report.tables import comparison as comparison_grid
    from sim.report.terminal import table
    from sim.results.storage import load_run

    found = compare_runs(load_run(simulated), load_run(measured))
    document = {"schema_version": 1, "agrees": found.agrees, "comparison": comparison_document(found)}
    _show([table(comparison_grid(found))], document=document, json=json)
    return 0 if found.agrees else 3


@app.command(epilog="Example: headroom serve --pace launch --port 8787")
def serve(
    *,
    pace: Annotated[
        str | None, typer.Option(metavar="SCENARIO", help="Pace answers to this scenario's latencies.")
    ] = None,
    port: Annotated[int, typer.Option(help="HTTP port on 127.0.0.1; 0 takes any.")] = 0,
    quic_port: Annotated[int, typer.Option(help="UDP port of the tunnel; 0 takes any.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder for all state; default: a temporary one.")] = None,
    seed: Seed = None,
    changes: Changes = None,
) -> int:
    """Run the reference deployment until Ctrl-C; its first line says where, for `run --on FILE.json`."""
    from sim.runners.reference import serve as do_serve

    paced = None if pace is None else _asked(pace, seed=seed, changes=changes)
    return do_serve(paced, port=port, quic_port=quic_port, data=data)


@app.command(epilog="Example: headroom report reports/targets.ipynb")
def report(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to execute.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the HTML.")] = Path("out/notebooks"),
) -> int:
    """Execute notebooks and render them as HTML."""
    from sim.report.notebooks import render

    for path in notebooks:
        _say(f"written: {render(path, out)}")
    return 0


@app.command()
def lab(
    notebook: Annotated[str | None, typer.Argument(help="Default: the first of the project's.")] = None,
    *,
    port: Annotated[int | None, typer.Option(help="Default: the first free one from 8888.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> int:
    """Open JupyterLab at the first notebook."""
    from sim.report.notebooks import open_lab

    return open_lab(notebook, port=port, browser=browser)


def main() -> None:
    """Run the command; print an error as one line, with status 2 for a user's error and 4 for a defect of ours."""
    from sim.errors import SimError

    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no "±" shows a "?" in its place, and not a traceback.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # both are TextIOWrappers
    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED_STATUS:
            raise KeyboardInterrupt
    except TyperException as error:
        status = _refuse(error.format_message())
    except SimError as error:
        status = _refuse(str(error), *getattr(error, "__notes__", ()))
    except (KeyboardInterrupt, typer.Abort):
        status = _refuse("interrupted before there was a result")
    except BrokenPipeError:
        sys.stderr.close()  # The reader closed the pipe; do not fail again when Python flushes it.
        status = 1
    except Exception as error:  # noqa: BLE001  # a crash must not exit with status 1, a missed target
        from sim.report.crash import report_crash

        status = report_crash(error, arguments=sys.argv[1:], say=_say)
    sys.exit(status)


def _refuse(message: str, *notes: str) -> int:
    for line in (message, *notes):
        _say(f"headroom: {line}")
    return USAGE_STATUS


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _asked(
    scenario: str,
    *,
    rate: float | None = None,
    seed: int | None = None,
    trace: Path | None = None,
    changes: list[str] | None = None,
) -> "Scenario":
    """Return the scenario with the changes given on the command line."""
    from sim.runners.play import prepare
    from sim.scenario.assignments import change

    asked = prepare(scenario, rate_per_s=rate, trace=trace)
    changed = dict(change(text) for text in changes or ())
    if seed is not None:
        changed["seed"] = seed
    return asked.with_(**changed) if changed else asked


def _progress_printer() -> "Callable[[str], None]":
    """Return a callback that prints progress on standard error if it is a terminal, and does nothing otherwise."""
    return _say if sys.stderr.isatty() else lambda _: None


def _check_place(path: Path, *, suffix: str) -> None:
    from sim.errors import UsageError
    from sim.files import check_place

    if path.suffix != suffix:
        raise UsageError(f"save={str(path)!r} must end in {suffix}")
    check_place(path, what="save")


def _show(tables: "Iterable[RenderableType]", *, document: "Document", json: str | None) -> None:
    """Print tables, on standard error if the document goes to standard output; write the document if asked."""
    from sim.report.json_document import write_document

    console = _console(to_stderr=json == "-")
    for table in tables:
        console.print(table)
    if json is not None:
        write_document(document, json)


def _console(*, to_stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    # A pipe has no width; without this rich would cut tables to 80 columns there.
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdecimal() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False)


if __name__ == "__main__":
    main()
