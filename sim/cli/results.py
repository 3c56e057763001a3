"""The end of a command that played one run: keep it, show it, judge it."""

from pathlib import Path
from typing import TYPE_CHECKING

from sim.cli.options import USAGE_STATUS
from sim.report.console import say, show

if TYPE_CHECKING:
    from sim.results.result import Result


def finish(result: "Result", *, save: Path | None, json: str | None) -> int:
    """Save and show one run; return its exit status: its verdict's, or 2 if it was interrupted."""
    from sim.judgement.judge import status_of
    from sim.judgement.targets import Verdict
    from sim.report.json_document import run_document
    from sim.report.terminal import run_tables

    if save is not None:
        from sim.results.storage import save_run

        save_run(result, save)
        say(f"written: {save}")
    document = run_document(result)
    show(run_tables(result), document=document, json=json)
    return USAGE_STATUS if result.interrupted else status_of(Verdict(document["verdict"]))
