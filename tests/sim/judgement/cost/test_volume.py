"""The requests of a month: what says how many there are, and what the bill says of it.

Goal: a bill is the month's volume and never silently its peak; what has no rate is refused. Method: the shipped
scenarios with the volumes that their own comments name, traces of one route each, a closed loop, and wrong input.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.experiments.plan import plan
from sim.foundation.errors import ScenarioError, SimError, UsageError
from sim.judgement.cost import cost
from sim.judgement.cost.volume import MEASURED_S, WORST
from sim.models.billing import SECONDS_PER_MONTH
from sim.runners.play import prepare, run
from sim.scenario.generation import schedule
from sim.scenario.platform import CONFIDENCE
from sim.scenario.scenario import Scenario, load_scenario
from tests.support import frames


@pytest.mark.parametrize(
    ("name", "requests", "usd"),
    [("launch", 3e7, 69.9), ("phase4", 3e8, 1_565), ("phase2", 3e5, 5), ("phase3", 3e7, 69.9)],
)
def test_shipped_scenarios_bill_the_volume_that_they_name(name: str, requests: float, usd: float) -> None:
    bill = cost(load_scenario(name))
    assert bill.requests_per_month == requests
    assert bill.month_usd == pytest.approx(usd, rel=0.02)
    assert bill.volume is not None
    assert not bill.volume.is_peak
    assert "the volume of [demand]" in bill.notes[0]


@pytest.mark.parametrize(("name", "appends", "usd"), [("launch", 0.55 * 3e7, 37), ("phase4", 0.55 * 3e8, 1_200)])
def test_bills_from_before_index_entries_were_counted_differ_by_those_rows_alone(
    name: str, appends: float, usd: float
) -> None:
    """37 and some 1,200 USD were bills of 2 rows an append and 1 a flush; an append writes 3, and a flush 3 and 1."""
    bill = cost(load_scenario(name))
    (line,) = (one for one in bill.lines if (one.component, one.meter) == ("durable_objects", "rows_written"))
    flushes = (line.used - 3 * appends) / 4
    assert flushes > 0
    before = max(0.0, 2 * appends + flushes - line.included) * line.usd / line.billed
    assert bill.month_usd - line.usd + before == pytest.approx(usd, rel=0.02)


def test_demand_changes_no_draw_of_what_is_played() -> None:
    """The rate stays the one that is written; the volume is the bill's alone."""
    launch = load_scenario("launch")
    without = launch.with_(demand=None)
    assert without.demand is None
    first, second = (schedule(one) for one in (launch, without))
    assert np.array_equal(first.arrival_ms, second.arrival_ms)
    assert np.array_equal(first.route_code, second.route_code)
    frames_ = [run(one, requests=500).frame for one in (launch, without)]
    assert frames_[0].equals(frames_[1])


def test_without_demand_the_bill_says_that_it_holds_the_rate() -> None:
    bill = cost(load_scenario("launch").with_(demand=None))
    assert bill.requests_per_month == pytest.approx(57.9 * SECONDS_PER_MONTH)
    assert bill.volume is not None
    assert bill.volume.is_peak
    assert bill.volume.confidence == "A"
    assert "no [demand] says the volume" in bill.notes[0]
    assert "a ceiling" in bill.notes[0]


def test_rate_follows_from_the_volume_where_the_arrivals_leave_it_out() -> None:
    launch = load_scenario("launch")
    poisson = launch.with_(**{"workload.arrivals": {"kind": "poisson"}})
    assert poisson.workload.arrivals.model_dump()["rate_per_s"] == pytest.approx(1e6 / 86_400 * 5)
    wave = launch.with_(
        **{"workload.arrivals": {"kind": "diurnal"}, "demand.requests_per_month": 2_592_000, "demand.peak_factor": 3,
           "workload.duration_s": 86_400}
    )  # fmt: skip
    arrivals = wave.workload.arrivals.model_dump()
    assert (arrivals["mean_rate_per_s"], arrivals["peak_factor"]) == (1.0, 3)


