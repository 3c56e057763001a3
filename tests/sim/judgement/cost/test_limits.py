"""What breaks first, and on which day.

Goal: each limit of the platform file that grows has its day, in order. Method: days worked out by hand from round
numbers, and a history whose truth is known.
"""

from datetime import date, timedelta
from math import inf
from pathlib import Path

import numpy as np
import pytest

from sim.judgement.cost import Cost, cost
from sim.judgement.cost.limits import Reached
from sim.scenario.scenario import load_scenario
from tests.support import frames


def of(bill: Cost, what: str) -> Reached:
    (found,) = [one for one in bill.limits if what in one.what]
    return found


def test_database_is_full_on_the_day_that_its_rows_add_up_to() -> None:
    """Half a million logs a day of 200 bytes are 0.1 GB a day; the Free plan's half gigabyte lasts five of them."""
    bill = cost(frames.scenario(shares={"log": 1.0}), requests_per_month=0.5e6 * 30)
    assert of(bill, "d1: a database of 10 GB").day_number == 100
    assert of(bill, "d1: a database of 10 GB").month_number == 4
    assert of(bill, "d1: a database of 0.5 GB").day_number == 5
    assert of(bill, "d1.storage: the Free plan's 5 GB").day_number == 50


def test_daily_quota_goes_at_its_hour_or_never() -> None:
    """200,000 searches a day: the 100,000 requests last 12 hours. Under the quota nothing goes."""
    bill = cost(frames.scenario(shares={"search": 1.0}), requests_per_month=200_000 * 30)
    first = bill.first_of_free_plan
    assert first is not None
    assert first.what.startswith("workers.requests: the Free plan's 100,000 requests a day")
    assert first.day_number == 1
    assert first.after_s == pytest.approx(12 * 3_600)
    quiet = cost(frames.scenario(shares={"search": 1.0}), requests_per_month=99_000 * 30)
    assert quiet.first_of_free_plan is None


def test_monthly_quota_starts_anew_each_month() -> None:
    """A bucket's million uploads a month: 50,000 a day use them up on the 21st; 30,000 a day never do."""
    busy, calm = (
        cost(frames.scenario(shares={"upload": 1.0}), requests_per_month=daily * 30) for daily in (50_000, 30_000)
    )
    assert of(busy, "r2.class_a").day_number == 21
    assert of(calm, "r2.class_a").day_number == inf


def test_growth_brings_the_peak_beyond_the_capacity() -> None:
    """A tenth a month on 57.87/s at the peak: 1.1 to the eighth is 2.14, so 120/s are passed in the ninth month."""
    grown = load_scenario("launch").with_(**{"demand.growth_per_month": 0.1})
    peak = of(cost(grown, capacity_per_s=120), "the peak is beyond the capacity")
    assert peak.month_number == 9
    assert of(cost(load_scenario("launch"), capacity_per_s=120), "the capacity").day_number == inf
    assert of(cost(load_scenario("launch"), capacity_per_s=50), "the capacity").day_number == 1


def test_order_is_that_of_the_days() -> None:
    bill = cost(load_scenario("phase4"))
    assert [one.day_number for one in bill.limits] == sorted(one.day_number for one in bill.limits)
    first = next(one for one in bill.limits if one.plan != "free")
    assert first.what == "d1: a database of 10 GB is full"
    assert first.day_number == 9


def test_rate_that_is_held_for_want_of_a_volume_has_no_growth_to_speak_of() -> None:
    assert not [one for one in cost(load_scenario("feed")).limits if one.kind == "rate"]


def history(folder: Path, *, days: int = 120, growth_per_month: float = 0.2, noise: float = 0.1) -> Path:
    """A hundred thousand a day at the end, weekends at half, growing, with noise."""
    rng = np.random.default_rng(5)
    start = date(2026, 7, 1)
    lines = ["date,count"]
    for day in range(days):
        level = 100_000 * (1 + growth_per_month) ** ((day - days + 1) / 30)
        weekend = 0.5 if (start + timedelta(day)).weekday() >= 5 else 1.0
        lines.append(f"{start + timedelta(day)},{round(level * weekend * np.exp(noise * rng.standard_normal()))}")
    (folder / "days.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "days.csv"


def test_history_forecasts_the_month_and_the_days_with_intervals(tmp_path: Path) -> None:
    """The truth: 30 days from 100,000 a day, weekends at half, a fifth more a month."""
    bill = cost(load_scenario("launch"), history=history(tmp_path))
    assert bill.volume is not None
    assert bill.volume.kind == "history"
    start = date(2026, 7, 1) + timedelta(119)
    truth = sum(
        100_000 * 1.2 ** (day / 30) * (0.5 if (start + timedelta(day)).weekday() >= 5 else 1.0) for day in range(1, 31)
    ) * np.exp(0.1**2 / 2)
    assert bill.volume.low < truth < bill.volume.high
    assert bill.volume.high / bill.volume.low < 1.3
    assert bill.volume.confidence == "M"
    full = of(bill, "d1: a database of 10 GB")
    assert full.low < full.day_number < full.high
    assert any("growth +" in note for note in bill.notes)
    assert of(bill, "the peak is beyond").kind == "rate"


def test_history_may_stand_in_the_scenario(tmp_path: Path) -> None:
    told = load_scenario("launch").with_(demand={"history": str(history(tmp_path)), "peak_factor": 4})
    given = cost(load_scenario("launch"), history=tmp_path / "days.csv")
    assert cost(told).requests_per_month == given.requests_per_month
    assert cost(told) == cost(told)
