"""A run in a file.

Goal: what is saved comes back exactly, and a file that is not such a run is told in one line. Method: a simulated
run and one with a live run's columns go to disk and back; then files are damaged, bit by bit and field by field.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim import Result, load_scenario, run
from sim.foundation.errors import RunnerError, UsageError
from sim.judgement.judge import judge
from sim.results import storage as recorded

MANIFEST = recorded.MANIFEST_KEY
GONE = object()


@pytest.fixture(scope="module")
def simulated() -> Result:
    """A short run of the model."""
    return run("launch", on="simpy", rng=7, requests=300)


@pytest.fixture
def saved(simulated: Result, tmp_path: Path) -> Path:
    """The same in a file."""
    path = tmp_path / "run.parquet"
    recorded.save_run(simulated, path)
    return path


def live_like(result: Result) -> Result:
    """With a live run's columns, a skipped request, notes, and a self-check that holds no number."""
    frame = result.frame.iloc[5:].reset_index(drop=True)
    frame["send_lag_ms"] = np.linspace(-0.0, 3.0, len(frame))
    frame["service_latency_ms"] = frame["latency_ms"] - frame["send_lag_ms"]
    frame.loc[3, "outcome"] = "skipped"
    frame.loc[3, ["latency_ms", "send_lag_ms", "service_latency_ms"]] = np.nan
    generator = {"floor_ms_p50": float("nan"), "retries": np.int64(3), "stopped_because": None}
    return replace(
        result, frame=frame, on="reference", interrupted=True, valid=False, notes=("late",), generator=generator
    )


def bytes_of(frame: pd.DataFrame) -> dict[str, tuple[str, bytes]]:
    """Type and content of every column, to the bit."""
    return {
        str(name): (
            repr(frame[name].dtype),
            (frame[name].cat.codes if isinstance(frame[name].dtype, pd.CategoricalDtype) else frame[name])
            .to_numpy()
            .tobytes(),
        )
        for name in frame
    }


def change(path: Path, field: str, *, value: Any) -> None:
    """Set one field of a saved run's manifest, or remove it."""
    table = pq.read_table(path)
    manifest = json.loads(table.schema.metadata[MANIFEST])
    *outer, last = field.split(".")
    part = manifest
    for name in outer:
        part = part[name]
    part.pop(last)
    if value is not GONE:
        part[last] = value
    changed = json.dumps(manifest).encode()
    digest = blake2b(changed, digest_size=16).hexdigest().encode()  # Written as such, not damaged.
    metadata = {**table.schema.metadata, MANIFEST: changed, recorded.DIGEST_KEY: digest}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def change_column(path: Path, name: str, *, value: Any) -> None:
    """Set the first value of a column, or drop the column."""
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    if value is None:
        pq.write_table(table.drop_columns([name]), path)
    else:
        column = pa.array([value, *table.column(name).to_pylist()[1:]])
        pq.write_table(table.set_column(place, name, column), path)


@pytest.mark.parametrize("form", [replace, live_like])
def test_a_frame_comes_back_byte_for_byte(form: Callable[[Result], Result], simulated: Result, tmp_path: Path) -> None:
    result = form(simulated)
    recorded.save_run(result, tmp_path / "run.parquet")
    back = recorded.load_run(tmp_path / "run.parquet")
    assert bytes_of(back.frame) == bytes_of(result.frame)
    assert isinstance(back.frame.index, pd.RangeIndex)
    pd.testing.assert_frame_equal(back.stations, result.stations, check_exact=True)


def test_the_rest_of_a_result_comes_back_too(simulated: Result, tmp_path: Path) -> None:
    result = live_like(simulated)
    recorded.save_run(result, tmp_path / "run.parquet")
    back = recorded.load_run(tmp_path / "run.parquet")
    assert (back.on, back.seed, back.duration_s) == ("run.parquet", 7, result.duration_s)
    assert (back.interrupted, back.valid) == (True, False)
    assert back.notes == ("late", "recorded on reference")
    assert back.generator == {"floor_ms_p50": None, "retries": 3, "stopped_because": None}
    assert back.scenario.model_dump() == result.scenario.model_dump()


