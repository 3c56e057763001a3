"""Sequential stopping.

Goal: replications end when, and only when, the precision asked for is reached, and the interval they end with still
covers the truth. Method: replications of known distribution, budgets that are too small, and an interrupt.
"""

import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, main_thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.experiments.executors import Here
from sim.experiments.precision import Precision
from sim.experiments.stopping import SequentialEstimate, replicate_until
from sim.foundation.errors import RunnerError, UsageError
from sim.theory import MMc
from tests.evidence.coverage import sojourns

Array = NDArray[np.float64]

LENGTH = 500


def exponential(seed: int) -> Array:
    return np.random.default_rng(seed).exponential(10, LENGTH)


def mm1(seed: int) -> Array:
    """Sojourns at 50 % in equilibrium: mean 2, P99 2 ln 100."""
    return sojourns(seed, load=0.5, requests=LENGTH, empty=False)


def until(
    text: str, *, seed: int, replicate: Callable[[int], Array] = exponential, **options: Any
) -> SequentialEstimate:
    return replicate_until(replicate, Precision.parse(text), seed=seed, requests=LENGTH, **options)


# ---------------------------------------------------------------- wording


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99 ± 2 %", Precision("p99", 0.02, relative=True)),
        ("mean +- 0.5 ms", Precision("mean", 0.5, relative=False)),
        ("p50+/-1%", Precision("p50", 0.01, relative=True)),
        (" p999 ± .5 % ", Precision("p999", 0.005, relative=True)),
        ("d1_query_ms p50 ± 1ms", Precision("p50", 1.0, relative=False, metric="d1_query_ms")),
        ("r2_upload_mb_per_s p10 ± 0.2 mb/s", Precision("p10", 0.2, relative=False, metric="r2_upload_mb_per_s")),
    ],
)
def test_wording_is_read(text: str, expected: Precision) -> None:
    """Three ways to write plus-minus, per cent or the metric's unit; and what is written back is read again."""
    assert Precision.parse(text) == expected
    assert Precision.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must read like"),
        ("p99", "must read like"),
        ("p99 ± 0 %", "above 0"),
        ("p99 ± -2 %", "must read like"),
        ("max ± 2 %", "must read like"),
        ("± 2 %", "must read like"),
        ("p00 ± 1 %", "statistic='p00'"),
        ("p99 ± 2 s", "must be in % or ms, not in s"),
        ("r2_upload_mb_per_s p10 ± 2 ms", "must be in % or MB/s, not in ms"),
        ("uptime_ratio mean ± 1 %", "cannot be uptime"),
    ],
)
def test_other_wording_is_refused_with_an_example(text: str, message: str) -> None:
    """The message shows how to write it."""
    with pytest.raises(UsageError, match=message):
        Precision.parse(text)


# ---------------------------------------------------------------- the procedure


@pytest.mark.parametrize("text", ["p99 ± 3 %", "mean ± 1 %", "p50 +- 0.2 ms"])
def test_precision_is_reached(text: str) -> None:
    """Both bounds lie within the limit, over as many replications as it took."""
    found = until(text, seed=1)
    assert found.reached
    assert found.precision.excess(found.estimate) <= 1
    assert found.estimate.n == found.replications * LENGTH
    assert found.requests_total == found.replications_total * LENGTH > found.estimate.n


def test_tighter_precision_costs_by_the_square_root_law() -> None:
    """A third of the tolerance costs about nine times the replications, give or take what an interval scatters."""
    loose, tight = (
        np.mean([until(f"p99 ± {limit} %", seed=seed).replications for seed in range(10)]) for limit in (3, 1)
    )
    assert 6 < tight / loose < 13


def test_few_looks_are_taken() -> None:
    """Looking often means stopping by chance."""
    assert until("p99 ± 3 %", seed=3, replicate=mm1).looks <= 6


def test_none_ends_at_its_first_look() -> None:
    """However narrow the first interval is: as many other replications must agree that it should be."""
    found = until("mean ± 50 %", seed=10)
    assert (found.looks, found.replications, found.replications_total) == (2, 10, 20)


def test_a_narrow_interval_by_chance_ends_nothing() -> None:
    """The second look's values are all alike, which no look before it foretold: so more follow."""
    played: list[int] = []

    def lucky(seed: int) -> Array:
        played.append(seed)
        noise = 1.0 if len(played) <= 10 else 0.0 if len(played) <= 200 else 0.1
        return 10 + noise * np.random.default_rng(seed).normal(0, 10, LENGTH)

    found = until("mean ± 0.5 %", seed=11, replicate=lucky)
    assert found.looks > 2
    assert found.reached


def test_same_seed_gives_the_same_answer() -> None:
    """And another seed another one."""
    first, again, other = (until("mean ± 5 %", seed=seed, replicate=mm1) for seed in (4, 4, 5))
    assert first == again != other


