"""Objects that a scenario says are stored.

Goal: they are on the bill, read or replaced, from the first day. Method: shipped scenarios, altered.
"""

from pathlib import Path

import pytest

from sim.judgement.cost import cost
from sim.judgement.cost.month import Cost
from sim.runners.play import prepare
from sim.scenario.generation import stored_bytes
from sim.scenario.scenario import load_scenario


def stored_gb(bill: Cost, meter: str = "storage") -> float:
    return next(line.used for line in bill.lines if (line.component, line.meter) == ("r2", meter))


def test_objects_that_are_only_read_are_stored() -> None:
    """Forty pictures, whose sizes are quantiles of the route's: on the bill from the first day, and said."""
    social = load_scenario("social")
    sizes = stored_bytes(social.routes["picture"])
    bill = cost(social)
    assert stored_gb(bill) == pytest.approx(sizes.sum() / 1e9)
    assert any("the 40 objects of routes.picture" in note and "from the first day" in note for note in bill.notes)
    many = social.with_(**{"routes.picture.objects": 1_000, "routes.picture.size_bytes": 50_000_000})
    first, third = cost(many), cost(many, month=3)
    assert stored_gb(first) == stored_gb(third) == pytest.approx(50)
    assert [line.usd for line in first.lines if (line.component, line.meter) == ("r2", "storage")] == [0.60]
    full = next(one for one in first.limits if one.what.startswith("r2.storage"))
    assert full.day_number == 1


def test_uploads_replace_the_objects_that_a_route_names_and_else_add_to_them() -> None:
    launch = load_scenario("launch")
    kept = stored_bytes(launch.routes["download"]).sum() / 1e9
    adds = [stored_gb(cost(launch, month=month)) for month in (1, 2)]
    assert adds[1] - kept == pytest.approx(3 * (adds[0] - kept))  # Mid-months: 0.5 and 1.5 months of uploads.
    named = launch.vary("routes.upload.objects", 10)
    replaced = [stored_gb(cost(named, month=month)) for month in (1, 2)]
    assert replaced[0] == replaced[1] == pytest.approx(kept + stored_bytes(named.routes["upload"]).sum() / 1e9)


def test_class_of_the_bucket_decides_which_meter_holds_its_objects() -> None:
    cold = load_scenario("social").vary("system.r2.storage_class", "infrequent_access")
    assert stored_gb(cost(cold)) == 0
    assert stored_gb(cost(cold), "infrequent_storage") > 0.08


def test_objects_of_a_route_that_a_trace_does_not_play_are_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "balances.csv"
    path.write_text("arrival_ms,route\n" + "".join(f"{at * 100},balance\n" for at in range(200)), "utf-8")
    assert stored_gb(cost(prepare("launch", trace=path))) == 0
