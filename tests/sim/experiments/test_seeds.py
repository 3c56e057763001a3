"""What all seeds of a search do together: pilot runs choose the cut, and the answer is that of all requests.

Goal: the interval over the seeds is that of independent runs with a cut that none of them chose, and its middle is not
moved by how unlike they are. Method: runs whose start and whose answer are given, in place of simulated ones.
"""

from concurrent.futures import ThreadPoolExecutor
from math import exp, log
from pathlib import Path

import numpy as np
import pytest

from sim.experiments.long_runs import LongRun, Pilot, Stretch
from sim.experiments.search import Search
from sim.experiments.seeds import DOUBLINGS_MAX, LENGTH_S, PILOTS, SECTIONS, Hunt, Rates
from sim.randomness.streams import SEED_MAX
from sim.scenario.scenario import Scenario
from sim.statistics.quantiles import upper_part
from tests.support.one_queue import as_one_queue, judged_by

ANSWER_PER_S, TARGET_MS = 1_000.0, 200.0
SHAPE = -np.log(1 - (np.arange(20_000) + 0.5) / 20_000) / log(100)
"""Latencies of an M/M/1 queue, in their P99."""


class Played:
    """Seeds that were played, and stretches; a start of a given length."""

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self.pilots: list[tuple[int, float]] = []
        self.judged: list[tuple[int, Stretch]] = []

    def pilot(self, search: Search, rate_per_s: float, length_s: float, *, sections: int) -> Pilot:
        """Return sections that are slow at first, and ever less so up to the start's end."""
        assert rate_per_s == pytest.approx(ANSWER_PER_S, rel=0.1)
        self.pilots.append((search.seed, length_s))
        middles_s = length_s * (np.arange(sections) + 0.5) / sections
        # Seeds are apart, and their mean is not.
        noise = 0.001 * (-1) ** search.seed * np.cos(np.arange(sections))
        slow_share = np.asarray(0.01 + 0.04 * np.maximum(1 - middles_s / self.start_s, 0) + noise)
        return Pilot(slow_share, self._run(search, rate_per_s, Stretch(0.0, length_s)))

    def long_run(self, search: Search, rate_per_s: float, stretch: Stretch, *, start_s: float) -> LongRun:
        """Return latencies whose P99 is as far from the target as the rate is beyond the answer of this seed."""
        assert start_s > 0
        self.judged.append((search.seed, stretch))
        return self._run(search, rate_per_s, stretch)

    def _run(self, search: Search, rate_per_s: float, stretch: Stretch) -> LongRun:
        beyond = self.gap(search, rate_per_s, stretch)
        latency_ms = TARGET_MS * exp(beyond) * SHAPE
        return LongRun((upper_part(latency_ms, 0.99),), 0.5, beyond)

    def gap(self, search: Search, rate_per_s: float, stretch: Stretch) -> float:
        """Return the same where a seed looks for itself."""
        return float(log(rate_per_s / ANSWER_PER_S) + np.random.default_rng(search.seed).normal(0, 0.002))


def judged(folder: Path) -> Scenario:
    """Return a scenario with one target."""
    return as_one_queue(judged_by(folder, ("api_latency_ms", TARGET_MS)), **{"workload.warm_up_s": 0})


def hunted(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario, start_s: float, *, seed: int = 7
) -> tuple[Played, Rates]:
    """Let five seeds hunt."""
    played = Played(start_s)
    for name in ("pilot", "long_run", "gap"):
        task = getattr(played, name)
        monkeypatch.setattr(Search, name, lambda *args, task=task, **options: task(*args, **options))
    with ThreadPoolExecutor(1) as workers:
        search = Search(scenario, seed, engine="compiled")
        return played, Hunt(search, ANSWER_PER_S, seeds=5, tolerance_ratio=0.03, workers=workers).rates()


def test_the_cut_is_chosen_by_seeds_that_are_not_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A start of three of ten sections: six are cut, since noise hides the last of what fades, but at most half."""
    played, found = hunted(monkeypatch, judged(tmp_path), 0.3 * LENGTH_S)
    assert [length_s for _, length_s in played.pilots] == [LENGTH_S] * PILOTS
    assert {seed for seed, _ in played.judged} == set(range(7, 12))
    assert {seed for seed, _ in played.pilots}.isdisjoint(range(7, 12))
    assert {stretch for _, stretch in played.judged} == {Stretch(LENGTH_S / 2, LENGTH_S / 2)} == {found.stretch}
    assert found.settled
    assert found.steady == pytest.approx([ANSWER_PER_S] * 5, rel=0.01)


def test_pilots_are_longer_where_the_start_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A start of seven sections of the first pilots is over by the middle of the next ones."""
    played, found = hunted(monkeypatch, judged(tmp_path), 0.7 * LENGTH_S)
    lengths_s = [length_s for _, length_s in played.pilots]
    assert lengths_s == [LENGTH_S] * PILOTS + [2 * LENGTH_S] * PILOTS
    assert found.settled
    assert found.stretch.length_s == 2 * LENGTH_S
    assert found.stretch.cut_s >= 0.7 * LENGTH_S


def test_a_start_that_no_pilot_forgets_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played, found = hunted(monkeypatch, judged(tmp_path), 3.5 * LENGTH_S)
    longest_s = LENGTH_S * 2**DOUBLINGS_MAX
    assert played.pilots[-1][1] == longest_s
    assert not found.settled
    assert found.stretch == Stretch(longest_s / 2, longest_s / 2)


def test_pilots_of_the_last_seeds_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played, _ = hunted(monkeypatch, judged(tmp_path), 0.1 * LENGTH_S, seed=SEED_MAX - 10)
    assert all(0 <= seed <= SEED_MAX for seed, _ in played.pilots)
    assert SECTIONS * played.judged[0][1].cut_s / LENGTH_S == pytest.approx(2)


def test_the_answer_is_that_of_all_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs of which a few see most of the slow requests: the mean of their own answers would be too high."""
    gaps: list[float] = []

    def unlike(self: Played, search: Search, rate_per_s: float, stretch: Stretch) -> float:
        return 4 * log(rate_per_s / ANSWER_PER_S) + float(np.random.default_rng(search.seed).normal(0, 0.2))

    monkeypatch.setattr(Played, "gap", unlike)
    scenario, together = judged(tmp_path), list[float]()
    for seed in range(0, 1_000, 5):
        _, found = hunted(monkeypatch, scenario, 0.1 * LENGTH_S, seed=seed)
        together.append(float(np.mean(np.log(found.steady))))
        gaps += [float(np.random.default_rng(seed + step).normal(0, 0.2)) for step in range(5)]
    mixed = np.concatenate([exp(gap) * SHAPE[-2_000:] for gap in gaps])
    p99_of_all = np.partition(mixed, -200 * len(gaps))[-200 * len(gaps)]
    answer = -log(p99_of_all) / 4  # Where the P99 of all, at this rate's, is the target.
    error = float(np.std(together, ddof=1)) / np.sqrt(len(together))
    assert answer == pytest.approx(float(np.mean(together)) - log(ANSWER_PER_S), abs=3 * error)
    assert answer < -float(np.mean(gaps)) / 4 - 3 * error
