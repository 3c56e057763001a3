"""MSER-5.

Goal: the climb from empty is cut, steady data are kept, and a run that never settled says so. Method: series with a
known climb, the definition evaluated by brute force, and an overfull M/M/1 queue.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from sim.foundation.errors import UsageError
from sim.statistics.warmup import forgotten_after, replicated_warm_up, warm_up
from sim.theory import lindley


@pytest.mark.parametrize("seed", range(5))
def test_cut_is_the_earliest_that_is_nearly_the_best(seed: int) -> None:
    """Every cut that leaves a quarter of the run tried, with NumPy's own variance; within 3 % of the least."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=403) + 6 * np.exp(-np.arange(403) / 25)
    means = values[:400].reshape(80, 5).mean(axis=1)
    scores = [means[d:].var() / (80 - d) for d in range(60)]
    assert warm_up(values).requests == 5 * next(d for d in range(60) if scores[d] <= 1.03 * min(scores))


def test_step_is_cut_where_it_ends() -> None:
    """A thousand requests at 50 ms above the rest."""
    rng = np.random.default_rng(1)
    values = 100 + rng.normal(size=10_000)
    values[:1000] += 50
    found = warm_up(values)
    assert found.settled
    assert 1000 <= found.requests <= 1050


def test_steady_data_are_kept() -> None:
    """Of 100 runs without a climb, half lose nothing, and nine in ten less than a fifth."""
    cuts = [warm_up(np.random.default_rng(seed).exponential(1, 5000)).requests for seed in range(100)]
    assert np.median(cuts) == 0
    assert np.quantile(cuts, 0.9) < 1000


def test_run_that_never_settles_says_so() -> None:
    """A ramp, as of an unstable queue."""
    found = warm_up(np.arange(1000.0))
    assert not found.settled
    assert found.requests <= 500


def test_queue_that_begins_with_a_crowd_is_cut_and_its_bias_removed() -> None:
    """M/M/1 at 80 %, 300 waiting at the start: the mean of 200 runs is half too high before, 5 % after (H61)."""
    before, after = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        arrival = np.concatenate([np.zeros(300), np.cumsum(rng.exponential(1.25, 20_000))])
        service = rng.exponential(1, 20_300)
        sojourn = lindley(arrival, service) + service
        before.append(sojourn.mean())
        after.append(sojourn[warm_up(sojourn).requests :].mean())
    assert np.mean(before) > 1.5 * 5
    assert np.mean(after) == pytest.approx(5, rel=0.05)


def test_replications_share_the_cut_of_their_average() -> None:
    """Noise that hides the climb in each run of ten levels out in their average."""
    rng = np.random.default_rng(2)
    climb = 3 * np.exp(-np.arange(4000) / 200)
    runs = [climb + rng.normal(size=4000) * 5 for _ in range(100)]
    assert 200 <= replicated_warm_up(runs).requests <= 1500


@pytest.mark.parametrize("n", [1, 9])
def test_too_short_to_tell(n: int) -> None:
    """Fewer than two batches of five."""
    assert not warm_up(np.ones(n)).settled


def test_empty_run_is_refused() -> None:
    """One line, not a traceback of NumPy's."""
    with pytest.raises(UsageError, match="must hold at least one number"):
        warm_up([])


@given(length=st.integers(1, 4), height=st.floats(3.0, 50.0), seed=st.integers(0, 10_000))
def test_start_that_shows_is_cut_and_no_more(length: int, height: float, seed: int) -> None:
    """Five runs of twenty sections: the first few are raised, the rest is noise of 1."""
    rng = np.random.default_rng(seed)
    runs = rng.normal(10.0, 0.1, (5, 20))
    runs[:, :length] += height
    assert (forgotten_after(list(runs)) or 10) in range(length, 11)


def test_cut_is_right_as_often_as_the_bounds_promise() -> None:
    """A bound of 1.5 and one of 1 standard error, of four degrees of freedom: the shortest cut in half of all cases."""
    rng = np.random.default_rng(3)
    cuts = []
    for _ in range(400):
        runs = rng.normal(0.0, 1.0, (5, 20))
        runs[:, :3] += 30.0
        cuts.append(forgotten_after(list(runs)))
    alone = [1 - 2 * stdtr(4, -bound) for bound in (1.5, 1.0)]
    assert alone[0] * alone[1] - 0.1 < np.mean([cut == 6 for cut in cuts]) < alone[1] + 0.05


def test_runs_that_never_settle_say_so() -> None:
    """A log that grows: each section is slower than the one before."""
    rng = np.random.default_rng(4)
    assert forgotten_after(list(np.arange(10.0) + rng.normal(0, 0.05, (5, 10)))) is None


@pytest.mark.parametrize(("fades_after", "held_min", "gain_min"), [(0.5, 0.92, 0.0), (2, 0.88, 0.08), (5, 0.6, 0.35)])
def test_interval_holds_the_truth_of_a_slow_drift_more_often(
    fades_after: float, held_min: float, gain_min: float
) -> None:
    """A drift that fades exponentially, over searches that are doubled until it does not show.

    The worst is one that a single section of a run shows as little as its noise, and that fades over half of the first
    run: cut where a single section first looks like the rest, four intervals in five miss.
    """
    held, before = _coverage(fades_after, forgotten_after), _coverage(fades_after, _one_section_alike)
    assert held > held_min
    assert held > before + gain_min


def _coverage(fades_after: float, rule: Callable[[list[NDArray[np.float64]]], int | None]) -> float:
    """Share of 400 searches, of five runs of length 10, 20 or 40, whose 95 % interval holds the mean without drift."""
    rng, held = np.random.default_rng(7), []
    drift = 3.0 * np.exp(-np.arange(40) / fades_after)
    for _ in range(400):
        whole = rng.normal(0.0, 1.0, (5, 40)) + drift
        for length in (10, 20, 40):
            sections = whole[:, :length].reshape(5, 10, -1).mean(axis=2)
            cut = rule(list(sections))
            if cut is not None:
                break
        left = sections[:, cut or 5 :].mean(axis=1)
        held.append(abs(left.mean()) <= stdtrit(4, 0.975) * left.std(ddof=1) / np.sqrt(5))
    return float(np.mean(held))


def _one_section_alike(runs: list[NDArray[np.float64]]) -> int | None:
    """Cut before the first section that differs from the second halves by no more than 1.5 standard errors."""
    data = np.array(runs)
    half = data.shape[1] // 2
    apart = data[:, :half] - data[:, half:].mean(axis=1)[:, np.newaxis]
    error = apart.std(axis=0, ddof=1) / np.sqrt(len(data))
    alike = np.flatnonzero(np.abs(apart.mean(axis=0))[1:] <= 1.5 * error[1:])
    return int(alike[0]) + 1 if len(alike) else None
