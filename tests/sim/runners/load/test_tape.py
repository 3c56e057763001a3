"""What a load run writes down, and what it can say about stations, for instances of any name.

Goal: time that an answer reports lands in the column of its instance, and nowhere else. Method: answers written here
are booked on a tape, and its frame is read.
"""

import numpy as np
import pytest

from sim.runners.load.stations import live_stations
from sim.runners.load.tape import Tape
from sim.scenario.scenario import load_scenario
from tests.support.schedules import at

TWO = load_scenario("launch").with_(
    **{
        "system.archive": {"like": "d1"},
        "system.auth": {"like": "workers"},
        "routes.second": {"share": 1.0, "steps": ["auth.compute", "archive.read"]},
    }
)


def taped(*timings: str, latency_ms: float = 100.0) -> Tape:
    """Requests 10 ms apart that were sent in time and all took as long."""
    tape = Tape(at(np.arange(len(timings)) * 10.0, key=np.arange(len(timings))), TWO)
    for request, timing in enumerate(timings):
        tape.send(request, at_ms=request * 10.0)
        tape.attribute(request, timing)
        tape.end(request, "ok", at_ms=request * 10.0 + latency_ms)
    return tape


def test_each_instance_has_its_column() -> None:
    frame = taped("archive;dur=3, archive_queue;dur=1, auth;dur=5, auth_cpu;dur=4", "d1;dur=7", "moon;dur=9").frame()
    assert [name for name in frame.columns if name in TWO.time_columns] == list(TWO.time_columns)
    assert frame["archive_ms"].tolist() == [3, 0, 0]
    assert frame["archive_queue_ms"].tolist() == [1, 0, 0]
    assert frame["d1_ms"].tolist() == [0, 7, 0]
    assert frame[["auth_ms", "auth_cpu_ms"]].to_numpy()[0].tolist() == [5, 4]


def test_time_that_is_reported_twice_adds_up() -> None:
    """A route with two queries says so twice."""
    assert taped("d1;dur=3, d1;dur=4").frame()["d1_ms"].tolist() == [7]


def test_time_inside_another_is_not_subtracted_twice() -> None:
    """CPU time lies inside the Worker's: of 100 ms, 20 are explained, not 35."""
    assert taped("workers;dur=10, worker_cpu;dur=8, auth;dur=10, auth_cpu;dur=7").overhead_ms.tolist() == [80]


def test_stations_of_instances_are_told_apart() -> None:
    """Eleven requests in 100 ms: those of the archive waited 2 ms each, those of D1 not at all."""
    frame = taped(*["archive;dur=3, archive_queue;dur=2"] * 6, *["d1;dur=4"] * 5).frame()
    stations = live_stations(frame, TWO).set_index("station")
    assert stations["served"].to_dict() == {"archive": 6, "d1": 5}
    assert stations["wait_mean_ms"].to_dict() == {"archive": 2, "d1": 0}
    assert stations.loc["archive", "queue_mean"] == pytest.approx(6 * 2 / 100)
    assert stations["utilization"].isna().all()


def test_busy_time_is_that_of_the_instance() -> None:
    """CPU that the answers report, over eight isolates and 100 ms."""
    frame = taped(*["auth;dur=6, auth_cpu;dur=4"] * 11).frame()
    stations = live_stations(frame, TWO.with_(**{"system.auth.isolates": 8})).set_index("station")
    assert list(stations.index) == ["auth"]
    assert stations.loc["auth", "utilization"] == pytest.approx(11 * 4 / 100 / 8)
    assert np.isnan(live_stations(frame, TWO)["utilization"].item())  # It scales out.
