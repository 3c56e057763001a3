"""Commands about a deployment: ``init``, ``lint``, ``calibrate``, ``compare``, ``serve``."""

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.application import app
from sim.cli.options import (
    Changes,
    Columns,
    Json,
    ScenarioName,
    Seed,
    check_save,
    scenario_asked,
)
from sim.report.console import say, show


@app.command(epilog="Example: headroom init my-worker/ --log requests.csv --out ours.toml")
def init(
    config: Annotated[Path | None, typer.Argument(help="A Wrangler configuration, or its folder.")] = None,
    *,
    log: Annotated[Path | None, typer.Option(help="Requests of the deployment: CSV, JSON, or an access log.")] = None,
    columns: Columns = None,
    out: Annotated[Path, typer.Option(metavar="FILE.toml", help="The scenario; it must not exist.")] = Path(
        "ours.toml"
    ),
    env: Annotated[str, typer.Option(help="Environment of the configuration.")] = "",
    sample: Annotated[float, typer.Option(metavar="SHARE", help="Share of the requests that the log holds.")] = 1.0,
) -> int:
    """Draft a scenario from a configuration and a log; without them, an example."""
    from sim.scaffold.drafting import init as do_init
    from sim.traces.options import trace_options

    how = trace_options(columns) if columns is not None else None
    found = do_init(config, log=log, out=out, environment=env, sample_share=sample, how=how)
    for line in found.notes:
        say(line)
    for line in found.lacking:
        say(f"not expressed: {line}")
    say(f"written: {out}; next: headroom plan {out}")
    return 0


@app.command(epilog="Example: headroom lint my-worker/")
def lint(
    path: Annotated[Path, typer.Argument(help="A Wrangler configuration, or a folder that holds one.")] = Path(),
    *,
    ignore: Annotated[list[str] | None, typer.Option(metavar="RULE", help="Leave this rule out; repeatable.")] = None,
    json: Json = None,
) -> int:
    """Say what is wrong with a deployment's files, without running them; status 1 if there is more than notes."""
    from sim.report.json_document import lint_document
    from sim.report.lint_tables import findings, summary
    from sim.report.terminal import table
    from sim.scaffold.lint.linting import lint as do_lint

    found = do_lint(path, ignore=tuple(ignore or ()))
    show([table(findings(found))] if found.findings else [], document=lint_document(found), json=json)
    say(summary(found))
    return 1 if found.failed else 0


@app.command(epilog="Example: headroom calibrate launch low.parquet --out ours.toml")
def calibrate(
    scenario: ScenarioName,
    runs: Annotated[list[Path] | None, typer.Argument(help="Runs at low load (headroom run --save).")] = None,
    *,
    log: Annotated[
        list[Path] | None, typer.Option(help="Workers trace events, or D1's meta, a JSON object a line; repeatable.")
    ] = None,
    ramp: Annotated[list[Path] | None, typer.Option(help="Runs of rising load; repeatable.")] = None,
    hold: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A distribution to believe as it is; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="The calibrated scenario.")] = None,
    seed: Seed = None,
    json: Json = None,
) -> int:
    """Calibrate a scenario from runs and logs; refuse what they do not identify."""
    from sim.experiments.calibration.calibrate import calibrate as do_calibrate
    from sim.report.calibration_report import calibration_document, calibration_tables

    if out is not None:
        check_save(out, suffix=".toml", what="out")
    found = do_calibrate(scenario, runs or (), logs=log or (), ramp=ramp or (), hold=hold or (), out=out, rng=seed or 0)
    show(calibration_tables(found), document=calibration_document(found), json=json)
    if out is not None:
        say(f"written: {out}; next: headroom plan {out}")
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

    first, second = load_run(simulated), load_run(measured)
    found = compare_runs(first, second)
    document = {"schema_version": 1, "agrees": found.agrees, "comparison": comparison_document(found)}
    names = None if second.generator else (simulated.stem, measured.stem)  # Only live runs have a load generator.
    show([table(comparison_grid(found, names=names))], document=document, json=json)
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
    data: Annotated[Path | None, typer.Option(help="Folder for all state; default: a temporary one.")] = None,
    seed: Seed = None,
    changes: Changes = None,
) -> int:
    """Run a deployment until Ctrl-C; its first line says where, for `run --on FILE.json`."""
    from sim.foundation.errors import UsageError
    from sim.runners import reference, workerd

    paced = None if pace is None else scenario_asked(pace, seed=seed, changes=changes)
    if paced is not None and paced.faults:
        rule = "must be 0 to be served: their times are those of a run"
        raise UsageError(f"faults={len(paced.faults)} {rule} (--set faults=[], or headroom run --on reference)")
    if on == "reference":
        return reference.serve(paced, port=port, quic_port=quic_port, data=data)
    if on != "workerd":
        raise UsageError(f"on={on!r} must be reference or workerd")
    if quic_port:
        raise UsageError(f"quic_port={quic_port}: the runtime has no tunnel; leave it out")
    return workerd.serve(paced, port=port, data=data)
