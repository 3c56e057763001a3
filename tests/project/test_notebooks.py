"""Notebooks from the command line.

Goal: a notebook becomes a page, a failing one a line. Method: notebooks of two cells, in folders of their own.
"""

import importlib.util
from pathlib import Path

import nbformat
import pytest

from sim.foundation.errors import RunnerError, UsageError
from sim.report import notebooks


def notebook(folder: Path, *cells: str) -> Path:
    """A notebook that was never run."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    nbformat.write(made, folder / "small.ipynb")
    return folder / "small.ipynb"


def test_a_notebook_is_executed_in_its_own_folder_and_becomes_a_page(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("forty-two")
    path = notebook(tmp_path, "text = open('data.txt').read()", "print(text.upper())")
    page = notebooks.render(path, tmp_path / "pages")
    assert page == tmp_path / "pages/small.html"
    assert "FORTY-TWO" in page.read_text("utf-8")


def test_a_kernel_listens_on_no_port_and_so_warns_of_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = notebook(tmp_path, "import ipykernel.kernelapp as k", "print(k.IPKernelApp.instance().transport)")
    assert "ipc" in notebooks.render(path, tmp_path / "pages").read_text("utf-8")
    assert "TCP" not in capfd.readouterr().err


def test_a_failing_cell_is_one_line_and_leaves_no_page(tmp_path: Path) -> None:
    path = notebook(tmp_path, "1 / 0")
    with pytest.raises(RunnerError, match=r"failed: ZeroDivisionError: division by zero$"):
        notebooks.render(path, tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize("content", ["", "{}", "no notebook"])
def test_what_is_no_notebook_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "broken.ipynb").write_text(content)
    with pytest.raises(UsageError, match="cannot be read"):
        notebooks.render(tmp_path / "broken.ipynb", tmp_path)


def test_lab_without_jupyterlab_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="make lab"):
        notebooks.open_lab()
