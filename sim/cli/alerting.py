"""The command about monitoring: ``alerts``."""

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.application import app
from sim.cli.options import Changes, Json, ScenarioName, Seed, scenario_asked
from sim.report.console import progress_printer, say, show


@app.command(epilog="Example: headroom alerts launch --out rules/")
def alerts(
    scenario: ScenarioName,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the rules and their tests for promtool here.")
    ] = None,
    runbooks: Annotated[
        str, typer.Option(metavar="URL", help="Where the runbooks are; every alert links to one.")
    ] = "docs/runbooks",
    incidents: Annotated[int, typer.Option(help="Simulated incidents.")] = 200,
    quarters: Annotated[int, typer.Option(help="Quiet quarters, for false alarms.")] = 20,
    seed: Seed = None,
    changes: Changes = None,
    json: Json = None,
) -> int:
    """Write burn-rate alerts for a scenario's targets, and backtest them on simulated incidents and quiet quarters."""
    from sim.experiments.alerting.alerts import alerts as do_alerts
    from sim.experiments.alerting.files import alerts_folder, write_alerts
    from sim.report.alert_tables import alerts_document, alerts_tables

    asked = scenario_asked(scenario, changes=changes)
    if out is not None:
        alerts_folder(out)
    found = do_alerts(
        asked, incidents=incidents, quarters=quarters, rng=asked.seed if seed is None else seed,
        on_progress=progress_printer(),
    )  # fmt: skip
    show(alerts_tables(found), document=alerts_document(found), json=json)
    if out is not None:
        for path in write_alerts(found, out, runbooks=runbooks):
            say(f"written: {path}")
    return 0
