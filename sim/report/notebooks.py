"""Notebooks from the command line: executed as Jupyter would, rendered as pages, opened in JupyterLab.

A notebook is run in its own folder, from top to bottom, in a fresh kernel; a cell that fails ends it with one line.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sim.foundation.errors import RunnerError, UsageError
from sim.report.json_document import write_text

FIRST = "notebooks/00_start_here.ipynb"
REPOSITORY = Path(__file__).resolve().parents[2]
CELL_S = 600
"""A cell that takes longer hangs."""


def render(path: Path, folder: Path) -> Path:
    """Execute the notebook at *path* and write it as HTML into *folder*.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UsageError
        There is no such notebook.
    RunnerError
        A cell failed.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError
    from nbconvert import HTMLExporter

    try:
        notebook = nbformat.read(path, as_version=4)
    except OSError as error:
        raise UsageError(f"notebook {str(path)!r} cannot be read: {error.strerror or error}") from None
    except (ValueError, nbformat.ValidationError) as error:
        raise UsageError(f"notebook {str(path)!r} cannot be read: {_last_line(error)}") from None
    client = NotebookClient(notebook, timeout=CELL_S, resources={"metadata": {"path": str(path.parent)}})
    manager = client.create_kernel_manager()
    with TemporaryDirectory(prefix="headroom-") as sockets:  # Over TCP every process of the machine could listen.
        manager.transport, manager.ip = "ipc", f"{sockets}/kernel"
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError) as error:
            raise RunnerError(f"notebook {str(path)!r} failed: {_last_line(error)}") from None
    page, _ = HTMLExporter(exclude_input=False).from_notebook_node(notebook)
    target = folder / f"{path.stem}.html"
    write_text(page, target)
    return target


def open_lab(notebook: str | None = None, *, port: int | None = None, browser: bool = True) -> int:
    """Start JupyterLab; its exit status.

    Parameters
    ----------
    notebook : str, optional
        By default the first one: of the working directory, else of the repository, wherever the command was typed.
    port : int, optional
        By default the first free one from 8888.
    browser : bool
        Open a browser, or only print the address.

    Raises
    ------
    UsageError
        JupyterLab is not installed, or *notebook* is no file.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError("JupyterLab is not installed (make lab, or pip install 'headroom[notebooks]')")
    if notebook is not None and not Path(notebook).is_file():
        raise UsageError(f"notebook {notebook!r} does not exist")
    first = next((place for place in (Path(), REPOSITORY) if (place / FIRST).is_file()), None)
    opened = notebook if notebook is not None else first and str(first / FIRST)
    options = [] if first is None or notebook is not None else [f"--ServerApp.root_dir={first.resolve()}"]
    options += [] if port is None else [f"--port={port}"]
    options += [] if browser else ["--no-browser"]
    return subprocess.call([sys.executable, "-m", "jupyterlab", *options, *([opened] if opened else [])])


COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What the kernel colours its tracebacks with."""


def _last_line(error: BaseException) -> str:
    lines = COLOUR.sub("", str(error)).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
