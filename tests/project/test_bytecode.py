"""What ``make`` compiles once, so that no command compiles it again.

Goal: where Python may not write bytecode (containers set PYTHONDONTWRITEBYTECODE), a command still starts from bytecode
alone. Method: the real Makefile on an environment that holds one toy package; and, at night, a copy of the repository
with everything installed, in which a run tells where each of its modules came from.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.test_tree import files
from tests.project.tidy import ROOT

FROM_SOURCE = """
import json, os, sys
from sim.cli import main
sys.argv = ["headroom", "run", "launch", "--requests", "100", "--json", os.devnull]
try:
    main()
except SystemExit as ended:
    status = ended.code
specs = {name: module.__spec__ for name, module in list(sys.modules.items()) if getattr(module, "__spec__", None)}
written = {name: spec for name, spec in specs.items() if str(spec.origin).endswith(".py")}
found = [name for name, spec in written.items() if not (spec.cached and os.path.exists(spec.cached))]
print(json.dumps({"status": status, "modules": len(written), "from_source": found}), file=sys.stderr)
"""


def make_core(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Set up the core environment in *folder*, where Python may not write bytecode by itself."""
    # These tests run under `make test`, whose own flags must not reach the make that is under test.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", ".venv/core", f"PYTHON={sys.executable}", *settings],
        cwd=folder, env={**inherited, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def bytecode(folder: Path) -> set[str]:
    """Names of all modules below *folder* that have bytecode."""
    return {f"{path.parent.parent.relative_to(folder)}/{path.name.split('.')[0]}" for path in folder.rglob("*.pyc")}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository, in a folder that is itself called tests, with an environment that holds one package."""
    folder = tmp_path / "tests" / "repository"
    site = folder / f".venv/lib/python3.{sys.version_info.minor}/site-packages"
    for package in (folder / "sim", folder / "reference_impl", site / "toy", site / "toy/tests"):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=folder, check=True)
    return folder


def test_packages_and_the_project_are_compiled_and_their_tests_are_not(repository: Path) -> None:
    made = make_core(repository, "INSTALL=:", "PIP=:")
    assert made.returncode == 0, made.stderr
    compiled = {name.split("site-packages/")[-1] for name in bytecode(repository)}
    assert {"toy/__init__", "sim/__init__", "reference_impl/__init__"} <= compiled
    assert "toy/tests/__init__" not in compiled


def test_a_module_that_cannot_be_compiled_is_told_and_does_no_harm(repository: Path) -> None:
    (site,) = repository.glob(".venv/lib/*/site-packages")
    (site / "toy/broken.py").write_text("print 'of another age'\n", "utf-8")
    made = make_core(repository, "INSTALL=:", "PIP=:")
    assert made.returncode == 0
    assert "not every module could be compiled" in made.stdout
    assert (repository / ".venv/core").exists()


@pytest.mark.nightly
def test_a_run_in_a_fresh_copy_imports_nothing_from_source_and_writes_no_bytecode(tmp_path: Path) -> None:
    for name in files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    made = make_core(tmp_path)
    assert made.returncode == 0, made.stderr
    before = bytecode(tmp_path)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    ended = subprocess.run(
        [".venv/bin/python", "-c", FROM_SOURCE],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(ended.stderr.splitlines()[-1])
    assert told["status"] in (0, 1, 3)
    assert told["modules"] > 1_000
    assert told["from_source"] == []
    assert bytecode(tmp_path) == before