def test_another_rate_is_another_volume_of_the_same_shape() -> None:
    launch = load_scenario("launch")
    twice = launch.at_rate(2 * 57.9)
    assert cost(twice).requests_per_month == pytest.approx(6e7)
    assert launch.at_rate(57.9).demand == launch.demand
    assert cost(prepare("launch", rate_per_s=57.9 / 2)).requests_per_month == pytest.approx(1.5e7)


def test_new_arrivals_have_no_volume_of_the_old_ones(tmp_path: Path) -> None:
    """A file that changes the rate of its base and says no demand bills its own rate, not the base's month."""
    text = (
        'base = "launch.toml"\nname = "ours"\nquestion = "?"\n[workload.arrivals]\nkind = "poisson"\nrate_per_s = 2\n'
    )
    (tmp_path / "ours.toml").write_text(text, "utf-8")
    bill = cost(load_scenario(tmp_path / "ours.toml"))
    assert bill.requests_per_month == pytest.approx(2 * SECONDS_PER_MONTH)
    assert bill.volume is not None
    assert bill.volume.is_peak
    assert load_scenario("launch").with_(**{"workload.arrivals.rate_per_s": 3.0}).demand is None


def test_new_volume_takes_the_place_of_its_rivals() -> None:
    launch = load_scenario("launch")
    monthly = launch.with_(**{"demand.requests_per_month": 1e6})
    assert monthly.demand is not None
    assert (monthly.demand.requests_per_day, monthly.demand.month, monthly.demand.peak_factor) == (None, 1e6, 5)
    told = launch.with_(**{"demand.growth_per_month": 0.1}).with_(**{"demand.history": "days.csv"})
    assert told.demand is not None
    assert (told.demand.history, told.demand.growth_per_month, told.demand.month) == ("days.csv", 0.0, None)


def test_arrivals_of_another_kind_have_no_volume_until_it_is_said() -> None:
    closed = load_scenario("scenarios/shapes/closed.toml")
    assert closed.demand is None
    assert not [row for row in closed.provenance if row.path.startswith("demand")]
    said = closed.with_(**{"demand.requests_per_day": 1_000})
    assert cost(said).requests_per_month == 30_000


def test_new_workload_has_no_volume_of_the_old_arrivals() -> None:
    """The whole table in place of its arrivals alone is the same change."""
    launch = load_scenario("launch")
    workload = {
        "requests": 5_000,
        "arrivals": {"kind": "closed", "users": 10, "think_ms": 900.0},
        "keys": {"count": 10, "zipf": 0.0},
    }
    assert launch.with_(workload=workload).demand is None
    assert launch.with_(workload=workload, demand={"requests_per_day": 1_000}).demand is not None
    rateless = {**launch.workload.model_dump(exclude_none=True), "arrivals": {"kind": "poisson"}}
    assert launch.with_(workload=rateless).demand == launch.demand


def test_growth_raises_every_later_month() -> None:
    """1.1 to the fifth; what was stored before is the sum of the months before."""
    grown = load_scenario("launch").with_(**{"demand.growth_per_month": 0.1})
    bill = cost(grown, month=6)
    assert bill.requests_per_month == pytest.approx(3e7 * 1.1**5)
    assert bill.volume is not None
    assert bill.volume.before == pytest.approx(3e7 * sum(1.1**month for month in range(5)))
    assert cost(grown).requests_per_month == pytest.approx(3e7)


# ---------------------------------------------------------------- traces and closed loops


