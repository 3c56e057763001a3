"""Commands that load a deployment: ``load``, ``export``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.application import app
from sim.cli.options import Changes, Json, ScenarioName, Seed, check_save, scenario_asked
from sim.cli.results import finish
from sim.report.console import progress_printer, say, show

if TYPE_CHECKING:
    from sim.runners.load.options import LoadOptions
    from sim.runners.load.s3_target import S3Target
    from sim.scenario.scenario import Scenario

Url = Annotated[str, typer.Argument(metavar="URL", help="The deployment: https://HOST, or the .json of a server.")]

Http3 = Annotated[bool, typer.Option(help="Send over HTTP/3, as https+h3://HOST asks for, too.")]
S3 = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Send uploads into R2 to this endpoint and bucket: https://HOST/BUCKET."),
]


@app.command(epilog="Example: headroom load feed https://staging.example.com --allow staging.example.com --dry-run")
def load(
    scenario: ScenarioName,
    url: Url,
    *,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Host that may be loaded, beside this machine; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be sent and what it costs; send nothing.")] = False,
    search: Annotated[
        bool, typer.Option(help="Search the highest rate that keeps the targets; URL may be reference or workerd.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(metavar="PER_S", help="Arrival rate in place of the scenario's.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="S", help="Length of what is judged; with --search, of each probe.")
    ] = None,
    warm_up: Annotated[
        float | None, typer.Option(metavar="S", help="Played before and not judged; default: a tenth of --duration.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Header of every request; NAME=env:VARIABLE for a secret; repeatable."),
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes of this machine that share the sending.")] = 1,
    connections: Annotated[int, typer.Option(help="At most so many connections; 0: as many as in flight.")] = 0,
    keep_alive: Annotated[bool, typer.Option(help="Use a connection for several requests.")] = True,
    http3: Http3 = False,
    s3: S3 = None,
    max_requests: Annotated[int | None, typer.Option(metavar="N", help="Cap on requests.")] = None,
    max_rate: Annotated[float | None, typer.Option(metavar="PER_S", help="Cap on requests in any second.")] = None,
    max_duration: Annotated[float | None, typer.Option(metavar="S", help="Cap on the length of a run.")] = None,
    max_usd: Annotated[float | None, typer.Option(metavar="USD", help="Cap on the estimated cost.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(metavar="N", help="Cap on concurrent requests.")] = None,
    seed: Seed = None,
    changes: Changes = None,
    save: Annotated[Path | None, typer.Option(metavar="RUN.parquet", help="Save the run to this file.")] = None,
    json: Json = None,
) -> int:
    """Load a deployment at a URL within hard limits, and judge it; --dry-run says first what would be sent."""
    from sim.experiments.load import load as do_load
    from sim.foundation.errors import UsageError

    if save is not None:
        check_save(save, suffix=".parquet")
    if search and (dry_run or save is not None or warm_up is not None):
        raise UsageError("search must not be given with --dry-run, --save or --warm-up")
    asked = scenario_asked(scenario, seed=seed, changes=changes, aloud=False)
    limits = {
        "requests": max_requests, "rate_per_s": max_rate, "duration_s": max_duration, "usd": max_usd,
        "in_flight": max_in_flight,
    }  # fmt: skip
    connecting = {"connections": connections, "keep_alive": keep_alive, "http3": http3, "s3": _target(s3)}
    options = _options(_like(url, search=search), allow, header, limits, connecting)
    if search:
        return _search(asked, url, options, rate=rate, duration=duration, processes=processes, json=json)
    how: dict[str, Any] = {"rate_per_s": rate, "duration_s": duration, "warm_up_s": warm_up}
    if dry_run:
        return _dry_run(asked, url, options, how=how, processes=processes, json=json)
    result = do_load(asked, url, options=options, processes=processes, progress=True, **how)
    return finish(result, save=save, json=json)


def _like(url: str, *, search: bool) -> str:
    """Return the address whose default options are taken: a runner that is started for a search is on this machine."""
    return "http://127.0.0.1" if search and url in ("reference", "workerd") else url


def _target(s3: str | None) -> "S3Target | None":
    from sim.runners.load.s3_target import parse_s3

    return None if s3 is None else parse_s3(s3)


def _options(
    url: str,
    allow: list[str] | None,
    header: list[str] | None,
    limits: dict[str, Any],
    connecting: dict[str, Any],
) -> "LoadOptions":
    """Return the default options of a run against *url*, changed by what was given."""
    from sim.experiments.load import default_options
    from sim.runners.load.headers import parse_headers

    options = default_options(url)
    caps = replace(options.caps, **{name: value for name, value in limits.items() if value is not None})
    headers = parse_headers(header or ())
    return replace(options, allow_hosts=tuple(allow or ()), headers=headers, caps=caps, **connecting)


def _dry_run(
    asked: "Scenario", url: str, options: "LoadOptions", *, how: dict[str, Any], processes: int, json: str | None
) -> int:
    from sim.experiments.load import load_plan
    from sim.report.load_tables import load_plan_grid
    from sim.report.terminal import table

    found = load_plan(asked, url, options=options, processes=processes, **how)
    show([table(load_plan_grid(found))], document={"schema_version": 1, "sent": 0, **vars(found)}, json=json)
    return 0


def _search(
    asked: "Scenario",
    url: str,
    options: "LoadOptions",
    *,
    rate: float | None,
    duration: float | None,
    processes: int,
    json: str | None,
) -> int:
    from sim.experiments.measured_capacity import load_capacity
    from sim.report.load_tables import measured_capacity_document, measured_capacity_grids
    from sim.report.terminal import table

    step_s = 10.0 if duration is None else duration
    found = load_capacity(
        asked, url, options=options, start_per_s=rate, step_s=step_s, processes=processes,
        on_progress=progress_printer(),
    )  # fmt: skip
    document = measured_capacity_document(found)
    show([table(grid) for grid in measured_capacity_grids(found)], document=document, json=json)
    for note in found.notes:
        say(note)
    if not found.valid:
        return 3
    return 0 if found.estimate.low > 0 else 1


@app.command(epilog="Example: headroom export feed https://staging.example.com --to k6 --out out/k6")
def export(
    scenario: ScenarioName,
    url: Url,
    *,
    to: Annotated[str, typer.Option(help="k6 or locust.")] = "k6",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For the script and schedule.json.")] = Path("out/export"),
    allow: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Host that may be loaded, beside this machine; repeatable.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="PER_S", help="Arrival rate in place of the scenario's.")
    ] = None,
    duration: Annotated[float | None, typer.Option(metavar="S", help="Length of the schedule.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Header of every request; NAME=env:VARIABLE for a secret; repeatable."),
    ] = None,
    seed: Seed = None,
    changes: Changes = None,
) -> int:
    """Write a schedule for k6 or Locust: the same requests at the same times."""
    from sim.experiments.load import export_load

    asked = scenario_asked(scenario, seed=seed, changes=changes, aloud=False)
    options = _options(url, allow, header, {}, {})
    for path in export_load(asked, url, folder=out, tool=to, options=options, rate_per_s=rate, duration_s=duration):
        say(f"written: {path}")
    return 0
