"""What ``make plan`` says and returns.

Goal: a verdict is not a failure of the build, a usage error is. Method: the project's Makefile in an empty folder, with
a stand-in for the installed command that exits as the real one would.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.tidy import ROOT


def make_plan(folder: Path, status: int) -> subprocess.CompletedProcess[str]:
    """Run ``make plan`` with a command that exits with *status*."""
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    command = programs / "headroom"
    command.write_text(f'#!/bin/sh\necho "headroom $*"\nexit {status}\n', "utf-8")
    command.chmod(0o755)
    (programs / "python").touch()
    (folder / ".venv/core").touch()  # Newer than the lock: the environment is up to date.
    # These tests run under `make test`, whose own flags must not reach the make that is under test.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "plan"], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("status", "words"), [(0, "every target is met"), (1, "is missed"), (3, "inconclusive")])
def test_a_verdict_succeeds_and_is_said(status: int, words: str, tmp_path: Path) -> None:
    run = make_plan(tmp_path, status)
    assert run.returncode == 0
    assert run.stdout.startswith("headroom plan launch")
    assert words in run.stdout


@pytest.mark.parametrize("status", [2, 4, 130])
def test_an_error_fails(status: int, tmp_path: Path) -> None:
    assert make_plan(tmp_path, status).returncode != 0


def test_help_names_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = next(line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if line.startswith(".PHONY"))
    assert all(f"make {target} " in shown for target in phony.split()[1:])
