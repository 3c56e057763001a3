"""Files that are whole or not there, and places that are no files."""

import os
import stat
import threading
from pathlib import Path

import pytest

from sim.foundation.errors import UsageError
from sim.foundation.files import check_place, whole_file


def write(path: Path, content: bytes = b"new") -> None:
    with whole_file(path) as file:
        file.write(content)


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()).count(link) == 1


def test_a_link_to_nothing_makes_its_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"x" * 100_000)
    reader.join()
    assert read == [b"x" * 100_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device() -> None:
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode), "somebody has replaced it already"
    write(Path(os.devnull))
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def fail() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize(
    ("place", "rule"),
    [("", "is a folder"), ("missing/x.json", "must exist"), ("file/x.json", "must exist")],
)
def test_places_are_checked_before_the_work(place: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=rf"--json=.* {rule}"):
        check_place(tmp_path / place, what="--json")


def test_places_that_can_be_written_pass(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("-", os.devnull, tmp_path / "file", tmp_path / "new"):
        check_place(place, what="--json")
