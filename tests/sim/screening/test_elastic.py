"""A station that scales out, by arithmetic.

Goal: it bears any rate and is never the bottleneck. Method: launch at a rate that no fixed number of isolates bears.
"""

from math import inf, isnan

from sim.scenario.scenario import load_scenario
from sim.screening import screen

LAUNCH = load_scenario("launch")


def test_station_that_scales_out_bears_any_rate_and_nobody_waits_for_it() -> None:
    workers = next(row for row in screen(LAUNCH, 100_000).rows if row.station == "workers")
    assert workers.rate_per_s_max == inf
    assert workers.wait_ms_mean == 0
    assert isnan(workers.busiest_utilization)