@pytest.mark.parametrize(("text", "truth"), [("p99 ± 8 %", 2 * np.log(100)), ("mean ± 4 %", 2.0)])
def test_interval_at_the_end_covers_the_truth(text: str, truth: float) -> None:
    """200 sequential experiments on M/M/1 at 50 %: at least 91 % hold the truth (2.6 standard errors below 95 %)."""
    assert MMc(500, 1.0).sojourn_quantile_ms(0.99) == pytest.approx(2 * np.log(100))
    held = [until(text, seed=seed, replicate=mm1).estimate.holds(truth) for seed in range(200)]
    assert np.mean(held) >= 0.91


def test_progress_is_reported_at_each_look() -> None:
    """With the estimate, and how far it is from what was asked for."""
    reported: list[str] = []
    found = until("mean ± 1 %", seed=1, on_progress=reported.append)
    assert len(reported) == found.looks
    assert reported[0].startswith("look 1: 10 replications, ")
    assert reported[0].endswith(" times the width asked for")


# ---------------------------------------------------------------- early ends


def test_budget_ends_it_and_says_so() -> None:
    """The best answer so far, marked as not precise enough."""
    found = until("p99 ± 0.1 %", seed=6, replicate=mm1, requests_max=100_000)
    assert not found.reached
    assert found.reason == "100,000 requests were not enough"
    assert found.requests_total <= 100_000
    assert found.estimate.n > 0


def test_a_budget_below_the_first_look_shortens_it() -> None:
    """Three replications where ten were meant."""
    found = until("p99 ± 0.1 %", seed=6, requests_max=3 * LENGTH + 10)
    assert (found.replications, found.reached) == (3, False)


def interrupt_at(number: int) -> Callable[[int], Array]:
    """Exponential replications, the last of which somebody interrupts."""
    played: list[int] = []

    def replicate(seed: int) -> Array:
        played.append(seed)
        if len(played) == number:
            raise KeyboardInterrupt
        return exponential(seed)

    return replicate


def test_stop_by_hand_keeps_what_was_measured() -> None:
    """In the first look the replications that were done, later the look that knows more."""
    first = until("p99 ± 0.1 %", seed=8, replicate=interrupt_at(6))
    assert (first.reached, first.reason, first.replications) == (False, "stopped by hand", 5)
    assert first.interrupted
    early = until("p99 ± 0.1 %", seed=8, replicate=interrupt_at(16))
    assert (early.interrupted, early.replications, early.replications_total) == (True, 10, 15)
    late = until("p99 ± 0.1 %", seed=8, replicate=interrupt_at(26))
    assert (late.interrupted, late.replications, late.replications_total) == (True, 15, 25)


def test_stop_by_hand_before_anything_was_measured() -> None:
    """One replication says nothing."""
    with pytest.raises(KeyboardInterrupt):
        until("p99 ± 1 %", seed=8, replicate=interrupt_at(2))


def test_ctrl_c_reaches_replications_on_threads() -> None:
    """The sixth runs when it comes: the five before are kept."""
    played: list[int] = []
    released = Event()

    def replicate(seed: int) -> Array:
        played.append(seed)
        if len(played) == 6:
            signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
            released.wait()
        return exponential(seed)

    with ThreadPoolExecutor(1) as pool:
        try:
            found = until("p99 ± 0.1 %", seed=8, replicate=replicate, executor=pool)
        finally:
            released.set()
    assert (found.interrupted, found.replications) == (True, 5)


def test_a_worker_that_dies_is_not_called_a_hand() -> None:
    """Its reason is given; nothing was measured."""

    class Dying(Here):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise FutureCancelledError("lost")

    class FutureCancelledError(Exception):
        pass

    with pytest.raises(RunnerError, match="a worker died in its run, and no other took over: lost"):
        until("p99 ± 1 %", seed=8, executor=Dying())


def test_an_error_of_a_replication_is_its_own() -> None:
    """It ends everything, on any executor."""

    def broken(seed: int) -> Array:
        raise UsageError(f"seed={seed} is broken")

    with pytest.raises(UsageError, match="is broken"):
        until("mean ± 5 %", seed=9, replicate=broken)


def test_replications_may_run_on_an_executor() -> None:
    """Any gives the same answer."""
    with ThreadPoolExecutor(2) as pool:
        threaded = until("mean ± 5 %", seed=9, replicate=mm1, executor=pool)
    assert threaded == until("mean ± 5 %", seed=9, replicate=mm1)


def test_seeds_of_replications_are_all_different() -> None:
    """Equal runs would make a variance of zero."""
    seen: list[int] = []

    def watched(seed: int) -> Array:
        seen.append(seed)
        return exponential(seed)

    until("mean ± 50 %", seed=10, replicate=watched)
    assert len(set(seen)) == len(seen) == 20
    assert min(seen) >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1 must be a whole number from 0"),
        ({"seed": 0, "replications": 1}, "replications=1 must be >= 2"),
        ({"seed": 0, "requests_max": 999}, "requests_max=999 must be >= 1000, two replications"),
    ],
    ids=["seed", "replications", "max"],
)
def test_bad_input_names_the_value_and_the_rule(options: dict[str, Any], message: str) -> None:
    """Before anything is run."""
    with pytest.raises(UsageError, match=re.escape(message)):
        until("mean ± 1 %", **options)
