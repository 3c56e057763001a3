"""Stale reads by the place of the state.

Goal: the share of stale reads is that of the closed form in each of four places. Method: Poisson requests, several
seeds, and what must hold at the ends.
"""

import pytest

from sim.experiments.stale_reads import PLACES, stale_reads
from sim.foundation.errors import UsageError
from sim.scenario.scenario import load_scenario

LAUNCH = load_scenario("launch").with_(**{"workload.keys.count": 20})


@pytest.mark.parametrize("place", PLACES)
def test_share_is_that_of_the_closed_form(place: str) -> None:
    found = stale_reads(LAUNCH, place, write_share=0.05)  # type: ignore[arg-type]  # drawn from them
    assert found.stale.value == pytest.approx(found.predicted_share, abs=0.02)


def test_object_and_database_are_never_stale_and_the_others_are() -> None:
    found = {place: stale_reads(LAUNCH, place, seeds=2) for place in PLACES}
    assert [found[place].stale.value for place in ("object", "database")] == [0.0, 0.0]
    assert 0 < found["replica"].stale.low < found["cache"].stale.low
    assert found["cache"].behind_s_p99 <= LAUNCH.system.kv.cache_ttl_s


def test_without_writes_nothing_is_stale() -> None:
    assert stale_reads(LAUNCH, "cache", write_share=0, seeds=2).stale.value == 0


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("disk", {}, "place='disk' must be one of object"),
        ("cache", {"write_share": 1.0}, "write_share=1 must be in"),
        ("cache", {"seeds": 1}, "seeds=1 must be >= 2"),
    ],
)
def test_nonsense_is_refused(place: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stale_reads(LAUNCH, place, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_the_lag_of_the_scenario_s_own_replicas_counts() -> None:
    """With a constant lag L and writes of rate w, 1 - exp(-w L) of the reads are stale; without a lag none is."""
    replicas = {"system.d1.replicas": 6, "system.d1.replica_rtt_ms": 5.0}
    lagging = {lag_ms: LAUNCH.with_(**replicas, **{"system.d1.replica_lag_ms": lag_ms}) for lag_ms in (0.0, 2_000.0)}
    found = {lag_ms: stale_reads(one, "replica", write_share=0.05) for lag_ms, one in lagging.items()}
    assert found[0.0].stale.value == 0.0
    assert found[2_000.0].stale.value == pytest.approx(found[2_000.0].predicted_share, abs=0.02)
    assert found[2_000.0].behind_s_p99 <= 2.0
