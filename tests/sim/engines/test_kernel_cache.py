"""Where the compiled machine is kept.

Goal: only the first run ever waits for the compiler, wherever the package lies and whoever runs it. Method: a small
function in place of the machine, in processes that find folders which cannot be written; a file stands where such a
folder should be, which stops the superuser too.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sim.engines.compiled_engine.kernel import jit
from tests.project.tidy import ROOT

CODE = """
import small
from sim.engines.compiled_engine.kernel.jit import jit_cached
add = jit_cached(small.add)
assert add(1, 2) == 3
print(sum(add.stats.cache_hits.values()), add.stats.cache_path)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a module of one function."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "small.py").write_text("def add(a, b):\n    return a + b\n", "utf-8")
    return folder


def kept(package: Path, *, home: Path, temporary: Path) -> tuple[int, str]:
    """Call the function in a new process: how often it was found on disk, and where."""
    added = {"PYTHONPATH": f"{ROOT}:{package}", "HOME": str(home), "TMPDIR": str(temporary)}
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    }
    ended = subprocess.run(
        [sys.executable, "-c", CODE], env={**environment, **added}, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    hits, place = ended.stdout.split()
    return int(hits), place


def test_it_is_kept_beside_the_source(package: Path, tmp_path: Path) -> None:
    for hits in (0, 1):
        assert kept(package, home=tmp_path, temporary=tmp_path) == (hits, str(package / "__pycache__"))


def test_it_is_kept_in_the_users_cache_where_the_package_cannot_be_written(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").touch()
    for hits in (0, 1):
        found, place = kept(package, home=tmp_path, temporary=tmp_path)
        assert found == hits
        assert Path(place).is_relative_to(tmp_path / ".cache")


def test_it_is_kept_among_temporary_files_where_there_is_no_home(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").touch()
    no_home, temporary = tmp_path / "none", tmp_path / "temporary"
    no_home.touch()
    temporary.mkdir()
    for hits in (0, 1):
        found, place = kept(package, home=no_home, temporary=temporary)
        assert found == hits
        assert Path(place).is_relative_to(temporary / f"headroom-{os.getuid()}")


def test_without_any_folder_it_is_compiled_anew(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").touch()
    no_home, temporary = tmp_path / "none", tmp_path / "temporary"
    no_home.touch()
    temporary.mkdir()
    (temporary / f"headroom-{os.getuid()}").touch()
    assert kept(package, home=no_home, temporary=temporary) == (0, "None")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_a_folder_that_others_may_write_is_refused(mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"headroom-{os.getuid()}").mkdir()
    (tmp_path / f"headroom-{os.getuid()}").chmod(mode)
    with pytest.raises(PermissionError, match="this user's alone"):
        jit._private_folder()


def test_a_link_to_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"headroom-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="this user's alone"):
        jit._private_folder()
