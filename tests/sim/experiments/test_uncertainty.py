"""What low-confidence numbers leave open.

Goal: shares, effects and the part that meets a target are those of a deployment whose latency is a sum of two
constants. Method: with both multiplied by independent log-uniform factors everything has a closed form.
"""

from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import uncertainty
from sim.experiments import variants as module
from sim.experiments.executors import run_tasks
from sim.experiments.uncertainty import Output, Uncertainty
from sim.experiments.variants import MONTH_USD, inputs_of
from sim.foundation.errors import UsageError
from sim.report.json_document import uncertainty_document
from sim.report.plots import assumptions
from sim.report.uncertainty_tables import shares, spread
from sim.scenario.scenario import Scenario, load_scenario
from tests.support.one_queue import judged_by
from tests.support.routes import KNOWN_TIMES

RTT_MS, READ_MS, LINE_MS = 20.0, 10.0, 35.0
FACTOR = 2.0


def constant(value_ms: float) -> dict[str, Any]:
    return {"distribution": "constant", "value": value_ms}


@pytest.fixture(scope="module")
def sum_of_two(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Latency = round trip + read, each with a reason and no source; nobody waits."""
    folder = tmp_path_factory.mktemp("targets")
    judged = judged_by(folder, ("api_latency_ms", LINE_MS))
    changes: dict[str, Any] = {
        "targets": judged.targets,
        "workload.duration_s": 40_000,
        "workload.warm_up_s": 0,
        "workload.arrivals": {"kind": "poisson", "rate_per_s": 0.01},
        "routes": {"only": {"share": 1.0, "steps": ["d1.read"]}},
        "system.network.client_rtt_ms": constant(RTT_MS),
        "system.d1": {"rtt_ms": 0.0, "read_ms": constant(READ_MS), "write_ms": 7.0, "queue_limit": 100_000},
    }
    reasons = {"system.network.client_rtt_ms": "a guess", "system.d1.read_ms": "another"}
    return KNOWN_TIMES.with_(**changes).with_(assumptions=reasons)


@pytest.fixture(scope="module")
def found(sum_of_two: Scenario) -> Uncertainty:
    return uncertainty(sum_of_two, factor=FACTOR, draws=256, samples=256, rng=3)


def latency(found: Uncertainty) -> Output:
    return found.outputs[0]


def closed_form() -> tuple[float, float]:
    """Variance and mean of a log-uniform factor between 1/2 and 2."""
    width = 2 * log(FACTOR)
    mean = (FACTOR - 1 / FACTOR) / width
    return (FACTOR**2 - FACTOR**-2) / (2 * width) - mean**2, mean


def test_shares_are_those_of_a_sum(found: Uncertainty) -> None:
    """Var(a F + b G) = (a^2 + b^2) Var F: the shares are a^2 and b^2 over their sum."""
    whole = RTT_MS**2 + READ_MS**2
    by_path = {share.path: share for share in latency(found).shares}
    for path, part_ms in (("system.network.client_rtt_ms", RTT_MS), ("system.d1.read_ms", READ_MS)):
        for index in (by_path[path].alone, by_path[path].in_all):
            assert index.value == pytest.approx(part_ms**2 / whole, abs=0.06)
    assert latency(found).worth_measuring is not None
    assert latency(found).worth_measuring.path == "system.network.client_rtt_ms"  # type: ignore[union-attr]  # asserted above


def test_effect_over_the_whole_range_is_the_difference_of_its_ends(found: Uncertainty) -> None:
    """From half to twice on a logarithmic grid: Morris's steps of two thirds of the range see about that."""
    effects = latency(found).effects
    ratio = effects["system.network.client_rtt_ms"] / effects["system.d1.read_ms"]
    assert ratio == pytest.approx(RTT_MS / READ_MS, rel=0.35)
    assert effects["system.network.client_rtt_ms"] == pytest.approx(RTT_MS * (FACTOR - 1 / FACTOR), rel=0.4)


def test_share_that_meets_the_target_is_the_probability(found: Uncertainty) -> None:
    rng = np.random.default_rng(1)
    factors = np.exp(rng.uniform(-log(FACTOR), log(FACTOR), size=(400_000, 2)))
    probability = float((factors @ [RTT_MS, READ_MS] <= LINE_MS).mean())
    met = latency(found).met
    assert met is not None
    assert met.low - 0.02 < probability < met.high + 0.02
    assert latency(found).value == pytest.approx(RTT_MS + READ_MS)


def test_bill_does_not_depend_on_them(found: Uncertainty) -> None:
    bill = found.outputs[-1]
    assert (bill.name, bill.met, bill.shares) == (MONTH_USD, None, ())
    assert bill.low == bill.high == bill.value
    assert set(bill.effects.values()) == {0.0}


def test_same_seed_gives_the_same_answer_on_any_executor(sum_of_two: Scenario) -> None:
    few: dict[str, Any] = {"draws": 32, "trajectories": 2, "samples": 8, "rng": 5}
    assert uncertainty_document(uncertainty(sum_of_two, **few)) == uncertainty_document(uncertainty(sum_of_two, **few))


def test_distribution_is_scaled_as_a_whole_and_never_beyond_the_rules() -> None:
    launch = load_scenario("launch")
    inputs = {one.path: one for one in inputs_of(launch, factor=2.0)}
    assert "system.d1.write_ms" in inputs
    assert not any(path.endswith((".median", ".p99", ".low", ".high")) for path in inputs)
    social = {one.path: one for one in inputs_of(load_scenario("social"), factor=2.0)}
    assert (social["system.websocket.open_fraction"].low, social["system.websocket.open_fraction"].high) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"factor": 1.0}, "factor=1 must be > 1"),
        ({"factor": 1e9}, "must be > 1 and <= 100"),
        ({"draws": 3}, "draws=3 must be >= 32"),
        ({"samples": 12}, "samples=12 must be a power of 2"),
        ({"trajectories": 0}, "trajectories=0 must be >= 2"),
    ],
)
def test_bad_argument_is_one_line(sum_of_two: Scenario, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        uncertainty(sum_of_two, **asked)


def test_interrupted_study_keeps_its_draws(sum_of_two: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = run_tasks, iter(range(9))

    def stopped(*args: Any, **how: Any) -> str:
        real(*args, **how)
        return "stopped by hand" if next(calls) else ""

    monkeypatch.setattr(module, "run_tasks", stopped)
    kept = uncertainty(sum_of_two, draws=32, trajectories=2, samples=8)
    assert kept.ended_early == "stopped by hand"
    assert latency(kept).met is not None
    assert latency(kept).shares == ()


def test_tables_and_figure_say_it(found: Uncertainty, tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    assert spread(found).rows[0][-1].text.endswith("%")
    assert shares(found).rows[0][1].text == "system.network.client_rtt_ms"
    axes = assumptions(found)
    assert "system.network.client_rtt_ms decides most of it" in axes.get_title(loc="left").replace("\n", " ")
    plt.close("all")


def test_target_that_no_request_has_is_not_judged(sum_of_two: Scenario, tmp_path: Path) -> None:
    """A metric without data is met in no share of the draws, and not in 0 %."""
    judged = judged_by(tmp_path, ("api_latency_ms", LINE_MS), ("r2_upload_mb_per_s", 10.0))
    upload = {"share": 1e-9, "size_bytes": 1000, "steps": ["r2.put"]}
    rare = sum_of_two.with_(**{"targets": judged.targets, "routes.upload": upload})
    found = uncertainty(rare, factor=FACTOR, draws=32, samples=8, trajectories=2, rng=3)
    other = next(one for one in found.outputs if one.name.startswith("r2_upload"))
    assert other.met is None
    (row,) = (row for row in spread(found).rows if row[0].text.startswith("R2"))
    assert [cell.text for cell in row[2:]] == ["no data", "", "not judged"]
    assert uncertainty_document(found)["outputs"][1]["met"] is None
    assumptions(found)
