"""Committed notebooks are evidence only while a changed number fails.

Goal: nbval's comparison stays armed. Method: each hygiene rule is shown to fire on a broken notebook and then to pass
the committed ones; the sanitiser is shown to leave measurements alone; a falsified number is shown to fail.
"""

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.project import notebook_hygiene as hygiene
from tests.project.tidy import ROOT

CONFIG = ROOT / "reports/nbval.cfg"
NOTEBOOKS = sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "reports").glob("*.ipynb")])


def code(count: int, text: str, printed: str = "") -> dict[str, Any]:
    """A code cell that printed something."""
    outputs = [{"output_type": "stream", "name": "stdout", "text": printed}] if printed else []
    return {
        "cell_type": "code",
        "id": f"cell-{count}",
        "metadata": {},
        "execution_count": count,
        "source": text,
        "outputs": outputs,
    }


def good() -> hygiene.Notebook:
    """The smallest notebook that keeps every rule."""
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Title"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [title, code(1, 'import warnings\nwarnings.simplefilter("error")'), code(2, "print(1.5)", "1.5\n")]
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def broken(cell: int, **changes: Any) -> hygiene.Notebook:
    """The good notebook with one cell changed."""
    notebook = good()
    notebook["cells"][cell].update(changes)
    return notebook


BROKEN = {
    "stripped": broken(2, execution_count=None, outputs=[]),
    "out of order": broken(2, execution_count=7),
    "nothing checked": broken(2, outputs=[]),
    "only a picture": broken(2, outputs=[{"output_type": "display_data", "data": {"image/png": "x"}, "metadata": {}}]),
    "checked output ignored": broken(2, metadata={"tags": [hygiene.UNCHECKED_TAG]}),
    "stored error": broken(1, outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]),
    "semicolon": broken(2, source="print(1.5);"),
    "long cell": broken(2, source="x = 1\n" * 13),
    "long function": broken(2, source="def f():\n" + "    x = 1\n" * 5),
    "class": broken(2, source="class C:\n    pass"),
    "no title": broken(0, source="Title"),
    "warnings pass": broken(1, source="import warnings"),
}


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook and compare its outputs, as ``make test`` does."""
    flags = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(CONFIG), "--nbval-cell-timeout=300"]
    command = [sys.executable, "-m", "pytest", *flags, "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    return subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


def test_a_good_notebook_passes() -> None:
    assert hygiene.findings(good()) == []


@pytest.mark.parametrize("fault", BROKEN)
def test_rule_fires_on_a_broken_notebook(fault: str) -> None:
    assert hygiene.findings(BROKEN[fault])


def test_rule_fires_on_a_large_notebook() -> None:
    assert hygiene.findings(good(), size_bytes=hygiene.NOTEBOOK_BYTES_MAX + 1)


def test_there_are_notebooks_and_reports() -> None:
    assert {path.parent.name for path in NOTEBOOKS} == {"notebooks", "reports"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_keeps_every_rule(path: Path) -> None:
    assert hygiene.findings(hygiene.load(path), size_bytes=path.stat().st_size) == []


def sanitised(text: str) -> str:
    """What nbval compares in place of a text."""
    rules = configparser.RawConfigParser()
    rules.read(CONFIG)
    for name in rules.sections():
        text = re.sub(rules.get(name, "regex"), rules.get(name, "replace"), text)
    return text


@pytest.mark.parametrize(
    "measured", ["12.3 ms", "P99 187 ms", "9.87e-01", "1,234,567 requests", "10.5 MB/s", "2026-11-24 10:00:00", "0x1f"]
)
def test_sanitiser_leaves_measurements_alone(measured: str) -> None:
    assert sanitised(measured) == measured


def test_sanitiser_hides_addresses_and_figure_sizes() -> None:
    assert sanitised("<Axes at 0x7f3a2b4c5d60>") == sanitised("<Axes at 0x7f00deadbeef>")
    assert sanitised("<Figure size 640x480 with 1 Axes>") == sanitised("<Figure size 800x600 with 2 Axes>")


def test_sanitiser_has_few_rules() -> None:
    rules = configparser.RawConfigParser()
    rules.read(CONFIG)
    assert 0 < len(rules.sections()) <= 6


def test_other_number_is_another_number() -> None:
    changed = hygiene.with_other_number(good())
    assert hygiene.code_cells(changed)[1]["outputs"][0]["text"] == "1.6\n"
    assert hygiene.findings(changed) == []


def test_true_number_passes_and_false_number_fails(tmp_path: Path) -> None:
    true, false = tmp_path / "true.ipynb", tmp_path / "false.ipynb"
    true.write_text(json.dumps(good()), "utf-8")
    false.write_text(json.dumps(hygiene.with_other_number(good())), "utf-8")
    assert nbval(true).returncode == 0
    assert nbval(false).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[-1:], ids=lambda path: path.stem)
def test_falsified_report_fails(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path.parent / "baselines", tmp_path / "baselines")
    false = tmp_path / path.name
    false.write_text(json.dumps(hygiene.with_other_number(hygiene.load(path))), "utf-8")
    run = nbval(false)
    assert run.returncode == 1
    assert re.search(r"^=+ 1 failed, ", run.stdout, flags=re.MULTILINE)
