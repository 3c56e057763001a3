"""Commands for notebooks: ``report``, ``lab``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.application import app
from sim.report.console import say

if TYPE_CHECKING:
    pass


@app.command(epilog="Example: headroom report reports/targets.ipynb")
def report(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to execute.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the HTML.")] = Path("out/notebooks"),
) -> int:
    """Execute notebooks and render them as HTML."""
    from sim.report.notebooks import render

    for path in notebooks:
        say(f"written: {render(path, out)}")
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
