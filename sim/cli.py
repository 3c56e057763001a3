"""The command line: ``headroom plan`` and what stands around it.

Every command is one call of the package, and prints what that call returns. It says its results on standard output and
everything else on standard error; with ``--json -`` only the document is on standard output.

Exit status: 0 all targets met, 1 one missed, 2 a wrong call or an interrupted run, 3 not known (inconclusive, invalid),
4 a crash.

Imports stand inside the commands: ``headroom --help`` must not wait for NumPy.
"""

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
INTERRUPTED_STATUS = 130
"""What typer makes of Ctrl-C, without a word."""

app = typer.Typer(
    name="headroom",
    epilog="Exit status: 0 all targets met, 1 one missed, 2 wrong call or interrupted, 3 not known, 4 a crash.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ScenarioName = Annotated[str, typer.Argument(help="A scenario file, or the name of one in scenarios/.")]
Trace = Annotated[Path | None, typer.Option(help="CSV of real arrivals in place of the scenario's arrivals.")]
Rate = Annotated[float | None, typer.Option(metavar="PER_S", help="Another arrival rate than the scenario's.")]
Seed = Annotated[int | None, typer.Option(help="Chooses every random number; default: the scenario's.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Another value than the scenario's; repeatable.")
]
Engine = Annotated[str, typer.Option(help="simpy or compiled; both give the same numbers.")]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - for stdout.")]


@app.callback()
def components(
    component: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.py", help="Load components of your own; repeatable.")
    ] = None,
) -> None:
    """How far an edge deployment is from breaking its targets: simulated, measured, compared."""
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
    live: Annotated[bool, typer.Option(help="Play a part on a deployment, in real time.")] = True,
    on: Annotated[str, typer.Option(help="That deployment: reference, or workerd (the real runtime).")] = "reference",
    out: Annotated[Path, typer.Option(help="Folder for report, result and recorded run.")] = Path("out"),
    json: Json = None,
) -> int:
    """Simulate, measure, compare, judge, report."""
    from sim.experiments.plan import plan as do_plan
    from sim.report.json_document import plan_document
    from sim.report.output_folder import prepare_folder, write_plan
    from sim.report.terminal import plan_tables

    tell = _teller()
    asked = _asked(scenario, rate=rate, trace=trace, changes=changes)
    folder = prepare_folder(out, asked.name)
    found = do_plan(asked, rng=seed, engine=engine, live=live, on=on, tell=tell, progress=True)
    tell("writing the report")
    files = write_plan(found, folder)
    _show(plan_tables(found), document=plan_document(found), json=json)
    for path in files:
        _say(f"written: {path}")
    return found.exit_status


@app.command(epilog="Example: headroom run launch --on reference --save run.parquet")
def run(
    scenario: ScenarioName,
    *,
    on: Annotated[
        str, typer.Option(help="simpy, compiled, reference, workerd, a URL, or a .parquet run.")
    ] = "compiled",
    requests: Annotated[int | None, typer.Option(metavar="N", help="Play only the first N requests.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="PRECISION", help='Play replications until "p99 ± 2 %" is reached.')
    ] = None,
    requests_max: Annotated[
        int | None, typer.Option(metavar="N", help="With --until: at most N requests over all replications.")
    ] = None,
    rate: Rate = None,
    seed: Seed = None,
    trace: Trace = None,
    changes: Changes = None,
    save: Annotated[Path | None, typer.Option(metavar="RUN.parquet", help="Keep the run in one file.")] = None,
    json: Json = None,
) -> int:
    """Play a scenario once, and judge it; with --until as often as a precise answer takes."""
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
        raise UsageError(f"save={str(save)!r} keeps one run; it must not be given with --until")
    budget = REQUESTS_MAX if requests_max is None else requests_max
    found = run_until(asked, until, requests_max=budget, on_progress=_teller(), **how)
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
    seeds: Annotated[int, typer.Option(help="Independent searches; their spread is the interval.")] = 5,
    trace: Trace = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    json: Json = None,
) -> int:
    """Find the highest load that keeps the targets."""
    from sim.experiments.capacity import capacity as search
    from sim.report.json_document import capacity_document
    from sim.report.tables import capacity as capacity_grid
    from sim.report.terminal import table

    asked = _asked(scenario, trace=trace, changes=changes)
    found = search(asked, engine=engine, seeds=seeds, progress=_teller())
    _show([table(capacity_grid(found))], document=capacity_document(found), json=json)
    return 1 if found.missed else 0


@app.command(epilog="Example: headroom sweep launch --vary system.durable_objects.shards=1,4,16,per_key")
def sweep(
    scenario: ScenarioName,
    *,
    vary: Annotated[list[str], typer.Option(metavar="PATH=VALUES", help="Values by commas; repeatable: all pairs.")],
    seeds: Annotated[int, typer.Option(help="Replications of each point, with the same luck at every point.")] = 5,
    cluster: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run on this Dask scheduler.")] = None,
    trace: Trace = None,
    changes: Changes = None,
    engine: Engine = "compiled",
    json: Json = None,
) -> int:
    """Play every combination of some values."""
    from sim.experiments.sweep import sweep as do_sweep
    from sim.report.json_document import sweep_document
    from sim.report.tables import sweep as sweep_grid
    from sim.report.terminal import table
    from sim.scenario.assignments import values

    asked = _asked(scenario, trace=trace, changes=changes)
    points = dict(values(text) for text in vary)
    found = do_sweep(asked, vary=points, engine=engine, seeds=seeds, cluster=cluster, progress=True)
    _show([table(sweep_grid(found))], document=sweep_document(found), json=json)
    if found.ended_early:
        _say(f"headroom: {found.ended_early}")
    return USAGE_STATUS if found.interrupted else 0


