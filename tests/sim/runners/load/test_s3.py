"""Uploads by S3: parts as the scenario says, throughput by size class, nothing left in the bucket, keys nowhere.

Goal: what a route uploads arrives whole and in the scenario's parts; whatever goes wrong is an outcome or one line.
Method: an S3 server of others (moto) on loopback, and one that answers what it is told; Hypothesis for the bytes.
"""

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import Result, load_scenario
from sim.foundation.errors import RunnerError, UsageError
from sim.runners import live
from sim.runners.load import s3_target
from sim.runners.load.abort import AbortRule
from sim.runners.load.options import LoadOptions
from sim.runners.load.s3_sender import GivenUpError, Repeated, S3Sender
from sim.runners.load.s3_target import PART_BYTES_MIN, S3Target, UploadTerms, parse_s3
from sim.runners.load.upload_rates import upload_rates
from sim.scenario.scenario import Scenario
from tests.project.tidy import ROOT
from tests.support import schedules
from tests.support.s3_server import BUCKET, KEYS, answering, s3_server

NOWHERE = "http://127.0.0.1:9"
"""Where the deployment would be; uploads alone do not need it."""
NEVER = AbortRule(failed_fraction=1.0)
MIB = 2**20


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def uploads(*, timeout_ms: float = 20_000.0, **bucket: Any) -> Scenario:
    """The default scenario with its uploads alone."""
    changes = {"system.client.timeout_ms": timeout_ms, "system.client.retries": 0}
    changes |= {f"system.r2.{name}": value for name, value in bucket.items()}
    return load_scenario("launch").with_(**changes).with_shares(upload=1)


def of_sizes(*sizes_bytes: int, gap_ms: float = 50.0) -> Any:
    """Uploads of these sizes, one after the other."""
    n = len(sizes_bytes)
    return schedules.at(
        np.arange(n) * gap_ms, routes=("upload",), size_bytes=np.array(sizes_bytes), object_number=np.arange(n)
    )


def play(scenario: Scenario, s3: str, planned: Any, *, processes: int = 1, **options: Any) -> Result:
    with_options = LoadOptions(**{"abort": NEVER, "s3": parse_s3(s3), **options})
    return live.play(scenario, planned, seed=1, url=NOWHERE, options=with_options, processes=processes)


def shares(result: Result) -> dict[str, int]:
    return {str(outcome): int(n) for outcome, n in result.frame["outcome"].value_counts().items() if n}


# ---------------------------------------------------------------- what is sent


