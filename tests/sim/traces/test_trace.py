"""Traces: real arrivals from a CSV file.

Goal: what the file says is what is played, and a file that says it wrongly is refused with its line. Method: small
files written here, in the generic and in the Azure format; a fuzzed parser; and the real trace where it is.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import read_trace
from sim.foundation.errors import ScenarioError
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.traces.trace import Trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:04.0319601,110,27
"""
GENERIC = """arrival_ms,route,key,size_bytes,tokens_in,tokens_out,ignored
10.5,log,org-7,0,100,20,a
11.5,upload,3,5000,0,0,b
20,download,7,310000,0,0,c
"""
LAUNCH = load_scenario("launch")
REAL = Path(os.environ.get("HEADROOM_AZURE_TRACE", "absent"))
"""AzureLLMInferenceTrace_code.csv of the Azure Public Dataset, November 2023: 8,819 requests."""


def written(folder: Path, text: str) -> Path:
    """A CSV file."""
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def on_trace(path: Path, **arrivals: object) -> Scenario:
    """The default scenario on a trace."""
    return load_scenario("launch").vary("workload.arrivals", {"kind": "trace", "file": str(path), **arrivals})


def numbered(count: int = 1000) -> Trace:
    """A trace whose tokens count up, with gaps that tell the row: row i is followed after i + 1 ms."""
    gap_ms = np.arange(1.0, count + 1)
    number = np.arange(count)
    return Trace("numbered", np.cumsum(gap_ms) - gap_ms, duration_ms=float(gap_ms.sum()), tokens_in=number)


def test_azure_times_keep_their_hundred_nanoseconds(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, AZURE))
    assert trace.arrival_ms.tolist() == [0, 52, 52.0001]


def test_azure_tokens_are_the_usage_of_each_request(tmp_path: Path) -> None:
    played = schedule(on_trace(written(tmp_path, AZURE)))
    assert played.tokens_in.tolist() == [4808, 3180, 110]
    assert played.tokens_out.tolist() == [10, 8, 27]


def test_generic_columns_are_played_as_they_are(tmp_path: Path) -> None:
    played = schedule(on_trace(written(tmp_path, GENERIC)))
    assert [played.routes[code] for code in played.route_code] == ["log", "upload", "download"]
    assert played.arrival_ms.tolist() == [0, 1, 9.5]
    assert played.key.tolist() == [0, 1, 2]
    assert played.size_bytes[:2].tolist() == [0, 5000]
    assert played.object_number[:2].tolist() == [-1, 17]


def test_a_recorded_download_is_served_by_the_nearest_object(tmp_path: Path) -> None:
    scenario = on_trace(written(tmp_path, GENERIC))
    played = schedule(scenario)
    distribution = scenario.routes["download"].size_bytes
    assert distribution is not None
    stored = distribution.quantile((np.arange(16) + 0.5) / 16)
    assert played.object_number[2] == np.argmin(np.abs(stored - 310_000))
    assert played.size_bytes[2] == round(stored[played.object_number[2]])


def test_what_a_trace_does_not_say_comes_from_the_scenario(tmp_path: Path) -> None:
    arrivals = "arrival_ms\n" + "\n".join(str(at) for at in range(2000))
    played = schedule(on_trace(written(tmp_path, arrivals)))
    assert len(np.unique(played.route_code)) == 6
    assert played.key.max() < 200
    assert played.tokens_in.mean() == pytest.approx(278, rel=0.1)


def test_labels_are_numbered_in_order_of_appearance(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "arrival_ms,key\n0,b\n1,a\n2,b\n"))
    assert trace.key is not None
    assert trace.key.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "stamp",
    ["2023-11-16T18:17:04Z", "2023-11-16 20:17:04.0+02:00", "2023-11-16 18:17:04,000"],
)
def test_zones_and_separators_of_a_stamp(tmp_path: Path, stamp: str) -> None:
    trace = read_trace(written(tmp_path, f'timestamp\n2023-11-16 18:17:03\n"{stamp}"\n'))
    assert trace.arrival_ms.tolist() == [0, 1000]


