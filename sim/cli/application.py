"""The application that commands register with: global options, and what every error becomes."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from sim.cli.options import USAGE_STATUS
from sim.report.console import say

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


def _print_version(asked: bool) -> None:  # noqa: FBT001  # typer calls it so
    if asked:
        from sim.foundation.version import __version__

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
        from sim.scenario.own_components import load_components

        for file in component:
            load_components(file)


def main() -> None:
    """Run the command; print an error as one line, with status 2 for a user's error and 4 for a defect of ours."""
    from sim.foundation.errors import SimError

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

        status = report_crash(error, arguments=sys.argv[1:], say=say)
    sys.exit(status)


def _refuse(message: str, *notes: str) -> int:
    for line in (message, *notes):
        say(f"headroom: {line}")
    return USAGE_STATUS
