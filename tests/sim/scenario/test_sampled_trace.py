"""A log that holds a sample of the requests, played as if it were all of them.

Goal: whoever drafts a scenario from a sample and then replays the sample hears that load and bill are too low. Method:
traces of given rates in place of a scenario's own volume.
"""

from pathlib import Path

import pytest

from sim.runners.play import prepare
from sim.scenario.recorded import sample_notes
from sim.scenario.scenario import load_scenario

LAUNCH = load_scenario("launch").with_(**{"demand.requests_per_day": 864_000})
"""Ten requests a second on average."""


def trace(folder: Path, *, requests: int, over_s: float) -> Path:
    rows = [f"{n * over_s * 1_000 / requests},search" for n in range(requests)]
    (folder / "log.csv").write_text("\n".join(["arrival_ms,route", *rows]) + "\n")
    return folder / "log.csv"


def test_a_trace_far_below_the_volume_is_called_a_sample(tmp_path: Path) -> None:
    (note,) = sample_notes(LAUNCH, prepare(LAUNCH, trace=trace(tmp_path, requests=50, over_s=100)))
    assert note.startswith("log.csv has 0.5")
    assert "% of [demand]'s 10: if it holds a sample of the traffic, load and bill are too low by as much" in note


@pytest.mark.parametrize("requests", [700, 3_000])
def test_a_quiet_hour_and_a_busy_one_are_no_sample(tmp_path: Path, requests: int) -> None:
    assert sample_notes(LAUNCH, prepare(LAUNCH, trace=trace(tmp_path, requests=requests, over_s=100))) == ()


def test_nothing_is_said_where_nothing_is_known(tmp_path: Path) -> None:
    short = prepare(LAUNCH, trace=trace(tmp_path, requests=5, over_s=2))
    assert sample_notes(LAUNCH, short) == ()
    assert sample_notes(load_scenario("feed"), prepare("feed")) == ()
