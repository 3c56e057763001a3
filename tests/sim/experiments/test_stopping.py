"""Sequential stopping.

Goal: a run ends when, and only when, the precision asked for is reached, and the interval it ends with still covers
the truth. Method: runs of known law, budgets that are too small, and an interrupt.
"""

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.errors import UsageError
from sim.experiments.stopping import Precision, run_until
from sim.theory import MMc, lindley

Array = NDArray[np.float64]


def exponential(seed: int, requests: int) -> Array:
    return np.random.default_rng(seed).exponential(10, requests)


def mm1(seed: int, requests: int) -> Array:
    """Sojourns at 80 %: mean 5, P99 5 ln 100."""
    rng = np.random.default_rng(seed)
    service = rng.exponential(1, requests)
    return lindley(np.cumsum(rng.exponential(1.25, requests)), service) + service


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99 ± 2 %", Precision("p99", tolerance_ratio=0.02)),
        ("mean +- 0.5 ms", Precision("mean", tolerance_ms=0.5)),
        ("p50+/-1%", Precision("p50", tolerance_ratio=0.01)),
        (" p999 ± .5 % ", Precision("p999", tolerance_ratio=0.005)),
    ],
)
def test_wording_is_read(text: str, expected: Precision) -> None:
    """Three ways to write plus-minus, per cent or milliseconds."""
    assert Precision.parse(text) == expected


@pytest.mark.parametrize("text", ["", "p99", "p99 ± 0 %", "p99 ± -2 %", "p99 ± 2 s", "max ± 2 %", "p00 ± 1 %", "± 2 %"])
def test_other_wording_is_refused_with_an_example(text: str) -> None:
    """The message shows how to write it."""
    with pytest.raises(UsageError, match=r"p99|p50"):
        Precision.parse(text)


@pytest.mark.parametrize("until", ["p99 ± 3 %", "mean ± 1 %", "p50 +- 0.2 ms"])
def test_precision_is_reached(until: str) -> None:
    """Both bounds lie within the tolerance of the value, over twenty runs by default."""
    found = run_until(exponential, until, seed=1)
    assert found.reached
    assert found.replications == 20
    assert Precision.parse(until).shortfall(found.estimate) <= 1
    assert found.estimate.n == 20 * (found.requests - found.warm_up_requests)


def test_tighter_precision_costs_by_the_square_root_law() -> None:
    """A third of the tolerance costs about nine times the requests, give or take what an interval scatters."""
    loose, tight = (
        np.mean([run_until(exponential, f"p99 ± {tolerance} %", seed=seed).requests for seed in range(10)])
        for tolerance in (1.5, 0.5)
    )
    assert 6 < tight / loose < 13


def test_few_looks_are_taken() -> None:
    """Looking often means stopping by luck."""
    assert run_until(mm1, "p99 ± 3 %", seed=3).looks <= 6


def test_no_run_ends_at_its_first_look() -> None:
    """However short the first interval is: another twenty runs must agree that it should be."""
    assert run_until(exponential, "mean ± 50 %", seed=10).looks == 2


def test_luck_of_the_last_look_does_not_end_a_run() -> None:
    """Runs of 3,000 values are said to be precise by themselves, and by nobody before them: so longer ones follow."""
    noise = {2000: 1.0, 3000: 0.0}

    def lucky(seed: int, requests: int) -> Array:
        return 10 + noise.get(requests, 0.1) * np.random.default_rng(seed).normal(0, 10, requests)

    found = run_until(lucky, "mean ± 1.5 %", seed=11, requests_first=2000)
    assert found.requests not in noise
    assert found.reached


def test_same_seed_gives_the_same_answer() -> None:
    """And another seed another one."""
    first, again, other = (run_until(mm1, "mean ± 5 %", seed=seed) for seed in (4, 4, 5))
    assert first == again != other


def test_interval_at_the_end_covers_the_truth() -> None:
    """200 sequential runs of M/M/1 at 80 % to a P99 within 8 %: at least 91 % hold the truth (3 standard errors)."""
    truth = MMc(800, 1.0).sojourn_quantile_ms(0.99)
    held = [run_until(mm1, "p99 ± 8 %", seed=seed).estimate.holds(truth) for seed in range(200)]
    assert np.mean(held) >= 0.91


def test_budget_ends_the_run_and_says_so() -> None:
    """The best answer so far, marked as not precise enough."""
    found = run_until(mm1, "p99 ± 0.1 %", seed=6, requests_max=100_000)
    assert not found.reached
    assert found.reason == "100,000 requests were not enough"
    assert found.requests * found.replications <= 100_000
    assert found.estimate.n > 0


def test_run_that_never_settles_is_not_called_precise() -> None:
    """Growing for ever, with no noise at all: the interval is short, the warm-up never ends."""
    found = run_until(lambda _, n: np.arange(float(n)), "mean ± 50 %", seed=7, requests_max=200_000)
    assert not found.reached


def test_stop_by_hand_keeps_the_last_look() -> None:
    """Ctrl-C during the second look: the first look's answer, marked."""
    calls = []

    def interrupted(seed: int, requests: int) -> Array:
        calls.append(seed)
        if len(calls) > 30:
            raise KeyboardInterrupt
        return exponential(seed, requests)

    found = run_until(interrupted, "p99 ± 0.1 %", seed=8)
    assert (found.reached, found.reason, found.looks) == (False, "stopped by hand", 1)


def test_replications_may_run_on_an_executor() -> None:
    """Any map over seeds gives the same answer."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        threaded = run_until(mm1, "mean ± 5 %", seed=9, over=lambda one, seeds: list(pool.map(one, seeds)))
    assert threaded == run_until(mm1, "mean ± 5 %", seed=9)


def test_seeds_of_replications_are_all_different() -> None:
    """Equal runs would make a spread of zero."""
    seen: list[int] = []

    def watched(seed: int, requests: int) -> Array:
        seen.append(seed)
        return exponential(seed, requests)

    run_until(watched, "mean ± 50 %", seed=10)
    assert len(set(seen)) == len(seen) == 40
    assert min(seen) >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed=-1 must be >= 0"),
        ({"seed": 0, "replications": 1}, "replications=1 must be >= 2"),
        ({"seed": 0, "requests_first": 10}, "requests_first=10 must be >= 100"),
        ({"seed": 0, "requests_max": 10}, "requests_max=10 must be >= 40000"),
    ],
    ids=["seed", "replications", "first", "max"],
)
def test_bad_input_names_the_value_and_the_rule(arguments: dict[str, int], message: str) -> None:
    """Before anything is run."""
    with pytest.raises(UsageError, match=re.escape(message)):
        run_until(exponential, "mean ± 1 %", **arguments)  # type: ignore[arg-type]  # one keyword each
