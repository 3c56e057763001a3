"""Traces on the command line: what was taken is said, what is wrong is one line, and memory is bounded.

Goal: `headroom cost --trace FILE` says on standard error what it took the file for, and on standard output nothing else
than before. Method: the command in this process; and for memory, a process of its own with its peak measured.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sim.cli import main

LOG = "when,verb,uri,tenant,size\n" + "".join(
    f"2026-01-01 00:00:{at:02d}Z,{('POST,/log', 'GET,/balance')[at % 3 > 0]}?token=hunter2,t{at % 7},1\n"
    for at in range(60)
)
COLUMNS = "time=when,method=verb,path=uri,key=tenant"

STATUS = Path("/proc/self/status")
PEAK = """
import sys
from pathlib import Path
import sim.traces.reading
from sim import read_trace
for path in sys.argv[1:]:
    trace = read_trace(path)
    print(len(trace), trace.keys)
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
"""The peak is the process's own: that of getrusage is at least its parent's."""

linux = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from /proc")


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["headroom", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG, "utf-8")
    return path


def test_what_was_taken_is_said_and_the_document_stays_clean(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "cost", "launch", "--trace", str(log), "--columns", COLUMNS, "--json", "-") == 0
    out, said = capsys.readouterr()
    assert json.loads(out)["lines"]
    assert "time = when, method = verb, path = uri, key = tenant" in said
    assert "7 distinct keys" in said
    assert "hunter2" not in out + said


def test_a_run_carries_what_was_taken_in_its_notes(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, "run", "launch", "--trace", str(log), "--columns", COLUMNS, "--json", "-")
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("7 distinct keys" in note for note in notes)
    assert any("columns not used" in note for note in notes) == ("size" not in LOG.split("\n")[0])


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("--columns", "tim=when"), "columns='tim=when' must read NAME=COLUMN; did you mean time?"),
        (("--columns", "time"), "columns='time' must read NAME=COLUMN"),
        (("--columns", f"{COLUMNS},unit=h"), 'unit="h" must be'),
        (("--columns", "time=when,path=uri", "--unmatched", "drop"), 'unmatched="drop" must be'),
        (("--columns", "time=when,path=verb"), "60 of 60 rows that match no route"),
        ((), "log.csv:1 has no column that is known to hold times; it has: when, verb, uri, tenant, size"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    rule: str,
) -> None:
    assert command(monkeypatch, "cost", "launch", "--trace", str(log), *arguments) == 2
    out, said = capsys.readouterr()
    assert not out
    assert rule in said
    assert len(said.splitlines()) == 1


def peak_bytes(*arguments: str) -> tuple[list[int], int]:
    """What a process of its own printed, and its highest memory."""
    done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=True)
    *numbers, peak_kib = map(int, done.stdout.split())
    return numbers, peak_kib * 1024


def big_log(folder: Path, rows: int) -> Path:
    """A log as Logpush writes it, with a line of some 200 bytes each."""
    rng = np.random.default_rng(1)
    times = 1_767_225_600_000_000_000 + np.cumsum(rng.integers(1, 80_000_000, rows))
    path = folder / f"{rows}.csv"
    with path.open("w") as file:
        file.write("ClientIP,ClientRequestMethod,ClientRequestURI,EdgeStartTimestamp,UserId,EdgeResponseBytes,Agent\n")
        for number, (time_ns, user) in enumerate(zip(times, rng.integers(0, 50_000, rows), strict=True)):
            agent = (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML; like Gecko) Chrome/142.0.0.0 Safari/537.36"
            )
            file.write(f"198.51.100.7,GET,/img/{number:x}.jpg?s={user},{time_ns},u{user},{number % 9000},{agent}\n")
    return path


@linux
@pytest.mark.nightly
def test_two_million_lines_take_at_most_500_mb(tmp_path: Path) -> None:
    (rows, keys), peak = peak_bytes(PEAK, str(big_log(tmp_path, 2_000_000)))
    assert rows == 2_000_000
    assert keys == 50_000
    assert peak < 500e6


@linux
@pytest.mark.slow
def test_memory_grows_by_the_numbers_of_a_row_not_by_its_text(tmp_path: Path) -> None:
    """Its smaller sister: once the reader's blocks are all in use, a row of 200 bytes adds less than its text."""
    _, few = peak_bytes(PEAK, str(big_log(tmp_path, 400_000)))
    _, many = peak_bytes(PEAK, str(big_log(tmp_path, 1_000_000)))
    assert (many - few) / 600_000 < 200