def trace(folder: Path, route: str, *, size_bytes: int = 0, rows: int = 6_000, gap_ms: float = 100.0) -> Path:
    path = folder / f"{route}.csv"
    lines = [f"{number * gap_ms},{route},{size_bytes}" for number in range(rows)]
    path.write_text("arrival_ms,route,size_bytes\n" + "\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("route", "size_bytes", "usd"),
    [("download", 300_000, 16.08), ("search", 0, 10.32), ("balance", 0, 14.07), ("upload", 2_000_000, 565.15)],
)
def test_bill_of_a_trace_follows_its_routes_and_sizes(tmp_path: Path, route: str, size_bytes: int, usd: float) -> None:
    """Ten requests a second of one route; 14.05 for balances became 14.07 when objects were rounded up to millions."""
    played = prepare("launch", trace=trace(tmp_path, route, size_bytes=size_bytes))
    bill = cost(played)
    assert bill.requests_per_month == pytest.approx(10 * SECONDS_PER_MONTH)
    assert bill.month_usd == pytest.approx(usd, abs=0.005)
    assert bill.volume is not None
    assert (bill.volume.kind, bill.volume.confidence) == ("trace", "A")


def test_trace_of_a_week_is_a_measured_volume(tmp_path: Path) -> None:
    played = prepare("launch", trace=trace(tmp_path, "search", rows=200, gap_ms=MEASURED_S * 1000 / 199))
    bill = cost(played)
    assert bill.volume is not None
    assert bill.volume.confidence == "M"


@pytest.mark.parametrize("rows", ["5,log", "5,log\n5,log"])
def test_what_is_an_instant_is_refused(tmp_path: Path, rows: str) -> None:
    (tmp_path / "one.csv").write_text(f"arrival_ms,route\n{rows}\n", "utf-8")
    with pytest.raises(ScenarioError, match="no rate can be known from an instant"):
        cost(prepare("launch", trace=tmp_path / "one.csv"))


def test_what_has_no_rate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("arrival_ms,route\n0,log\n300,log\n2800,log\n", "utf-8")
    played = prepare("launch", trace=tmp_path / "one.csv")
    with pytest.raises(UsageError, match=r"must span >= 10 s to have a rate .*; say \[demand\]"):
        cost(played)
    assert cost(played.with_(**{"demand.requests_per_day": 10})).requests_per_month == 300


def test_plan_of_such_a_trace_says_that_it_has_no_bill(tmp_path: Path) -> None:
    (tmp_path / "burst.csv").write_text("arrival_ms,route\n" + "".join(f"{25 * n},log\n" for n in range(200)), "utf-8")
    found = plan(prepare("launch", trace=tmp_path / "burst.csv"), live=False)
    assert found.cost is None
    assert any(note.startswith("no bill: ") for note in found.notes)


@pytest.mark.parametrize("think_ms", [0, 1_000])
def test_closed_loop_has_the_rate_of_its_users_over_their_cycle(think_ms: int) -> None:
    """X = N / (Z + R) with R as it is under load: as many answers come each second of a long run, on either engine.

    No think time at all is no infinite rate; and the start, and the flush alarms behind the last answer, do not count.
    """
    closed = load_scenario("scenarios/shapes/closed.toml").with_(**{"workload.arrivals.think_ms": think_ms})
    bill = cost(closed)
    for engine, requests in (("compiled", 100_000), ("simpy", 20_000)):
        frame = run(closed.vary("workload.requests", requests), engine).frame
        answered_ms = np.sort(frame["arrival_ms"] + frame["latency_ms"])
        first, last = int(0.3 * requests), int(0.9 * requests)
        answers_per_s = (last - first) / (answered_ms[last] - answered_ms[first]) * 1000
        assert bill.requests_per_month / SECONDS_PER_MONTH == pytest.approx(answers_per_s, rel=0.03)
    assert bill.requests_per_month < 1e10
    assert bill.volume is not None
    assert "N / (Z + R)" in bill.volume.sentence


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"demand": {}}, "needs exactly one of"),
        ({"demand": {"requests_per_day": 1, "requests_per_month": 30}}, "needs exactly one of.* it has requests_per_d"),
        ({"demand": {"history": "days.csv", "growth_per_month": 0.1}}, "growth_per_month=0.1 beside a history"),
        ({"demand.requests_per_day": -3}, "must be > 0"),
        ({"demand.requests_per_day": 0}, "must be > 0"),
        ({"demand.peak_factor": 0.5}, "must be >= 1"),
        ({"demand.growth_per_month": -1}, "must be > -1"),
        ({"demand.requests_a_day": 3}, "requests_per_day"),
    ],
)
def test_wrong_demand_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as refused:
        load_scenario("launch").with_(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requests_per_month": float("nan")}, ">= 0 and finite"),
        ({"month": 0}, "must be >= 1"),
        ({"month": 37}, "<= 36"),
        ({"spending_limit_usd": -1.0}, ">= 0"),
        ({"history": "missing.csv"}, "does not exist"),
    ],
)
def test_wrong_question_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SimError, match=message):
        cost(frames.scenario(), **arguments)