@given(
    block=st.binary(min_size=1, max_size=50),
    size_bytes=st.integers(0, 300),
    reads=st.lists(st.tuples(st.integers(0, 300), st.one_of(st.none(), st.integers(-1, 300))), max_size=8),
)
def test_repeated_file_is_a_file(block: bytes, size_bytes: int, reads: list[tuple[int, int | None]]) -> None:
    """Read from anywhere, it gives what a file of the whole bytes gives."""
    ours = Repeated(memoryview(block), size_bytes=size_bytes, given_up=threading.Event())
    theirs = io.BytesIO((block * (size_bytes // len(block) + 1))[:size_bytes])
    for offset, size in reads:
        assert ours.seek(offset) == theirs.seek(offset)
        assert ours.read(size) == theirs.read(size)
        assert ours.tell() == theirs.tell()
    assert ours.seek(0, io.SEEK_END) == theirs.seek(0, io.SEEK_END) == size_bytes


def test_file_that_was_given_up_is_read_no_further() -> None:
    given_up = threading.Event()
    file = Repeated(memoryview(b"ab"), size_bytes=10, given_up=given_up)
    assert file.read(3) == b"aba"
    given_up.set()
    with pytest.raises(GivenUpError):
        file.read(1)


@pytest.mark.parametrize("parallel_parts", [1, 3])
def test_upload_arrives_whole_and_in_the_parts_of_the_scenario(parallel_parts: int) -> None:
    sizes = (100, 5 * MIB, 12 * MIB + 7)
    seen: list[dict[str, Any]] = []
    remove = S3Sender._remove

    def look_first(self: S3Sender) -> None:
        for key in sorted(self._keys):
            whole = self._client.get_object(Bucket=BUCKET, Key=key)
            tag = whole["ETag"].strip('"')
            seen.append({"bytes": len(whole["Body"].read()), "parts": int((tag.partition("-")[2]) or 1)})
        remove(self)

    with s3_server() as (url, client), patch.object(S3Sender, "_remove", look_first):
        result = play(uploads(part_bytes=5 * MIB, parallel_parts=parallel_parts), url, of_sizes(*sizes))
        left = client.list_objects_v2(Bucket=BUCKET)
    assert shares(result) == {"ok": 3}
    assert seen == [{"bytes": 100, "parts": 1}, {"bytes": 5 * MIB, "parts": 1}, {"bytes": 12 * MIB + 7, "parts": 3}]
    assert left["KeyCount"] == 0, "what the run made is removed"
    counted = {"uploads": 3, "removed_objects": 3, "left_objects": 0, "aborted_uploads": 0}
    assert {name: result.generator[f"s3_{name}"] for name in counted} == counted


def test_time_is_the_buckets_and_the_target_is_judged_by_it() -> None:
    with s3_server() as (url, _):
        result = play(uploads(), url, of_sizes(*[2_000_000] * 6))
    frame = result.frame
    assert (frame["r2_ms"] > 0).all()
    assert (frame["r2_ms"] <= frame["latency_ms"]).all()
    (row,) = result.generator["s3_upload_mb_per_s"]
    assert (row["from_mb"], row["below_mb"], row["uploads"]) == (1.0, 10.0, 6)
    assert row["p50"] == pytest.approx(np.median(2.0 / (frame["r2_ms"] / 1e3)))
    assert any(note.startswith("S3 uploads of 1 to 10 MB: 6, throughput P50") for note in result.notes)


def test_processes_share_the_uploads_and_clean_up_only_their_own() -> None:
    with s3_server() as (url, client):
        client.put_object(Bucket=BUCKET, Key="somebody-elses", Body=b"x")
        kept = client.create_multipart_upload(Bucket=BUCKET, Key="somebody-elses-parts")["UploadId"]
        result = play(uploads(), url, of_sizes(*[1000] * 10), processes=2)
        objects = [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
        parts = [one["UploadId"] for one in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]
    assert shares(result) == {"ok": 10}
    assert result.generator["s3_uploads"] == result.generator["s3_removed_objects"] == 10
    assert (objects, parts) == (["somebody-elses"], [kept])


@given(st.lists(st.tuples(st.integers(1, 3 * 10**9), st.floats(1.0, 1e6)), min_size=1, max_size=30))
def test_size_classes_hold_every_upload_once(done: list[tuple[int, float]]) -> None:
    frame = pd.DataFrame(done, columns=["size_bytes", "r2_ms"]).assign(route="upload", outcome="ok")
    rows = upload_rates(frame, {"upload": UploadTerms("r2", 0, 1)})
    assert sum(row["uploads"] for row in rows) == len(done)
    for row in rows:
        high = row["below_mb"] or np.inf
        inside = [(size / 1e6) / (ms / 1e3) for size, ms in done if row["from_mb"] <= size / 1e6 < high]
        assert len(inside) == row["uploads"]
        assert row["least"] == pytest.approx(min(inside))
        assert row["p50"] == pytest.approx(np.median(inside))


# ---------------------------------------------------------------- what goes wrong


def test_upload_that_times_out_is_aborted_and_leaves_no_parts() -> None:
    """The store is slow to take a part: the upload is given up in the middle, and its multipart upload with it."""
    slow = 1.5

    def wait(**_: Any) -> None:
        time.sleep(slow)

    begin = S3Sender._begin

    def begin_slowly(self: S3Sender) -> None:
        begin(self)
        self._client.meta.events.register("before-call.s3.UploadPart", wait)

    with s3_server() as (url, client), patch.object(S3Sender, "_begin", begin_slowly):
        result = play(uploads(part_bytes=5 * MIB, timeout_ms=700.0), url, of_sizes(20 * MIB))
        parts = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
        objects = client.list_objects_v2(Bucket=BUCKET)["KeyCount"]
    assert shares(result) == {"timeout": 1}
    assert (list(parts), objects) == ([], 0)
    assert result.generator["s3_given_up_uploads"] == 1


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "refused"),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "overloaded"),
        (
            b"HTTP/1.1 307 Elsewhere\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            None,
        ),
        (b"220 ready for mail\r\n", "error"),
        (b"", "error"),
    ],
)
def test_refusal_and_no_http_are_outcomes(said: bytes, outcome: str | None) -> None:
    with answering(said) as url:
        result = play(uploads(), url, of_sizes(1000, 1000))
    counts = shares(result)
    assert sum(counts.values()) == 2
    assert counts == {outcome: 2} if outcome else "ok" not in counts


