"""How far each line's amount can be trusted.

Goal: beside the price's letter stands that of the least certain number that moves the amount. Method: scenarios in
which one number is doubtful and the others are not.
"""

from typing import Any

import pytest

from sim.judgement.cost import Cost, cost
from sim.scenario.scenario import Scenario, load_scenario


def letters(bill: Cost) -> dict[str, tuple[str, str]]:
    return {f"{line.component}.{line.meter}": (line.volume_confidence, line.volume_path) for line in bill.lines}


def believed(**reasons: str) -> Scenario:
    """Searches alone, with a reason for each number that moves a line."""
    numbers: dict[str, Any] = {"system.workers.cpu_ms": 2.0}
    routes = {"find": {"share": 1.0, "steps": ["workers.compute", {"use": "d1.read", "rows_read": 20}]}}
    base = load_scenario("launch").with_(routes=routes, **numbers)
    said = {
        "demand.requests_per_day": "read off the dashboard [O]",
        "routes": "read off the dashboard [O]",
        "system.workers.cpu_ms": "read off the dashboard [O]",
    }
    return base.with_(assumptions={**said, **{key.replace("__", "."): reason for key, reason in reasons.items()}})


def test_price_and_volume_have_a_letter_each() -> None:
    lines = [line for line in cost(load_scenario("launch")).lines if line.used]
    assert {line.confidence for line in lines} == {"O"}
    assert {line.volume_confidence for line in lines if line.meter != "plan"} == {"A"}
    assert letters(cost(load_scenario("launch")))["workers.plan"] == ("O", "")


def test_line_takes_the_letter_of_the_number_that_moves_it() -> None:
    """CPU time measured once moves the line of CPU and no other."""
    found = letters(cost(believed(system__workers__cpu_ms="one machine [M]")))
    assert found["workers.cpu"] == ("M", "system.workers.cpu_ms")
    bill = cost(believed(system__workers__cpu_ms="one machine [M]"))
    (line,) = (line for line in bill.lines if (line.component, line.meter) == ("workers", "cpu"))
    ((path, letter, share),) = line.volume_shares
    assert (path, letter) == ("system.workers.cpu_ms", "M")
    assert share == pytest.approx(1.0)
    assert found["workers.requests"][0] == "O"
    assert found["d1.rows_read"][0] == "O"


def test_doubtful_volume_is_every_lines() -> None:
    found = letters(cost(believed(demand__requests_per_day="a guess")))
    used = ("workers.requests", "workers.cpu", "d1.rows_read")
    assert {found[name] for name in used} == {("A", "demand.requests_per_day")}


def test_what_is_not_used_has_no_letter() -> None:
    assert letters(cost(believed()))["r2.class_a"] == ("", "")
