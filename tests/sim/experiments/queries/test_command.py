"""``headroom d1`` as a process.

Goal: its tables fit a terminal, its status tells a scan that grows, a wrong option is one line, and nothing is left
behind however it ends. Method: the command itself, in a folder for temporary files of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.project.tidy import ROOT
from tests.sim.experiments.queries.schemas import QUERIES, SEARCH, before_the_index, social
from tests.support.world import MIGRATIONS

ENDLESS = "SELECT count(*) FROM accounts a, accounts b, accounts c, accounts d WHERE a.id + b.id = c.id * d.id"
"""On the smallest tables, where each statement is tried first, it ends at once; on 500 rows it does not."""
WAIT_S = 60.0
"""A bound on the test's own time."""


def command(*arguments: str | Path, folder: Path, columns: int = 100) -> "subprocess.Popen[str]":
    """Start the command; its temporary files are in *folder*."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TMPDIR": str(scratch)}
    return subprocess.Popen(
        [sys.executable, "-m", "sim.cli", "d1", *arguments],
        cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(*arguments: str | Path, folder: Path, columns: int = 100) -> tuple[int, str, str]:
    """Run the command to its end; return status, output and messages."""
    with command(*arguments, folder=folder, columns=columns) as process:
        out, said = process.communicate(timeout=WAIT_S)
    return process.returncode, out, said


def is_empty(folder: Path) -> bool:
    """Whether no temporary file is left, at once or soon."""
    end_s = time.monotonic() + WAIT_S
    while any((folder / "scratch").iterdir()) and time.monotonic() < end_s:
        time.sleep(0.05)
    return not any((folder / "scratch").iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with migrations and queries."""
    (tmp_path / "migrations").mkdir()
    social(tmp_path / "migrations")
    (tmp_path / "queries.sql").write_text(QUERIES, "utf-8")
    (tmp_path / "search.sql").write_text(SEARCH, "utf-8")
    (tmp_path / "endless.sql").write_text(ENDLESS, "utf-8")
    return tmp_path


@pytest.mark.parametrize("columns", [80, 100])
def test_the_tables_fit_a_terminal(place: Path, columns: int) -> None:
    status, out, said = ended(
        "migrations", "--query", "queries.sql", "--rows", "statuses=2000,accounts=200", folder=place, columns=columns
    )
    assert (status, said) == (1, "")
    assert max(len(line) for line in out.splitlines()) <= columns
    assert "CREATE INDEX idx_statuses_account_id_deleted_at_id ON statuses" in out
    assert "is a lower bound" in out
    assert "…" not in out
    assert is_empty(place)


def test_the_status_and_the_document_tell_a_scan_that_grows(place: Path) -> None:
    (place / "before").mkdir()
    before_the_index(place / "before")
    options = ("--query", "search.sql", "--rows", "loras=10_000", "--values", "loras.is_public=1:1", "--json", "-")
    status, out, said = ended("before", *options, "--rate", "10", "--param", "search.1=domain-3", folder=place)
    assert status == 1, said
    (query,) = json.loads(out)["queries"]
    assert query["parameters"][0] == {"name": "1", "value": "domain-3", "source": "given"}
    assert [point["rows_read"] for point in query["measured"]["points"]] == [110, 1_100, 11_000]
    assert query["index"]["after"]["points"][-1]["rows_read"] == 20
    assert ended(MIGRATIONS, *options, folder=place)[0] == 0


WRONG = {
    "nowhere --query queries.sql": "migrations='nowhere' cannot be read: No such file",
    "migrations --query nowhere.sql": "query='nowhere.sql' cannot be read: No such file",
    "migrations": "Missing option '--query'",
    "migrations --query queries.sql --rows statuses=many": "must read TABLE=N",
    "migrations --query queries.sql --rows statuses=-5": "must read TABLE=N",
    "migrations --query queries.sql --rows nothing=500": "is no table of the migrations",
    "migrations --query queries.sql --param 1": "must read [QUERY.]NAME=VALUE",
    "migrations --query queries.sql --values accounts.domain=x": "must read TABLE.COLUMN=N",
    "migrations --query queries.sql --json missing/x.json": "the folder 'missing' must exist",
    "migrations --query migrations": "cannot be read: Is a directory",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_option_is_one_line(place: Path, arguments: str) -> None:
    status, out, said = ended(*arguments.split(), folder=place)
    assert (status, out) == (2, "")
    assert WRONG[arguments] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_it_is_stopped(place: Path, number: signal.Signals) -> None:
    """In the middle of a statement that does not end: Ctrl-C, and kill -9."""
    with command("migrations", "--query", "endless.sql", "--rows", "accounts=500", folder=place) as process:
        end_s = time.monotonic() + WAIT_S
        while not list((place / "scratch").glob("headroom-d1-*/size-2.sqlite")) and time.monotonic() < end_s:
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        _, said = process.communicate(timeout=WAIT_S)
    if number == signal.SIGINT:
        assert process.returncode == 2
        assert said == "headroom: interrupted before there was a result\n"
    assert is_empty(place)