def test_byte_order_mark_blank_lines_and_spaces_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes("\ufeffArrival_ms , Tokens_in\r\n\r\n 1 , 5 \r\n 2 , 7 \r\n".encode())
    trace = read_trace(path)
    assert trace.tokens_in is not None
    assert trace.tokens_in.tolist() == [5, 7]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", r"trace\.csv is empty"),
        ("arrival_ms\n", r"holds no row below its header"),
        ("route\nlog\n", r"trace\.csv:1 has no column that is known to hold times; it has: route; say which: --col"),
        ("arrival_ms,arrival_ms\n1,2\n", r":1 names the column arrival_ms twice"),
        ("arrival_ms\n0\n\n2\nnan\n", r':5 arrival_ms="nan" must be a finite number'),
        ("arrival_ms\ninf\n", r':2 arrival_ms="inf" must be a finite number'),
        ("arrival_ms\nsoon\n", r':2 arrival_ms="soon" must be a time'),
        ("arrival_ms,key\n0,1\n1\n", r":3 has 1 cells, must have 2 as its header"),
        ("arrival_ms,tokens_in\n0,-4\n", r':2 tokens_in="-4" must be >= 0'),
        ("arrival_ms,tokens_in\n0,1.5\n", r':2 tokens_in="1\.5" must be a whole number'),
        ("arrival_ms,tokens_in\n0,\n1,x\n", r':3 tokens_in="x" must be a whole number'),
        ("arrival_ms,tokens_in\n,1\n1,2\n", r':2 arrival_ms="" must not be empty'),
        ("arrival_ms,tokens_in\n0,99999999999999999999\n", r"must be <= 9007199254740992"),
        ("arrival_ms,route\n0,lgo\n", r'has 1 of 1 rows that match no route: "lgo" \(1\); did you mean log\?'),
        ("timestamp\nyesterday\n", r':2 timestamp="yesterday" must be a time such as 2026-11-16'),
        ("timestamp\n2023-13-16 18:17:03\n", r':2 timestamp="2023-13-16 18:17:03" month must be in 1\.\.12: no such'),
        ("timestamp\n9999-01-16 18:17:03\n", r"must be a time such as"),
        ("arrival_ms\n-1e308\n1e308\n", r':2 arrival_ms="-1e308" must lie within'),
        ('arrival_ms,key\n"0,1\n2,3\n', r":3 has 1 cells, must have 2"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_rule(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(ScenarioError, match=rule):
        read_trace(written(tmp_path, text), load_scenario("launch"))


def test_routes_are_those_of_the_scenario(tmp_path: Path) -> None:
    """Numbered in its order; a label of another scenario's is refused, and where no routes are known none is read."""
    path = written(tmp_path, "arrival_ms,route\n0,search\n1,log\n2,search\n")
    found = read_trace(path, LAUNCH).route_code
    assert found is not None
    assert [list(LAUNCH.routes)[code] for code in found] == ["search", "log", "search"]
    with pytest.raises(ScenarioError, match=r'match no route: "search" \(2\), "log" \(1\); it is one of: feed'):
        read_trace(path, load_scenario("feed"))
    assert read_trace(path).route_code is None


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="does not exist"):
        read_trace(tmp_path / "no.csv")
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_trace(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"arrival_ms\n\xff\n")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        read_trace(tmp_path / "bytes.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text('0123456789.,-"\n\0e aorglT:Z_msn', max_size=9), max_size=4), max_size=6))
def test_any_text_is_a_trace_or_a_clear_error(tmp_path: Path, rows: list[list[str]]) -> None:
    text = "arrival_ms,key,route,tokens_in\n" + "\n".join(",".join(row) for row in rows)
    try:
        trace = read_trace(written(tmp_path, text), LAUNCH)
    except ScenarioError:
        return  # Anything else would be a traceback.
    assert (np.diff(trace.arrival_ms) >= 0).all()
    assert np.isfinite(trace.duration_ms)


def test_clipping_keeps_a_span_of_the_recording(tmp_path: Path) -> None:
    trace = numbered().clipped(10, 20)
    assert trace.tokens_in is not None
    assert trace.tokens_in[[0, -1]].tolist() == [141, 199]
    assert trace.arrival_ms[0] == 141 * 142 / 2 - 10_000
    assert trace.duration_ms == 10_000


def test_clipping_to_nothing_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"clips numbered to \[600, inf\) s, where no row is: it is 500\.5 s long"):
        numbered().clipped(600, None)


@given(st.integers(0, 2**63 - 1), st.integers(1, 400))
def test_resampling_keeps_gaps_with_their_tokens(seed: int, count: int) -> None:
    trace = numbered(count).resampled(seed)
    assert trace.tokens_in is not None
    assert len(trace) == count
    assert np.allclose(np.diff(trace.arrival_ms, append=trace.duration_ms), trace.tokens_in + 1)


def test_resampling_draws_whole_blocks_anew_for_every_seed() -> None:
    first, second = (numbered().resampled(seed).tokens_in for seed in (1, 2))
    assert first is not None
    assert second is not None
    assert not np.array_equal(first, second)
    assert (np.diff(first) == 1).sum() >= 1000 - 100
    assert len(np.unique(first)) < 900


def test_resampling_and_scaling_are_keys_of_a_scenario(tmp_path: Path) -> None:
    path = written(tmp_path, AZURE)
    played = schedule(on_trace(path, time_scale=2.0, clip_end_s=0.0525, resample=False))
    assert played.arrival_ms.tolist() == [0, 104, 104.0002]
    assert played.duration_ms == 105
    drawn = schedule(on_trace(path, resample=True), 1)
    assert len(drawn) == 3


@pytest.mark.skipif(not REAL.is_file(), reason="HEADROOM_AZURE_TRACE names no file")
def test_real_trace_is_played_whole_and_compressed_for_the_live_part() -> None:
    played = schedule(on_trace(REAL))
    assert len(played) == 8819
    assert played.duration_ms / 1000 == pytest.approx(3436, abs=1)
    assert (played.tokens_in[0], played.tokens_out[0]) == (4808, 10)
    live = played.live(25, 60)
    assert len(live) == 1500
    assert live.duration_ms == pytest.approx(25_000)
