"""Daily counts out of a file.

Goal: what tools write is read, what cannot be right is one line. Method: small files, right and wrong.
"""

from pathlib import Path

import pytest

from sim.foundation.errors import ScenarioError
from sim.scenario.history import read_history

DAYS = [f"2026-10-{day:02d}" for day in range(1, 21)]


def written(folder: Path, rows: list[str], header: str = "date,count") -> Path:
    (folder / "days.csv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return folder / "days.csv"


def test_counts_are_read_by_day(tmp_path: Path) -> None:
    found = read_history(written(tmp_path, [f"{day},{100 + place}" for place, day in enumerate(DAYS)]))
    assert (len(found), str(found.first), found.notes) == (20, "2026-10-01", ())
    assert found.count.tolist() == [100 + place for place in range(20)]


@pytest.mark.parametrize("header", ["Date,Requests", "day,count", "timestamp,COUNT,other"])
def test_columns_are_found_by_usual_names(tmp_path: Path, header: str) -> None:
    more = ",x" if "other" in header else ""
    stamp = "T00:00:00Z" if "timestamp" in header else ""
    assert len(read_history(written(tmp_path, [f"{day}{stamp},7{more}" for day in DAYS], header))) == 20


def test_order_holes_and_silent_days_are_said(tmp_path: Path) -> None:
    rows = [f"{day},{0 if day.endswith('03') else 5}" for day in DAYS if not day.endswith("07")]
    found = read_history(written(tmp_path, [rows[1], rows[0], *rows[2:]]))
    assert len(found) == 18
    assert found.days[-1] == 19
    assert [note.split(" ", 1)[1] for note in found.notes] == [
        "is not in order of time: it was sorted",
        "has 1 days without a request: they were left out",
        "lacks 1 days between its first and its last",
    ]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], "date,count", "has 0 days with requests, must have >= 14"),
        ([f"{day},1" for day in DAYS[:13]], "date,count", "has 13 days"),
        ([f"{day},1" for day in DAYS], "when,count", "must have the columns date and count; it has: when, count"),
        ([f"{day},1" for day in [*DAYS, DAYS[0]]], "date,count", r"days\.csv:22 date=2026-10-01 comes twice"),
        (["2026-13-01,1"], "date,count", r'days\.csv:2 date="2026-13-01" must be a day'),
        (["2026-10-01,many"], "date,count", r'days\.csv:2 count="many" must be a number'),
        (["2026-10-01,-1"], "date,count", r"days\.csv:2 count=-1 must be >= 0"),
        (["2026-10-01,nan"], "date,count", "must be >= 0"),
        (["2026-10-01,1e300"], "date,count", "must be >= 0 and <="),
        (["2026-10-01"], "date,count", "has 1 cells, must have 2"),
    ],
)
def test_wrong_file_is_one_line(tmp_path: Path, rows: list[str], header: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as refused:
        read_history(written(tmp_path, rows, header))
    assert "\n" not in str(refused.value)


def test_missing_folder_and_binary_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (tmp_path / "none.csv", "does not exist"),
        (tmp_path, "cannot be read"),
        (tmp_path / "bytes.csv", "is not UTF-8"),
    ):
        with pytest.raises(ScenarioError, match=message):
            read_history(path)
