"""What a plan leaves behind: a report to be read, a document to be compared, and the measurement to be played again.

``report.html`` stands alone in one file; ``result.json`` holds the same numbers (:mod:`sim.report.json_document`);
``measured.parquet`` is the live run (:mod:`sim.results.storage`): ``headroom run SCENARIO --on FILE`` judges it anew.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES
from pathlib import Path
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.report.json_document import plan_document, write_document

if TYPE_CHECKING:
    from sim.experiments.plan import Plan


@contextmanager
def prepared_folder(out: Path, name: str) -> Iterator[Path]:
    """Make the folder of a scenario's results, now and not after a minute of measuring, and hold it against other runs.

    Parameters
    ----------
    out : Path
        Where all results go.
    name : str
        The scenario's; what no file name should hold becomes a hyphen.

    Raises
    ------
    UsageError
        It cannot be made, or another run is writing into it.
    """
    folder = out / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "plan")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(EACCES, "permission denied")
    except OSError as error:
        raise UsageError(f"out={str(out)!r} must be a folder that can be written: {error.strerror}") from None
    lock = os.open(folder, os.O_RDONLY)
    try:
        _hold(lock, folder)
        yield folder
    finally:
        os.close(lock)


def _hold(lock: int, folder: Path) -> None:
    """Keep other runs out until *lock* is closed; the system closes it when the process ends, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{folder} is being written by another run (--out FOLDER takes another place)") from None


def write_plan(plan: "Plan", folder: Path, *, command: str = "") -> list[Path]:
    """Write all files of *plan* into *folder*; each is replaced only when the new one is whole.

    Parameters
    ----------
    plan : Plan
    folder : Path
    command : str
        What to type to get it again; by default made from the plan.

    Returns
    -------
    list of Path
        The report first.

    Raises
    ------
    UsageError
        A file cannot be written.
    """
    from sim.report.page import write_report
    from sim.results.storage import save_run

    report, document, measured = folder / "report.html", folder / "result.json", folder / "measured.parquet"
    write_document(plan_document(plan), document)
    written = [document]
    if plan.measured is not None and len(plan.measured.frame):
        save_run(plan.measured, measured)
        written.append(measured)
    write_report(plan, report, command=command)
    return [report, *written]
