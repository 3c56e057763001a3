"""Planting one defect, and looking for it."""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType

from tests.defects.catalogue import Defect
from tests.project.tidy import ROOT

SCHEDULES = 30_000
"""Schedules that are played before a defect counts as not found by them."""


@dataclass(frozen=True)
class Found:
    """How a defect was found.

    Parameters
    ----------
    defect
        Its name.
    found_by
        ``schedules`` or the id of a test; empty if by nothing.
    seed
        The first seed whose schedule fails.
    ops, faults
        What the smallest failing schedule consists of.
    violation
        What was wrong.
    """

    defect: str
    found_by: str
    seed: int = 0
    ops: int = 0
    faults: int = 0
    violation: str = ""


class Planter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module of the deployment with a defect in it."""

    def __init__(self, defect: Defect) -> None:
        self._defect = defect
        self._name = f"reference_impl.{defect.module}"
        self.is_planted = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Take over the one module."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(self.code(), module.__dict__)
        self.is_planted = True

    def code(self) -> CodeType:
        """Return the changed source, compiled."""
        path = self._defect.path
        return compile(self._defect.changed(path.read_text("utf-8")), str(path), "exec")


def plant(defect: Defect, *, first_seed: int = 0, shrinks: bool = True) -> Found:
    """Plant a defect in this process and look for it.

    Parameters
    ----------
    defect
        The defect.
    first_seed
        Played before all others: the seed that failed the last time.
    shrinks
        Whether the failing schedule is made small.
    """
    planter = Planter(defect)
    sys.meta_path.insert(0, planter)
    assert f"reference_impl.{defect.module}" not in sys.modules, "a module is changed before it is loaded"
    from tests.faults.__main__ import play
    from tests.faults.plan import draw
    from tests.faults.shrink import failure, shrink

    seed = play(range(first_seed, first_seed + 1)).failed_seed
    if seed is None:
        seed = play(range(SCHEDULES if not defect.tests else SCHEDULES // 30)).failed_seed
    assert planter.is_planted, "the defect was loaded"
    if seed is not None:
        small = shrink(draw(seed)) if shrinks else draw(seed)
        violation = (failure(small) or "").split("\n", 1)[0]
        return Found(defect.name, "schedules", seed, len(small.ops), len(small.faults), violation)
    failed = failing_test(defect.tests) if defect.tests else ""
    return Found(defect.name, failed, violation="a test fails" if failed else "")


def failing_test(arguments: str) -> str:
    """Run tests in this process; return the id of the first that fails, or nothing."""
    import pytest

    failed: list[str] = []

    class Reporter:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    quiet = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header"]
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([*quiet, str(ROOT / arguments)], plugins=[Reporter()])
    return failed[0] if failed else ""


def look_for(name: str, *, first_seed: int = 0, shrinks: bool = True) -> Found:
    """Plant a defect in a process of its own; return how it was found."""
    command = [sys.executable, "-m", "tests.defects", "--plant", name, "--first-seed", str(first_seed)]
    command += [] if shrinks else ["--no-shrink"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return Found(**json.loads(done.stdout.splitlines()[-1]))
