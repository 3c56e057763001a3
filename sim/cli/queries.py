"""The command about statements: ``d1``."""

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.application import app
from sim.cli.options import Json
from sim.report.console import progress_printer, show


@app.command(epilog="Example: headroom d1 migrations/ --query queries.sql --rows users=10000,orders=100000")
def d1(
    migrations: Annotated[Path, typer.Argument(help="A folder of *.sql, or one file: the schema.")],
    *,
    query: Annotated[Path, typer.Option(metavar="FILE.sql", help="Statements; a comment above one is its name.")],
    rows: Annotated[
        list[str] | None, typer.Option(metavar="TABLE=N,...", help="Rows of tables; others have 10,000.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="[QUERY.]NAME=VALUE", help="Value of a parameter; others are drawn from the tables."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE.COLUMN=N", help="Distinct values of a column, or VALUE:SHARE,VALUE:SHARE."),
    ] = None,
    rate: Annotated[float, typer.Option(metavar="PER_S", help="Executions of each query a second.")] = 1.0,
    on: Annotated[str, typer.Option(help="What counts rows: reference, or workerd (the real runtime).")] = "reference",
    json: Json = None,
) -> int:
    """Measure what queries read and write as their tables grow, and try the index that mends a scan."""
    from sim.experiments.queries.measuring import d1 as measure
    from sim.experiments.queries.parameters import read_params, read_values
    from sim.experiments.queries.sizes import read_rows
    from sim.report.query_tables import query_document, query_tables

    found = measure(
        migrations,
        query=query,
        rows=read_rows(rows or []),
        params=read_params(param or []),
        values=read_values(values or []),
        rate_per_s=rate,
        on=on,
        on_progress=progress_printer(),
    )
    show(query_tables(found), document=query_document(found), json=json)
    return found.exit_status
