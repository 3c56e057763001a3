"""Instances: several of one component, alike or not, linked to each other, with columns, keys and counts of their own.

Goal: a second database is a table of the scenario and nothing else. Method: scenarios with a second instance of each
component are loaded, played on a model, and held against what one instance does.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import Result, run
from sim.foundation.errors import ScenarioError
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.system import filled
from tests.support.routes import KNOWN_TIMES, of_steps, refusal

LAUNCH = load_scenario("launch")

SECOND = {
    "system.archive": {"like": "d1", "rtt_ms": {"distribution": "exponential", "mean": 40.0}},
    "system.auth": {"like": "workers"},
    "system.rooms": {"like": "durable_objects", "shards": 3},
    "system.media": {"like": "r2"},
    "system.rooms_ledger": {"like": "ledger", "objects": "rooms", "database": "archive"},
}
TWO_OF_EACH = LAUNCH.with_(**SECOND)

# ---------------------------------------------------------------- tables


def test_instance_takes_over_the_numbers_that_it_does_not_change() -> None:
    assert TWO_OF_EACH.system.archive.rtt_ms.expected() == 40.0
    assert TWO_OF_EACH.system.archive.read_ms == LAUNCH.system.d1.read_ms
    assert TWO_OF_EACH.system.d1 == LAUNCH.system.d1
    assert [one.name for one in TWO_OF_EACH.system.of("d1")] == ["d1", "archive"]


def test_one_that_is_like_another_follows_it_when_it_varies() -> None:
    varied = TWO_OF_EACH.vary("system.d1.queue_limit", 7)
    assert varied.system.archive.queue_limit == varied.system.d1.queue_limit == 7
    assert varied.vary("system.archive.queue_limit", 9).system.d1.queue_limit == 7


def test_part_of_a_number_that_is_copied_can_be_changed_alone() -> None:
    varied = TWO_OF_EACH.vary("system.rooms.output_gate_ms.high", 77.0)
    whole = LAUNCH.system.durable_objects.output_gate_ms
    assert varied.system.rooms.output_gate_ms == type(whole)(low=whole.low, high=77.0)
    assert varied.system.durable_objects.output_gate_ms == whole


def test_chain_of_likeness_is_followed_to_its_end() -> None:
    chained = TWO_OF_EACH.vary("system.cold", {"like": "archive", "queue_limit": 5})
    assert chained.system.cold.rtt_ms == chained.system.archive.rtt_ms
    assert chained.system.instances["cold"].component.name == "d1"
    assert chained.system.cold.queue_limit == 5


@pytest.mark.parametrize("tables", [{"a": {"like": "b"}, "b": {"like": "a"}}, {"a": {"like": "a"}}])
def test_circle_of_likeness_ends_and_is_refused(tables: dict[str, Any]) -> None:
    assert filled(tables) == tables
    found = refusal({f"system.{name}": table for name, table in tables.items()})
    assert [line.partition(" ")[0] for line in found] == [f'system.{a}.like="{t["like"]}"' for a, t in tables.items()]
    assert "must name another table of the system; " in found[0]


def test_whole_instance_may_be_written_without_a_model(tmp_path: Path) -> None:
    text = (
        'base = "launch.toml"\nname = "two"\n[system.archive]\ncomponent = "d1"\nrtt_ms = 3\nread_ms = 1\n'
        'write_ms = 2\nqueue_limit = 5\n[routes.search]\nsteps = ["workers.compute", "archive.read"]\n'
    )
    file = tmp_path / "two.toml"
    file.write_text(text, encoding="utf-8")
    two = load_scenario(file)
    assert two.system.archive.model_dump()["queue_limit"] == 5
    assert set(two.operations["search"]) == {"workers.compute", "archive.read"}


def test_numbers_are_plain_json_and_make_the_same_system_again() -> None:
    numbers = TWO_OF_EACH.system.numbers()
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["archive"]["component"] == "d1"
    assert "component" not in numbers["d1"]
    again = LAUNCH.with_(system=numbers)
    assert again.system.numbers() == numbers
    assert again.time_columns == TWO_OF_EACH.time_columns


def test_system_is_a_mapping_of_tables_and_survives_a_journey() -> None:
    system = TWO_OF_EACH.system
    assert system["archive"] is system.archive
    assert set(system) == set(LAUNCH.system) | {name.removeprefix("system.") for name in SECOND}
    assert len(system) == len(LAUNCH.system) + len(SECOND)
    again = pickle.loads(pickle.dumps(TWO_OF_EACH))
    assert again.system.numbers() == system.numbers()
    assert again.system.instances["rooms_ledger"].linked("objects").name == "rooms"


def test_missing_instance_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"system\.archiv is not in the scenario; did you mean archive\?"):
        TWO_OF_EACH.system.archiv  # noqa: B018  # that it is refused is the test


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"system.ledger.objects": "d1"}, 'system.ledger.objects="d1" must name an instance of durable_objects; '),
        ({"system.ledger.database": "archiv"}, 'system.ledger.database="archiv" must name an instance of d1; did you '),
        ({"system.Archive": {"like": "d1"}}, 'system."Archive" must be a name of lower-case letters, digits and _'),
        ({"system.second": {"like": "client"}}, "system must hold one client: [system.client]"),
        ({"system.client": None}, "system must hold one client: [system.client]"),
        ({"system": 3}, "system=3 must be a table"),
        ({"system": None}, "system must hold one client: [system.client]"),
        ({"system": {}}, "system must hold one client: [system.client]"),
        ({"system.d1": 3}, "system.d1=3 must be a table"),
    ],
    ids=str,
)
def test_wrong_system_is_one_line(changes: dict[str, Any], line: str) -> None:
    found = refusal(changes)
    assert found[0].startswith(line)
    assert found[0].endswith("(scenarios/README.md)")
    assert "\n" not in found[0]


def test_link_to_nothing_says_what_to_add() -> None:
    only_d1 = {"system.archive": None, "system.d1": None}
    rule = "must name an instance of d1; the scenario has none; add [system.d1] (scenarios/README.md)"
    assert refusal(only_d1)[0].endswith(rule)


# ---------------------------------------------------------------- columns


BOTH = [
    "workers.compute", "auth.compute", "d1.read", "archive.read", "media.put", "rooms.write", "rooms_ledger.append"
]  # fmt: skip
USED = TWO_OF_EACH.with_(**{"routes.both": {"share": 1.0, "size_bytes": 1e5, "steps": BOTH}})
"""A route that uses the second instance of everything, and routes of launch beside it."""


def test_instance_that_no_request_meets_has_no_column() -> None:
    assert TWO_OF_EACH.time_columns == LAUNCH.time_columns
    assert {"kv", "cache"} <= set(LAUNCH.system) - LAUNCH.reached
    assert not any(row.path.startswith("system.kv.") for row in LAUNCH.relied_on)
    assert any(row.path.startswith("system.kv.") for row in LAUNCH.provenance)


def test_time_columns_are_those_of_the_instances_in_the_order_of_a_requests_way() -> None:
    assert LAUNCH.time_columns == (
        "network_ms", "tunnel_queue_ms", "tunnel_ms", "workers_queue_ms", "workers_ms", "worker_cpu_ms",
        "durable_objects_queue_ms", "durable_objects_ms", "ledger_ms", "d1_queue_ms", "d1_ms", "r2_ms", "client_ms",
    )  # fmt: skip
    added = [name for name in USED.time_columns if name not in LAUNCH.time_columns]
    assert added == [
        "auth_queue_ms", "auth_ms", "auth_cpu_ms", "rooms_queue_ms", "rooms_ms", "rooms_ledger_ms",
        "archive_queue_ms", "archive_ms", "media_ms",
    ]  # fmt: skip
    assert [name for name in USED.time_columns if name in LAUNCH.time_columns] == list(LAUNCH.time_columns)
    assert USED.inner_columns == {"worker_cpu_ms": "workers_ms", "auth_cpu_ms": "auth_ms"}


@pytest.fixture(scope="module")
def played() -> Result:
    """Requests to both of everything."""
    return run(USED, on="compiled", rng=3, requests=5_000)


def test_columns_of_all_instances_add_up_to_the_latency(played: Result) -> None:
    frame = played.frame[played.frame["outcome"] == "ok"]
    outer = [name for name in played.time_columns if name not in played.scenario.inner_columns]
    assert np.allclose(frame[outer].sum(axis=1), frame["latency_ms"], rtol=1e-9)
    for inner, outside in played.scenario.inner_columns.items():
        assert (frame[inner] <= frame[outside] + 1e-9).all()


def test_time_is_attributed_to_the_instance_that_took_it(played: Result) -> None:
    here = played.frame["route"] == "both"
    for name in ("auth_ms", "archive_ms", "media_ms", "rooms_ms", "rooms_ledger_ms"):
        assert (played.frame.loc[here, name] > 0).all()
        assert not played.frame.loc[~here, name].any()
    assert played.frame.loc[here, "archive_ms"].mean() > 3 * played.frame.loc[here, "d1_ms"].mean()


def test_every_queue_is_a_station_of_its_own(played: Result) -> None:
    stations = played.stations.set_index("station")
    assert {"d1", "archive", "workers", "auth", "durable_objects", "rooms"} <= set(stations.index)
    assert stations.loc["rooms", "instances"] == 3
    assert stations.loc["durable_objects", "instances"] == 200


def test_both_engines_play_instances_alike() -> None:
    small = TWO_OF_EACH.with_(**{"routes.both": {"share": 1.0, "size_bytes": 1e5, "steps": BOTH}})
    ours, theirs = (run(small, on=engine, rng=3, requests=400).frame for engine in ("simpy", "compiled"))
    assert np.array_equal(ours["latency_ms"], theirs["latency_ms"])


# ---------------------------------------------------------------- links


def flushed(scenario: Scenario) -> dict[str, int]:
    """Requests served by each station, alarms included, of a minute of events."""
    length = {"workload.duration_s": 60, "workload.warm_up_s": 0, "workload.keys.count": 3}
    stations = run(scenario.with_(**length), on="compiled", rng=1).stations
    return dict(zip(stations["station"], stations["served"], strict=True))


def test_ledger_lives_in_the_namespace_and_flushes_to_the_database_that_it_names() -> None:
    here = flushed(of_steps("ledger.append", scenario=TWO_OF_EACH))
    there = flushed(of_steps("rooms_ledger.append", scenario=TWO_OF_EACH))
    assert here.keys() >= {"durable_objects", "d1"}
    assert not here.keys() & {"rooms", "archive"}
    assert there.keys() >= {"rooms", "archive"}
    assert not there.keys() & {"durable_objects", "d1"}


def test_two_ledgers_of_one_namespace_keep_their_own_books() -> None:
    """Each has its own pending events and its own alarm; they share the objects' time."""
    audit = TWO_OF_EACH.vary("system.audit", {"like": "ledger"})
    alone = flushed(of_steps("ledger.append", scenario=audit))
    both = flushed(of_steps("ledger.append", "audit.append", scenario=audit))
    assert both["d1"] == 2 * alone["d1"]
    assert both["durable_objects"] == 2 * alone["durable_objects"]


