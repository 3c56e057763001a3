"""A bill's tables and sentences.

Goal: each says whether it speaks of the month's volume or of the peak, what has no price, and on which day what breaks.
Method: bills of the shipped scenarios.
"""

from dataclasses import replace
from math import inf

import pytest

from sim.judgement.cost import Cost, cost
from sim.report import bill_tables
from sim.report.grid import Grid
from sim.report.sentences import free_plan, growth
from sim.scenario.scenario import load_scenario


@pytest.fixture(scope="module")
def bill() -> Cost:
    return cost(load_scenario("launch"))


def column(grid: Grid, name: str) -> list[str]:
    (place,) = [number for number, one in enumerate(grid.columns) if one.name == name]
    return [row[place].text for row in grid.rows]


def test_title_says_volume_or_peak(bill: Cost) -> None:
    assert bill_tables.lines(bill).title == "A month's bill: 30,000,000 requests, the volume"
    held = cost(load_scenario("launch").with_(demand=None))
    assert bill_tables.lines(held).title.endswith("the played rate held for a month")


def test_price_and_amount_have_their_confidence_side_by_side(bill: Cost) -> None:
    grid = bill_tables.lines(bill)
    names = [one.name for one in grid.columns]
    assert names.index("volume confidence") == names.index("price confidence") + 1
    assert set(column(grid, "volume confidence")[:-1]) == {"A", "O"}


def test_line_without_a_price_is_named_and_the_sum_is_a_lower_bound(bill: Cost) -> None:
    lines = tuple(replace(one, priced=one.meter != "cpu", usd=one.usd * (one.meter != "cpu")) for one in bill.lines)
    grid = bill_tables.lines(replace(bill, lines=lines), every_line=False)
    assert column(grid, "a month")[column(grid, "meter").index("CPU time")] == "no price"
    assert column(grid, "a month")[-1].startswith("at least ")


def test_what_breaks_is_in_order_and_the_rest_is_said_to_be_later(bill: Cost) -> None:
    grid = bill_tables.limits(bill)
    days = [int(text.replace(",", "")) for text in column(grid, "day")]
    assert days == sorted(days)
    assert set(column(grid, "plan")) == {"Free", "Paid"}
    assert "Not within three years: the peak is beyond" in grid.caption


def test_sentences_name_the_first_of_each_plan(bill: Cost) -> None:
    assert growth(bill) == (
        "At the month's volume the first limit reached is d1: a database of 10 GB is full, on day 85 (month 3)."
    )
    assert free_plan(bill).startswith(
        "On the Free plan the first limit is reached on day 1, after 0.874 h: durable_objects.rows_written"
    )
    never = replace(bill, limits=tuple(replace(one, day_number=inf) for one in bill.limits))
    assert growth(never) == ""
    assert "no limit is reached" in free_plan(never)


def test_what_nothing_stops_says_never(bill: Cost) -> None:
    grid = bill_tables.runaways(bill)
    assert column(grid, "stopped after")[0] == "never"
    assert column(grid, "spent by then")[0] == "unbounded"
    assert column(grid, "stopped after")[-1].endswith(" h")