def test_two_saves_of_one_run_are_the_same_file(simulated: Result, saved: Path, tmp_path: Path) -> None:
    recorded.save_run(simulated, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == saved.read_bytes()


def test_any_parquet_reader_opens_it(simulated: Result, saved: Path) -> None:
    assert pd.read_parquet(saved)["latency_ms"].sum() == simulated.frame["latency_ms"].sum()


def test_another_scenario_judges_and_the_difference_is_told(saved: Path) -> None:
    same, other = load_scenario("launch"), load_scenario("launch").vary("system.d1.queue_limit", 7)
    assert recorded.play(same, saved).notes[-1] == "recorded on simpy"
    judged = recorded.play(other, saved)
    assert judged.scenario is other
    assert judged.notes[-1] == "recorded with another system.d1 than scenario launch has now"


def test_a_run_with_instances_and_routes_of_its_own_comes_back_and_is_judged_by_others(tmp_path: Path) -> None:
    """A second database, in a group that happens by chance: its columns, its scenario, its metric."""
    steps = ["workers.compute", {"chance": 0.5, "steps": [{"use": "archive.read", "rows_read": 3}]}]
    launch = load_scenario("launch")
    other = launch.with_(**{"system.archive": {"like": "d1"}, "routes.find": {"share": 9.0, "steps": steps}})
    result = run(other, on="simpy", rng=7, requests=300)
    recorded.save_run(result, tmp_path / "run.parquet")
    back = recorded.load_run(tmp_path / "run.parquet")
    assert bytes_of(back.frame) == bytes_of(result.frame)
    assert back.scenario.model_dump() == other.model_dump()
    assert [row.value for row in judge(back)] == pytest.approx([row.value for row in judge(result)], nan_ok=True)
    judged = {row.metric: row.n for row in judge(recorded.play(launch, tmp_path / "run.parquet"))}
    ours = (result.steady().frame["d1_ms"] > 0).sum()
    assert judged["d1_query_ms"] == ours < {row.metric: row.n for row in judge(result)}["d1_query_ms"]


def test_a_run_without_an_instance_is_judged_by_a_scenario_that_has_one(saved: Path, simulated: Result) -> None:
    """What the run knew nothing of took none of its time."""
    late = {"share": 0.0, "steps": ["archive.read"]}
    more = load_scenario("launch").with_(**{"system.archive": {"like": "d1"}, "routes.late": late})
    judged = recorded.play(more, saved)
    assert not judged.frame[["archive_ms", "archive_queue_ms"]].to_numpy().any()
    assert [row.value for row in judge(judged)] == pytest.approx([row.value for row in judge(simulated)], nan_ok=True)


def test_a_run_by_name_of_its_file(saved: Path) -> None:
    assert len(run("launch", on=str(saved)).frame) == 300


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    path.write_bytes(content)
    refuses(path, "cannot be read")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "none.parquet", "must be a file; there is none")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path, "must be a file")


def test_somebody_elses_parquet_file_is_refused(simulated: Result, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    simulated.frame.to_parquet(path)
    refuses(path, "another parquet file")


def test_a_damaged_file_is_refused_or_unharmed(simulated: Result, saved: Path, tmp_path: Path) -> None:
    """A flipped bit anywhere: the data is under checksums and the manifest is JSON."""
    whole, damaged = saved.read_bytes(), tmp_path / "damaged.parquet"
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 80)):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            back = recorded.load_run(damaged)
        except RunnerError:
            refused += 1
        else:
            assert bytes_of(back.frame) == bytes_of(simulated.frame)
    assert refused > 40


def test_a_manifest_that_was_changed_in_place_is_refused(saved: Path) -> None:
    table = pq.read_table(saved)
    changed = table.schema.metadata[MANIFEST].replace(b'"seed": ', b'"seed":  ')
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, MANIFEST: changed}), saved)
    refuses(saved, "its manifest is damaged")


def test_a_cut_file_is_refused(saved: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(saved.read_bytes()[:-50])
    refuses(cut, "cannot be read")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("schema_version", 1, "schema_version=1 must be 2"),
        ("seed", GONE, "seed is missing"),
        ("categories", GONE, "categories is missing"),
        ("categories", [], "malformed"),
        ("categories.outcome", ["ok", "eaten"], "outcome 'eaten' must be one of ok, timeout"),
        ("categories.route", ["log"], "column route has '[a-z_]+', must be one of log"),
        ("scenario", {}, "malformed"),
        ("scenario", 3, "malformed"),
        ("scenario.seed", -1, "seed=-1 must be >= 0"),
        ("duration_s", "long", "malformed"),
        ("stations", 3, "malformed"),
        ("notes", None, "malformed"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(field: str, value: Any, told: str, saved: Path) -> None:
    change(saved, field, value=value)
    refuses(saved, told)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("latency_ms", None, "latency_ms is missing"),
        ("latency_ms", -1.0, "column latency_ms has -1, must be >= 0"),
        ("arrival_ms", float("nan"), "column arrival_ms has empty cells"),
        ("d1_ms", -0.5, "column d1_ms has -0.5"),
        ("request", 10, "column request must rise"),
        ("attempts", 1, "column attempts is int64, must be int16"),
    ],
)
def test_a_column_that_breaks_a_rule_is_refused(column: str, value: Any, told: str, saved: Path) -> None:
    change_column(saved, column, value=value)
    refuses(saved, told)


def test_a_place_that_cannot_be_written_is_the_callers_fault(simulated: Result, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        recorded.save_run(simulated, tmp_path / "nowhere" / "run.parquet")


def test_a_save_that_fails_leaves_the_older_file(
    simulated: Result, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        recorded.save_run(simulated, saved)
    assert [path.name for path in saved.parent.iterdir()] == ["run.parquet"]
    assert saved.read_bytes() == before


def refuses(path: Path, told: str) -> None:
    """Loading *path* fails with one line that holds *told*."""
    with pytest.raises(RunnerError, match=told) as refusal:
        recorded.load_run(path)
    assert "\n" not in str(refusal.value)
