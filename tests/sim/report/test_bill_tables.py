"""A bill's tables and sentences.

Goal: each says whether it speaks of the month's volume or of the peak, what has no price, and on which day what breaks.
Method: bills of the shipped scenarios.
"""

from dataclasses import replace
from math import inf, isfinite
from typing import Any

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
    assert set(column(grid, "plan")) == {"Paid"}
    assert "Does not happen within three years: the peak is beyond" in grid.caption


def test_free_plan_has_a_table_of_its_own(bill: Cost) -> None:
    free = bill_tables.free_limits(bill)
    assert set(column(free, "plan")) == {"Free"}
    reached = [one for one in bill.limits if isfinite(one.day_number)]
    assert len(free.rows) + len(bill_tables.limits(bill).rows) == len(reached)


def test_bill_says_what_most_of_an_amount_is_owed_to_first() -> None:
    """The consumer of a queue computes too, but little beside the requests: it is not named first, or alone."""
    social = load_scenario("social")
    lines = {f"{line.component}.{line.meter}": line for line in cost(social).lines}
    shares = [share for _, _, share in lines["workers.cpu"].volume_shares]
    assert [round(share, 2) for share in shares] == sorted((round(share, 2) for share in shares), reverse=True)
    assert shares[0] > 0.9
    little = {path: share for path, _, share in lines["workers.cpu"].volume_shares if "consumer" in path}
    assert all(0 < share < 0.1 for share in little.values())
    assert little
    doubled = cost(social.vary("system.queues.consumer_cpu_ms", 2 * social.system.queues.consumer_cpu_ms)).lines
    (after,) = (line.used for line in doubled if (line.component, line.meter) == ("workers", "cpu"))
    assert after / lines["workers.cpu"].used - 1 == pytest.approx(little["system.queues.consumer_cpu_ms"], rel=0.01)


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


MIXED: dict[str, Any] = {
    "routes": {
        "page": {"share": 1.0, "steps": ["workers.compute"]},
        "say": {"share": 3.0, "size_bytes": 100, "steps": ["websocket.message"]},
        "daily": {"share": 1.0, "enter": "cron", "steps": ["workers.compute"]},
    },
    "system.cron.schedule": "0 * * * *",
}


def unit_cost_of(bill: Cost) -> str:
    """What stands below the sum's last column."""
    return bill_tables.lines(bill).rows[-1][-1].below


def test_unit_cost_says_which_requests_it_counts(bill: Cost) -> None:
    """720 runs of a month come by their schedule; of the rest a quarter is HTTP, three quarters are messages."""
    assert unit_cost_of(bill).endswith(f"per 1,000 {' and '.join(bill.counted)}")
    mixed = cost(load_scenario("launch").with_(**MIXED), requests_per_month=4_000_720)
    assert mixed.counted == pytest.approx({"socket messages": 3e6, "HTTP requests": 1e6, "scheduled runs": 720})
    each = unit_cost_of(mixed)
    assert each.endswith("per 1,000 socket messages, HTTP requests and scheduled runs")
    (note,) = (one for one in mixed.notes if "unit cost" in one)
    assert "3,000,000 socket messages, 1,000,000 HTTP requests, 720 scheduled runs" in note
    assert f"{mixed.month_usd / 1e6 * 1000:.3g} USD per 1,000 HTTP requests" in note


def test_unit_cost_counts_messages_that_come_beside_the_volume() -> None:
    """Each of a million requests opens a session of ten messages: the unit cost is of eleven million."""
    room = {
        "share": 1.0,
        "request": {"method": "GET", "path": "/room"},
        "steps": ["workers.compute", "websocket.connect"],
        "messages": {"every_s": 30, "session_s": 300},
    }
    beside = cost(load_scenario("launch").with_(routes={"room": room}), requests_per_month=1_000_000)
    assert beside.counted == pytest.approx({"socket messages": 10e6, "HTTP requests": 1e6})
    assert beside.usd_per_1000_requests == pytest.approx(beside.month_usd / 11e6 * 1000)
    (note,) = (one for one in beside.notes if "unit cost" in one)
    assert f"{beside.month_usd / 1e6 * 1000:.3g} USD per 1,000 HTTP requests" in note


def test_bill_of_no_requests_counts_none() -> None:
    none = cost(load_scenario("launch"), requests_per_month=0)
    assert none.counted == {}
    assert unit_cost_of(none).endswith("per 1,000 requests")
