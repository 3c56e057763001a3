"""What is said of a scenario beside its results.

Goal: what is declared and not used, and what grows without a word on how much, is said in one line each, and nothing
else is. Method: small scenario files, and changes of them.
"""

from pathlib import Path
from typing import Any

import pytest

from sim import cost, load_scenario, run
from sim.runners.play import prepare
from sim.scenario.notes import scenario_notes
from tests.support.routes import of_steps

FILE = """
base = "cloudflare.toml"
name = "ours"
question = "Is it said?"

[system.kv]

[system.rooms]
component = "durable_objects"
like = "durable_objects"

[system.websocket]
objects = "rooms"

[workload]
duration_s = 10
arrivals = { kind = "poisson", rate_per_s = 5 }
keys = { count = 5, zipf = 0 }

[routes.one]
share = 1
steps = ["workers.compute"]
"""


def test_what_no_route_uses_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(FILE)
    scenario = load_scenario(path)
    said = [note for note in scenario_notes(scenario) if "no route uses" in note]
    assert len(said) == 1
    assert "system.kv, system.rooms, system.websocket" in said[0]
    assert said[0] in run(scenario, requests=5).notes


@pytest.mark.parametrize(
    ("step", "unused"), [("kv.get", ("rooms", "websocket")), ("websocket.connect", ("kv",))], ids=["kv", "rooms"]
)
def test_what_is_used_or_stands_behind_it_is_not(tmp_path: Path, step: str, unused: tuple[str, ...]) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(FILE.replace('"workers.compute"', f'"workers.compute", "{step}"'))
    assert load_scenario(path).unused == unused
    assert load_scenario(path).vary("seed", 3).unused == unused


WRITES: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "rows": (["d1.write"], {}, "routes.only (d1.write)"),
    "in a group": ([{"steps": ["d1.write", "d1.write"]}], {}, "routes.only (d1.write)"),
    "two": (["d1.write", "archive.write"], {}, "routes.only (d1.write, archive.write)"),
    "bytes of rows": ([{"use": "d1.write", "stored_bytes": 300}], {}, ""),
    "nothing stays": ([{"use": "d1.write", "stored_bytes": 0}], {}, ""),
    "an object of no size": (["r2.put"], {}, "routes.only (r2.put)"),
    "an object": (["r2.put"], {"size_bytes": 1_000}, ""),
    "an object again": ([{"use": "r2.put", "new_fraction": 0.0}], {}, ""),
    "a read": (["d1.read"], {}, ""),
}


@pytest.mark.parametrize("case", WRITES)
def test_writes_without_bytes_are_said(case: str) -> None:
    steps, route, said = WRITES[case]
    notes = [note for note in scenario_notes(of_steps(*steps, **route)) if "growth of storage" in note]
    expected = [f"no bytes stated for {said}: growth of storage there is not predicted"] if said else []
    assert notes == expected
    billed = [note for note in cost(of_steps(*steps, **route)).notes if note.startswith("Not on this bill")]
    assert [note.partition(", of which")[0] for note in billed] == (
        [f"Not on this bill: storage of {said}"] if said else []
    )


def test_a_bill_of_a_trace_names_the_routes_that_are_played(tmp_path: Path) -> None:
    """A route without rows in the trace is on no bill, and neither is what it would store."""
    trace = tmp_path / "posts.csv"
    trace.write_text("arrival_ms,route\n" + "".join(f"{100 * at},feed\n" for at in range(200)), "utf-8")
    feed = load_scenario("feed")
    said = [
        any(note.startswith("Not on this bill") for note in cost(one).notes)
        for one in (feed, prepare(feed, trace=trace))
    ]
    assert said == [True, False]
