"""The commands ``load`` and ``export``, as docs/LOAD_TEST.md shows them, and what they leave behind.

Goal: the page's lines work, each refusal is one line with status 2, and no secret gets out of the process. Method: the
installed command as a process, on loopback only.
"""

import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.cli import main
from tests.project.tidy import ROOT
from tests.sim.test_cli import headroom
from tests.support.adversary import adversary

PAGE = ROOT / "docs/LOAD_TEST.md"
PLANTED = "planted-91be22d0"


def executed() -> list[str]:
    """The commands of the page's executed block."""
    found = re.search(r"<!-- executed:.*?-->\n```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1].splitlines()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """A folder with the ready line of a running reference."""
    command = [sys.executable, "-m", "sim.cli", "serve", "--pace", "feed"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            (tmp_path / "server.json").write_text(process.stdout.readline(), encoding="utf-8")
            yield tmp_path
        finally:
            process.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_lines_of_the_page_work(server: Path) -> None:
    ready = (server / "server.json").read_text(encoding="utf-8")
    url = re.search(r"http://127\.0\.0\.1:\d+", ready)
    assert url is not None
    first, *others = executed()
    assert first.startswith("headroom serve --pace feed")
    assert len(others) >= 5
    for line in others:
        command, *arguments = shlex.split(line.replace("http://127.0.0.1:8787", url[0]))
        assert command == "headroom"
        done = headroom(*arguments, cwd=server)
        assert done.returncode in (0, 1, 3), (line, done.stderr)
        assert "Traceback" not in done.stderr
    assert {"run.parquet", "out.json", "k6"} <= {path.name for path in server.iterdir()}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("load feed https://other.example", "allow list (headroom load --allow other.example)"),
        ("load feed https://a.example --allow b.example --dry-run", "allow list"),
        ("load feed http://127.0.0.1:9 --header authorization=abc", "looks like a secret"),
        ("load feed http://127.0.0.1:9 --header authorization=env:NOT_SET_HERE", "NOT_SET_HERE must be set"),
        ("load feed http://127.0.0.1:9 --max-requests 5", "must be <= 5"),
        ("load feed http://127.0.0.1:9 --max-usd 0", "usd=0 of the caps must be > 0"),
        ("load feed http://127.0.0.1:9 --processes 0", "processes=0 must be >= 1"),
        ("load feed http://127.0.0.1:9 --connections -1", "connections=-1 must be >= 0"),
        ("load feed http://127.0.0.1:9 --rate 20 --duration -1", "duration_s=-1 must be > 0"),
        ("load feed http://127.0.0.1:9 --search --dry-run", "must not be given with"),
        ("load feed http://127.0.0.1:9", "does not answer"),
        ("load launch http://127.0.0.1:9", "needs a tunnel"),
        ("load drills/d1_stall http://127.0.0.1:9", "cannot have the 1 faults of 'd1_stall'"),
        ("load drills/d1_stall reference --search", "faults=1 must be 0 for a capacity"),
        ("export drills/d1_stall http://127.0.0.1:9 --to k6 --out nowhere", "cannot have the 1 faults of 'd1_stall'"),
        ("export feed http://127.0.0.1:9 --to jmeter --out nowhere", "must be one of k6, locust"),
    ],
)
def test_refusal_is_one_line(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["headroom", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_token_is_in_no_output_and_no_file(tmp_path: Path) -> None:
    reads = "--set routes.picture.share=0 --set routes.post.share=0"
    with adversary() as deployment:
        line = f"load feed {deployment.http} {reads} --rate 40 --duration 1 --save run.parquet --json out.json"
        done = headroom(
            *line.split(), "--header", "authorization=env:PLANTED", cwd=tmp_path, environment={"PLANTED": PLANTED}
        )
    assert done.returncode in (0, 1, 3), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run.parquet", "out.json"}
    texts = [done.stdout, done.stderr, *(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir())]
    assert not [text for text in texts if PLANTED in text]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_progress_in_a_pipe_and_nothing_left_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    from tests.sim.runners.test_live_stop import wait_for

    reads = "--set routes.picture.share=0 --set routes.post.share=0"
    with adversary() as deployment:
        line = f"load feed {deployment.http} {reads} --rate 60 --duration 60 --save run.parquet"
        command = [sys.executable, "-m", "sim.cli", *line.split()]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for(deployment, 40)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
    if number is signal.SIGINT:
        assert process.returncode == 2
        assert err == "written: run.parquet\n"
    else:
        assert process.returncode == -signal.SIGTERM
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_progress_is_shown_in_a_terminal(tmp_path: Path) -> None:
    import fcntl
    import pty
    import termios

    reads = "--set routes.picture.share=0 --set routes.post.share=0"
    with adversary(delay_ms=20) as deployment:
        line = f"load feed {deployment.http} {reads} --rate 60 --duration 2"
        ours, theirs = pty.openpty()
        # A new terminal has no width, so that a bar in it has none either.
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
        command = [sys.executable, "-m", "sim.cli", *line.split()]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
        ) as process:
            os.close(theirs)
            text = b""
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    more = os.read(ours, 4096)
                except OSError:
                    break
                text += more
            process.wait()
        os.close(ours)
    assert b"in flight" in text
    assert b"errors" in text
