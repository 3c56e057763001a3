"""The wheel that a user installs, without the repository around it.

Goal: code, types, scenarios and schema are all inside. Method: build it, list it, and import it from an empty folder.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.tidy import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("headroom-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def relative(folder: Path, pattern: str) -> set[str]:
    """Files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


def test_wheel_holds_both_packages_with_their_types(installed: Path) -> None:
    for package in ("sim", "reference_impl"):
        assert relative(installed / package, "*.py") == relative(ROOT / package, "*.py")
        assert (installed / package / "py.typed").is_file()


def test_wheel_holds_the_scenarios_and_the_schema(installed: Path) -> None:
    assert relative(installed / "sim/_scenarios", "*.toml") == relative(ROOT / "scenarios", "*.toml")
    assert relative(installed / "reference_impl/_migrations", "*.sql") == relative(ROOT / "deploy/migrations", "*.sql")


def test_wheel_holds_nothing_else(installed: Path) -> None:
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"sim", "reference_impl", "headroom"}


def python(installed: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start Python in an empty folder, with the wheel's packages before the repository's."""
    command, environment = [sys.executable, *arguments], {"PYTHONPATH": str(installed)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_installed_simulation_finds_its_own_scenario(installed: Path, tmp_path: Path) -> None:
    code = "import sim.scenario.scenario as s; print(s.load_scenario('launch').name, s.__file__)"
    with python(installed, tmp_path, "-c", code) as started:
        said, _ = started.communicate(timeout=60)
    assert said.split() == ["launch", str(installed / "sim/scenario/scenario.py")]


def test_installed_reference_starts_and_stops(installed: Path, tmp_path: Path) -> None:
    ports = ["--host", "127.0.0.1", "--port", "0", "--quic-port", "0"]
    with python(installed, tmp_path, "-m", "reference_impl", *ports, "--data", str(tmp_path / "data")) as started:
        assert started.stdout
        ready = json.loads(started.stdout.readline())
        started.terminate()
        assert started.wait(timeout=30) == 0
    assert ready["http"].startswith("http://127.0.0.1:")