def test_throttling_stops_the_sending_until_then() -> None:
    said = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with answering(said) as url:
        result = play(uploads(), url, of_sizes(*[1000] * 20, gap_ms=100.0))
    counts = shares(result)
    assert counts["refused"] >= 1
    assert counts["skipped"] >= 5
    assert not result.valid


def test_endpoint_that_stands_still_is_a_timeout_and_nothing_is_left_running() -> None:
    before = set(threading.enumerate())
    with answering(b"", stalls=True) as url:
        result = play(uploads(timeout_ms=500.0), url, of_sizes(1000))
    assert shares(result) in ({"timeout": 1}, {"error": 1}), "boto3's own time limit may be the first"
    ours = [one for one in set(threading.enumerate()) - before if one.name.startswith("upload")]
    for thread in ours:
        thread.join(10)
    assert not [thread for thread in ours if thread.is_alive()]


def test_endpoint_that_does_not_answer_is_one_line_without_the_keys() -> None:
    with pytest.raises(RunnerError, match=r"s3=http://127\.0\.0\.1:9/adapters does not take an object: ") as caught:
        play(uploads(), f"{NOWHERE}/{BUCKET}", of_sizes(1))
    assert "\n" not in str(caught.value)
    assert not [key for key in KEYS.values() if key in str(caught.value)]


def test_bucket_that_is_not_there_is_one_line() -> None:
    with s3_server() as (url, _), pytest.raises(RunnerError, match=r"does not take an object: .*NoSuchBucket"):
        play(uploads(), url.replace(BUCKET, "another"), of_sizes(1))


@pytest.mark.parametrize(
    ("s3", "changes", "message"),
    [
        ("https://r2.example/adapters", {}, r"host='r2\.example' must be this machine .* allow list"),
        (
            f"{NOWHERE}/{BUCKET}",
            {"system.r2.part_bytes": MIB, "system.r2.part_bytes_min": 0},
            r"part_bytes=1048576 must",
        ),
        (f"{NOWHERE}/{BUCKET}", {"routes.upload.share": 0, "routes.log.share": 1}, "needs a route whose request is an"),
    ],
)
def test_refused_before_the_first_packet(s3: str, changes: dict[str, Any], message: str) -> None:
    scenario = uploads().with_(**changes)
    planned = of_sizes(1) if scenario.routes["upload"].share else schedules.at([0.0], routes=("log",))
    with pytest.raises(UsageError, match=message):
        play(scenario, s3, planned)


def test_missing_key_and_missing_extra_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as bare:
        bare.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(UsageError, match="environment variable AWS_SECRET_ACCESS_KEY must be set"):
            play(uploads(), f"{NOWHERE}/{BUCKET}", of_sizes(1))
    monkeypatch.setattr(s3_target, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"s3 needs boto3, which is not installed \(pip install 'headroom\[s3\]'\)"):
        play(uploads(), f"{NOWHERE}/{BUCKET}", of_sizes(1))


@pytest.mark.parametrize(
    "url", ["", "r2", "https://h", "https://h/", "https://h/a/b", "https://h/a?x=1", "https://[/a"]
)
def test_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"must be https://HOST/BUCKET"):
        parse_s3(url)


def test_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_s3("https://me:planted@h/a")
    assert "planted" not in str(caught.value)
    assert parse_s3("https://h:8/a") == S3Target("https://h:8", "a")
    assert PART_BYTES_MIN == 5 * MIB


def test_command_loads_by_s3_and_the_keys_are_in_no_output(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    how: Any = {"cwd": tmp_path, "env": {**environment, "COLUMNS": "200"}, "capture_output": True, "text": True}
    with s3_server() as (url, _):
        command = [
            sys.executable, "-m", "sim.cli", "load", "launch", NOWHERE, "--s3", url, "--rate", "5", "--duration", "2",
            "--save", "run.parquet", "--json", "out.json",
            *(f"--set=routes.{name}.share=0" for name in ("log", "balance", "search", "download", "device_log")),
        ]  # fmt: skip
        dry = subprocess.run([*command[:-7], *command[-5:], "--dry-run"], check=False, **how)
        done = subprocess.run(command, check=False, **how)
    assert dry.returncode == 0, dry.stderr
    assert f"by S3 to {url}" in dry.stdout
    assert done.returncode in (0, 1, 3), done.stderr
    assert "S3 uploads of" in done.stdout + done.stderr
    texts = [done.stdout, done.stderr, *(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir())]
    assert not [key for key in KEYS.values() for text in texts if key in text]
    json.loads((tmp_path / "out.json").read_text(), parse_constant=lambda _: pytest.fail("not JSON"))