# ---------------------------------------------------------------- keys


ROOMS = {"workload.populations.rooms": {"count": 7, "zipf": 0.0}, "routes.search.keys": "rooms"}


def test_keys_of_a_route_come_from_its_population() -> None:
    rooms = LAUNCH.with_(**ROOMS)
    before, after = schedule(LAUNCH), schedule(rooms)
    here = after.route_code == after.routes.index("search")
    assert np.unique(after.key[here]).tolist() == list(range(7))
    assert np.array_equal(after.key[~here], before.key[~here])
    assert after.key[~here].max() > 7


def test_populations_draw_apart() -> None:
    """Two of the same size and popularity: the same request has another key in each."""
    like_keys = {"count": 200, "zipf": 1.0}
    twin = LAUNCH.with_(**{"workload.populations.twin": like_keys, "routes.log.keys": "twin"})
    before, after = schedule(LAUNCH), schedule(twin)
    here = after.route_code == after.routes.index("log")
    same = (before.key == after.key)[here].mean()
    chance = np.square(1 / np.arange(1, 201)).sum() / (1 / np.arange(1, 201)).sum() ** 2
    assert same == pytest.approx(chance, abs=5 * np.sqrt(chance / here.sum()))


def test_instances_are_as_many_as_the_keys_that_come_to_them() -> None:
    """One a key: of the largest population whose routes reach the namespace, through a ledger too."""
    changes = {
        "workload.populations.rooms": {"count": 9, "zipf": 0.0},
        "routes.talk": {"share": 1.0, "keys": "rooms", "steps": ["rooms.write", "archive.read"]},
        "system.rooms.shards": "per_key",
    }
    talking = TWO_OF_EACH.with_(**changes)
    instances = talking.system.instances
    assert [instances[name].keys for name in ("rooms", "archive", "durable_objects", "auth")] == [9, 9, 200, 1]
    assert instances["rooms"].station is not None
    assert instances["rooms"].station.instances == 9
    through_ledger = talking.vary("routes.log.steps", ["rooms_ledger.append"]).system.instances
    assert through_ledger["rooms"].keys == through_ledger["archive"].keys == 200


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 10))
def test_every_key_has_an_object_to_go_to(one: int, other: int, shards: int) -> None:
    populations = {
        "workload.populations.a": {"count": one, "zipf": 0.5},
        "workload.populations.b": {"count": other, "zipf": 0.5},
    }
    routes = {name: {"share": 1.0, "keys": name, "steps": ["durable_objects.read"]} for name in ("a", "b")}
    made = KNOWN_TIMES.with_(**populations, routes=routes)
    assert made.system.instances["durable_objects"].keys == max(one, other)
    station = made.vary("system.durable_objects.shards", shards).system.instances["durable_objects"].station
    assert station is not None
    assert station.instances == shards


def test_scenario_may_do_without_any_component_but_a_client_and_an_entry() -> None:
    """Nothing but objects in a bucket."""
    numbers = KNOWN_TIMES.system.numbers()
    small = {name: numbers[name] for name in ("network", "client", "r2")}
    lean = KNOWN_TIMES.with_(system=small, routes={"only": {"share": 1.0, "steps": ["r2.get"]}})
    assert lean.time_columns == ("network_ms", "r2_ms", "client_ms")
    result = run(lean, on="compiled", requests=100)
    assert result.frame["latency_ms"].to_numpy() == pytest.approx(23.0)
    with pytest.raises(ScenarioError, match=r'routes\.only\.enter="network" must be an instance to come in by'):
        lean.with_(system={name: numbers[name] for name in ("client", "r2")})
