"""What a plan leaves behind.

Goal: three files that agree, in a folder that no scenario's name can move elsewhere. Method: a short plan is written
and read back; names that are none are tried.
"""

import json
from pathlib import Path

import pytest

from sim.foundation.errors import UsageError
from sim.report.output_folder import prepared_folder, write_plan
from sim.results.storage import load_run
from tests.support.plans import example_plan


def test_report_document_and_measurement_are_written(tmp_path: Path) -> None:
    made = example_plan()
    report, document, measured = write_plan(made, tmp_path)
    said = json.loads(document.read_text("utf-8"))
    assert said["verdict"] == made.verdict
    assert said["verdict"] in report.read_text("utf-8")
    assert made.measured is not None
    assert load_run(measured).frame.equals(made.measured.frame)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "result.json", "measured.parquet"}


@pytest.mark.parametrize(
    ("name", "folder"),
    [("launch", "launch"), ("../../etc", "etc"), ("a b/c", "a-b-c"), ("..", "plan"), ("/", "plan"), ("Ü 7", "Ü-7")],
)
def test_the_folder_stays_where_it_was_asked_for(name: str, folder: str, tmp_path: Path) -> None:
    with prepared_folder(tmp_path, name) as made:
        assert made == tmp_path / folder
    assert (tmp_path / folder).is_dir()


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with prepared_folder(tmp_path, "launch"):
        with pytest.raises(UsageError, match="is being written by another run"), prepared_folder(tmp_path, "launch"):
            pass
        with prepared_folder(tmp_path, "phase4"):
            pass
    with prepared_folder(tmp_path, "launch"):
        pass


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(UsageError, match="must be a folder that can be written")
    with refused, prepared_folder(tmp_path / "file", "launch"):
        pass
