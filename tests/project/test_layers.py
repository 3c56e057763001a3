"""The layers and the modules on the page, compared with the import contracts and with the tree.

Goal: docs/ARCHITECTURE.md agrees with the contracts of import-linter and lists every module, and the contracts hold.
Method: page, contracts and tree are read as data and compared; ``lint-imports`` runs on a tree with a forbidden import,
which it must refuse.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.project.tidy import ROOT

PAGE = (ROOT / "docs/ARCHITECTURE.md").read_text("utf-8")


def contracts() -> list[dict[str, object]]:
    """The contracts in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: list[dict[str, object]] = settings["tool"]["importlinter"]["contracts"]
    return found


def layers_of_the_page(package: str) -> list[set[str]]:
    """Modules of each row of a package's table, from the top."""
    table = PAGE.split(f"| modules of `{package}` |")[1].split("<!-- end layers")[0]
    rows = [line for line in table.splitlines()[2:] if line.startswith("|")]
    return [set(re.findall(r"`([\w.]+)`", row.split("|")[1])) for row in rows]


def test_the_page_shows_the_layers_that_are_checked() -> None:
    for contract in contracts():
        if contract["type"] == "layers":
            layers, containers = contract["layers"], contract["containers"]
            assert isinstance(layers, list)
            assert isinstance(containers, list)
            shown = layers_of_the_page(containers[0])
            assert shown == [set(re.split(r"\s*[|:]\s*", layer)) for layer in layers], containers


def modules_of_the_page() -> dict[str, list[str]]:
    """Modules of each folder in the table of the page, sorted."""
    table = PAGE.split("<!-- begin modules -->")[1].split("<!-- end modules -->")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    return {row[1].strip(" `/"): sorted(re.findall(r"`(\w+)`", row[2])) for row in rows}


def test_the_page_lists_every_module() -> None:
    tree: dict[str, list[str]] = {}
    for package in ("sim", "reference_impl"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py":
                tree.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path.stem)
    assert modules_of_the_page() == tree


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a copy of the tree."""
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_an_import_against_the_layers_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("sim", "reference_impl"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert lint(tmp_path).returncode == 0
    with (tmp_path / "sim/models/d1.py").open("a", encoding="utf-8") as model:
        model.write("\nfrom sim.engines import recording\n")
    broken = lint(tmp_path)
    assert broken.returncode == 1
    assert "sim.models.d1 -> sim.engines" in re.sub(r"\s+", " ", broken.stdout)