@app.command(epilog="Example: headroom cost phase4")
def cost(
    scenario: ScenarioName,
    *,
    month: Annotated[int, typer.Option(help="Storage grows: 1 is the first month.")] = 1,
    trace: Trace = None,
    changes: Changes = None,
    json: Json = None,
) -> int:
    """Price a month of a scenario's load."""
    from sim.judgement.cost import cost as bill_of
    from sim.report.json_document import cost_document
    from sim.report.terminal import cost_table

    bill = bill_of(_asked(scenario, trace=trace, changes=changes), month=month)
    _show([cost_table(bill), *bill.notes], document=cost_document(bill), json=json)
    return 0


@app.command(epilog="Example: headroom compare simulated.parquet measured.parquet")
def compare(
    simulated: Annotated[Path, typer.Argument(help="A recorded run.")],
    measured: Annotated[Path, typer.Argument(help="Another, of the same requests.")],
    *,
    json: Json = None,
) -> int:
    """Lay two recorded runs side by side."""
    from sim.judgement.comparison import compare as lay
    from sim.report.json_document import comparison_document
    from sim.report.tables import comparison as comparison_grid
    from sim.report.terminal import table
    from sim.results.storage import load_run

    found = lay(load_run(simulated), load_run(measured))
    document = {"schema_version": 1, "agrees": found.agrees, "comparison": comparison_document(found)}
    _show([table(comparison_grid(found))], document=document, json=json)
    return 0 if found.agrees else 3


@app.command(epilog="Example: headroom serve --pace launch --port 8787")
def serve(
    *,
    on: Annotated[str, typer.Option(help="reference, or workerd (the real runtime, at its own pace).")] = "reference",
    pace: Annotated[
        str | None,
        typer.Option(metavar="SCENARIO", help="Serve this scenario's routes; the reference keeps its latencies too."),
    ] = None,
    port: Annotated[int, typer.Option(help="HTTP port on 127.0.0.1; 0 takes any.")] = 0,
    quic_port: Annotated[int, typer.Option(help="UDP port of the tunnel; 0 takes any.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of all state; default: gone at the end.")] = None,
) -> int:
    """Run a deployment until Ctrl-C."""
    from sim.errors import UsageError
    from sim.runners import reference, workerd
    from sim.scenario.scenario import load_scenario

    paced = None if pace is None else load_scenario(pace)
    if on == "reference":
        return reference.serve(paced, port=port, quic_port=quic_port, data=data)
    if on != "workerd":
        raise UsageError(f"on={on!r} must be reference or workerd")
    if quic_port:
        raise UsageError(f"quic_port={quic_port}: the runtime has no tunnel; leave it out")
    return workerd.serve(paced, port=port, data=data)


@app.command(epilog="Example: headroom report reports/targets.ipynb")
def report(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to execute.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the HTML.")] = Path("out/notebooks"),
) -> int:
    """Execute notebooks, render them as HTML."""
    from sim.report.notebooks import render

    for path in notebooks:
        _say(f"written: {render(path, out)}")
    return 0


@app.command()
def lab() -> int:
    """Open JupyterLab at the first notebook."""
    from sim.report.notebooks import open_lab

    return open_lab()


def main() -> None:
    """Run the command; every error is one line: status 2 for what a user can cause, 4 for a defect of ours."""
    from sim.errors import SimError

    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED_STATUS:
            raise KeyboardInterrupt
    except TyperException as error:
        status = _refuse(error.format_message())
    except SimError as error:
        status = _refuse(str(error), *getattr(error, "__notes__", ()))
    except (KeyboardInterrupt, typer.Abort):
        status = _refuse("interrupted, before there was anything to keep")
    except BrokenPipeError:
        sys.stderr.close()  # Whoever read our output has had enough.
        status = 1
    except Exception as error:  # noqa: BLE001  # the last door: whatever it is, it must not pass for a missed target
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
    scenario: str, *, rate: float | None = None, trace: Path | None = None, changes: list[str] | None = None
) -> "Scenario":
    """The scenario as asked for on the command line."""
    from sim.runners.play import prepare
    from sim.scenario.assignments import change

    asked = prepare(scenario, rate_per_s=rate, trace=trace)
    return asked.with_(**dict(change(text) for text in changes)) if changes else asked


def _teller() -> "Callable[[str], None]":
    """Where progress is told: on a terminal, and nowhere when piped."""
    return _say if sys.stderr.isatty() else lambda _: None


def _check_place(path: Path, *, suffix: str) -> None:
    from sim.errors import UsageError

    if path.suffix != suffix:
        raise UsageError(f"save={str(path)!r} must end in {suffix}")
    if not path.parent.is_dir():
        raise UsageError(f"save={str(path)!r}: the folder {str(path.parent)!r} must exist")


def _show(tables: "Iterable[RenderableType]", *, document: "Document", json: str | None) -> None:
    """Print tables, on standard error if standard output is for the document."""
    from sim.report.json_document import write_document

    console = _console(to_stderr=json == "-")
    for table in tables:
        console.print(table)
    if json is not None:
        write_document(document, json)


def _console(*, to_stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    # A pipe has no width of its own: tables must not be cut to 80 columns there.
    return Console(file=stream, width=None if stream.isatty() else 160, highlight=False)


if __name__ == "__main__":
    main()