def with_facts(tmp_path: Path, old: str, new: str) -> Scenario:
    """Launch on a platform file in which one line differs."""
    source = frames.PLATFORM.path.read_text("utf-8")
    assert old in source
    (tmp_path / "prices.toml").write_text(source.replace(old, new), "utf-8")
    return load_scenario("launch").with_(platform=str(tmp_path / "prices.toml"))


def test_negative_price_is_one_line(tmp_path: Path) -> None:
    wrong = with_facts(
        tmp_path, "requests_overage_per_million = { value = 0.3,", "requests_overage_per_million = { value = -0.3,"
    )
    with pytest.raises(
        ScenarioError, match=r"workers\.pricing\.requests_overage_per_million=-0\.3 must be a number >= 0"
    ):
        cost(wrong)


def test_missing_price_leaves_a_lower_bound_that_names_the_line(tmp_path: Path) -> None:
    known = cost(load_scenario("launch"))
    bill = cost(with_facts(tmp_path, "\nrows_written_overage_per_million =", "\nrows_written_old ="))
    assert bill.unpriced == ("d1.rows_written",)
    (line,) = [one for one in bill.lines if not one.priced and one.used]
    assert (line.usd, line.confidence) == (0.0, "")
    assert bill.month_usd == pytest.approx(known.month_usd - 18.40, abs=0.01)
    assert "at least" in repr(bill)
    assert any("No price is known of d1.rows_written: the total is a lower bound" in note for note in bill.notes)


def test_every_letter_of_confidence_has_a_rank() -> None:
    assert sorted(WORST) == sorted(CONFIDENCE)


def test_daily_wave_is_billed_by_its_mean_whatever_part_of_it_is_played() -> None:
    """Two minutes at the peak of a wave of four times its mean are no month of that peak."""
    wave = {"kind": "diurnal", "mean_rate_per_s": 5, "peak_factor": 4}
    bill = cost(load_scenario("feed").with_(**{"workload.arrivals": wave, "workload.duration_s": 120}))
    assert bill.requests_per_month == 5 * SECONDS_PER_MONTH
    assert bill.volume is not None
    assert not bill.volume.is_peak
    assert "the mean of the daily wave, 5 requests/s" in bill.notes[0]
    assert any(one.kind == "rate" for one in bill.limits)


def test_figures_of_the_notes_are_never_in_powers_of_ten() -> None:
    closed = load_scenario("shapes/closed").with_(**{"workload.arrivals.think_ms": 4_000, "workload.arrivals.users": 1})
    assert "who think for 4,000 ms" in cost(closed).notes[0]
    rate = load_scenario("feed").vary("workload.arrivals.rate_per_s", 12_345.6)
    said = cost(rate, spending_limit_usd=1e5)
    assert "the scenario's rate, 12,346 requests/s" in said.notes[0]
    texts = [*said.notes, *(one.what for one in said.limits), *(one.sentence for one in said.runaways)]
    assert not [text for text in texts if "e+0" in text]
