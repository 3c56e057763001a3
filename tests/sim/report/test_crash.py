"""A defect of the command itself.

Goal: it is never taken for a missed target, is told in one line, and loses nothing that mends it. Method: a call that
raises what no user can cause, in a process of its own and in this one.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sim.cli import app, main
from sim.foundation.errors import UsageError
from sim.report.crash import CRASH_STATUS, MESSAGE_CHARACTERS_MAX, report_crash
from tests.project.tidy import ROOT

CRASHING = """
import sys, sim.runners.play
from sim.cli import main
def run(*_, **__):
    raise RuntimeError("three\\nlines\\n  of text")
sim.runners.play.run = run
sys.argv = ["headroom", "run", "launch", "--seed", "5"]
main()
"""


def crash(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that meets a defect, with *folder* for temporary files."""
    without = {name: value for name, value in os.environ.items() if name != "HEADROOM_DEBUG"}
    return subprocess.run(
        [sys.executable, "-c", CRASHING],
        cwd=ROOT, env={**without, "TMPDIR": str(folder), **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_crash_is_one_line_with_status_4_and_a_file(tmp_path: Path) -> None:
    ended = crash(tmp_path)
    assert ended.returncode == CRASH_STATUS == 4
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headroom: unexpected RuntimeError: three lines of text; ")
    (file,) = tmp_path.glob("headroom-crash-*.txt")
    assert line.endswith(f" {file}")
    assert file.stat().st_mode & 0o077 == 0
    details = file.read_text("utf-8")
    assert "Traceback (most recent call last)" in details
    assert "in run\n" in details
    assert "['run', 'launch', '--seed', '5']" in details
    assert re.match(r"headroom \S+, Python 3\.\d+", details)


def test_debug_prints_the_traceback_and_keeps_no_file(tmp_path: Path) -> None:
    ended = crash(tmp_path, HEADROOM_DEBUG="1")
    assert ended.returncode == 4
    assert "Traceback (most recent call last)" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("headroom: unexpected RuntimeError: ")
    assert list(tmp_path.iterdir()) == []


def test_debug_0_means_no_debug(tmp_path: Path) -> None:
    assert len(crash(tmp_path, HEADROOM_DEBUG="0").stderr.splitlines()) == 1


def test_without_a_place_for_the_file_the_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.delenv("HEADROOM_DEBUG", raising=False)
    monkeypatch.setattr("sim.report.crash._kept", refuse)
    said: list[str] = []
    assert report_crash(ValueError(), arguments=[], say=said.append) == 4
    (line,) = said
    assert "unexpected ValueError: no message; " in line
    assert "could not be kept ([Errno 28] No space left on device); HEADROOM_DEBUG=1 prints them" in line


def test_a_long_message_is_cut_in_the_line_and_whole_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADROOM_DEBUG", raising=False)
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return "there"

    monkeypatch.setattr("sim.report.crash._kept", keep)
    said: list[str] = []
    message = "x" * (MESSAGE_CHARACTERS_MAX + 1)
    report_crash(ValueError(message), arguments=[], say=said.append)
    assert message not in said[0]
    assert "x" * MESSAGE_CHARACTERS_MAX + "..." in said[0]
    assert message in kept[0]


def test_errors_that_a_user_causes_keep_their_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("requests=0 must be >= 1")

    monkeypatch.setattr("sim.runners.play.run", refuse)
    monkeypatch.setattr(sys, "argv", ["headroom", "run", "launch"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "headroom: requests=0 must be >= 1\n"


def test_help_and_documents_say_the_status() -> None:
    assert "4 a crash" in str(app.info.epilog)
    assert "4 a crash" in (ROOT / "README.md").read_text("utf-8")
    assert "4 (a crash" in (ROOT / "docs/ARCHITECTURE.md").read_text("utf-8")


def test_a_reader_who_has_had_enough_is_no_crash(tmp_path: Path) -> None:
    """``headroom --help | true``: the pipe breaks, and nobody is told."""
    code = CRASHING.replace('raise RuntimeError("three\\nlines\\n  of text")', "raise BrokenPipeError")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert list(tmp_path.iterdir()) == []
