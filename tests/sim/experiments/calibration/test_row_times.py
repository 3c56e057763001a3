"""The time of a row, from statements that read different numbers of rows.

Goal: its interval holds the truth as often as it says; what does not grow, or not in proportion, is no time of a row; a
log gives it to a scenario whose steps name their statement, and is remarked on elsewhere. Method: logs drawn from laws
that are known.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim import calibrate
from sim.experiments.calibration.row_times import row_times

ROW_US, BASE_MS = 0.6, 0.3
SEARCH = """
base = "cloudflare.toml"
name = "search"
question = "What does a search take?"
[workload]
duration_s = 30
warm_up_s = 3
[workload.arrivals]
kind = "poisson"
rate_per_s = 20
[workload.keys]
count = 100
zipf = 0.8
[routes.search]
share = 1
request = { method = "GET", path = "/s/{key}" }
steps = ["workers.compute", { use = "d1.read", STEP }]
[system.d1]
rows = { loras = 10_000 }
"""


def drawn(seed: int, *, n: int = 400) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of statements: a skewed part, and a part for each row."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 10_000, n).astype(float)
    return BASE_MS * np.exp(0.5 * rng.standard_normal(n)) + rows * ROW_US / 1_000, rows


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    found = [row_times(*drawn(seed), rng=seed) for seed in range(80)]
    held = sum(one is not None and one.row_us.low <= ROW_US <= one.row_us.high for one in found)
    assert held >= 70  # Of 80 at 95 %, fewer have a chance of 1 in 1,000.
    assert all(one is not None and one.is_linear for one in found)


def test_what_does_not_grow_has_no_time_of_a_row() -> None:
    rng = np.random.default_rng(1)
    times_ms, rows = rng.lognormal(size=500), rng.integers(1, 10_000, 500).astype(float)
    assert row_times(times_ms, rows, rng=1) is None
    assert row_times(times_ms, np.full(500, 20.0), rng=1) is None
    assert row_times(*(one[:20] for one in drawn(1)), rng=1) is None


def test_what_grows_in_another_way_is_told_from_a_line() -> None:
    times_ms, rows = drawn(3)
    for grown_ms in (6.0 * (rows > 5_000), 8.0 * (rows / 10_000) ** 2):
        found = row_times(times_ms - rows * ROW_US / 1_000 + grown_ms, rows, rng=1)
        assert found is not None
        assert not found.is_linear


def test_a_log_gives_it_to_a_scenario_that_names_its_statement(tmp_path: Path) -> None:
    log = tmp_path / "d1.jsonl"
    lines = ({"meta": {"duration": ms, "rows_read": int(rows)}} for ms, rows in zip(*drawn(5), strict=True))
    log.write_text("\n".join(map(json.dumps, lines)))
    named, plain = tmp_path / "named.toml", tmp_path / "plain.toml"
    named.write_text(SEARCH.replace("STEP", 'sql = "SELECT id FROM loras WHERE owner_id = ?"'))
    plain.write_text(SEARCH.replace("STEP", "rows_read = 20"))
    found = calibrate(named, logs=[log], out=tmp_path / "out.toml")
    row_us, read_ms = found["system.d1.row_us"].law.intervals["value"], found["system.d1.read_ms"].law
    assert row_us.low <= ROW_US <= row_us.high
    assert read_ms.intervals["median"].low <= BASE_MS <= read_ms.intervals["median"].high
    assert f"row_us = {row_us.value:.6g}"[:14] in (tmp_path / "out.toml").read_text("utf-8")
    other = calibrate(plain, logs=[log])
    assert [one.path for one in other.found] == ["system.d1.read_ms"]
    assert "this log's mixture of statements" in other.notes[0]
    assert "name the steps' sql" in other.notes[0]
