"""Read replicas of the reference: real rows that are old, and sessions that find their own writes.

Goal: what a read finds is what was committed long enough ago, or what its session knows of, and never less; it
waits for no more than that. Method: writes count in the rows themselves, so the copies' tables tell what a read could
find; a virtual clock, constant times.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from reference_impl.d1 import replicas, route_rows
from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from tests.support.routed import request, route, routed
from tests.support.world import World, memory_engine

PRIMARY_MS, REPLICA_MS, LAG_MS = 80.0, 6.0, 500.0
DATABASE: dict[str, Any] = {
    "rtt_ms": PRIMARY_MS,
    "read_ms": 1,
    "write_ms": 2,
    "replicas": ["weur", "enam"],
    "replica_rtt_ms": REPLICA_MS,
    "replica_lag_ms": LAG_MS,
}


def step(use: str, **parameters: Any) -> dict[str, Any]:
    return {"use": use, "parameters": parameters}


ROUTES = {
    "edit": route(step("d1.write", session=True), path="/edit", method="POST"),
    "import": route(step("d1.write"), path="/import", method="POST"),
    "look": route(step("d1.read", session="first-unconstrained"), path="/look"),
    "mine": route(step("d1.read", session="bookmark"), path="/mine"),
    "both": route(step("d1.read", session="first-primary"), step("d1.read", session="bookmark"), path="/both"),
    "plain": route(step("d1.read"), path="/plain"),
}


@pytest.fixture
def world() -> Iterator[World]:
    with routed(ROUTES, {"network": {}, "d1": DATABASE}) as made:
        yield made


def took_ms(world: World, path: str, *, key: int = 0) -> float:
    """Send one request; return its latency."""
    method = "POST" if path in ("/edit", "/import") else "GET"
    response, watch = world.ask(request(path, method=method, key=key))
    assert response.status == 200
    return watch.planned_ms - watch.started_ms


def versions(world: World, copy: str) -> dict[int, int]:
    """How often the first row of each key was written, as a copy has it."""
    found = world.volumes.engine("d1", copy).execute("SELECT key, version FROM headroom_rows WHERE position = 0")
    return {key: version for key, version in found.values}  # noqa: C416  # rows are sequences of any length


def test_a_read_without_constraints_may_be_old_until_the_lag_has_passed(world: World) -> None:
    took_ms(world, "/edit")
    assert versions(world, "database") == {0: 1}
    assert took_ms(world, "/look") == pytest.approx(REPLICA_MS + 1)
    assert versions(world, "replica_0") == {0: 0}
    world.clock.run_until(world.clock.now_ms() + LAG_MS)
    assert took_ms(world, "/look") == pytest.approx(REPLICA_MS + 1)
    assert versions(world, "replica_0") == {0: 1}


def test_a_session_finds_its_own_write_and_waits_for_it(world: World) -> None:
    took_ms(world, "/edit")
    left_ms = LAG_MS - PRIMARY_MS / 2 - REPLICA_MS / 2
    assert took_ms(world, "/mine") == pytest.approx(REPLICA_MS + 1 + left_ms)
    assert versions(world, "replica_0") == {0: 1}
    assert took_ms(world, "/mine") == pytest.approx(REPLICA_MS + 1)


def test_a_write_outside_of_a_session_has_no_bookmark(world: World) -> None:
    took_ms(world, "/import")
    assert took_ms(world, "/mine") == pytest.approx(REPLICA_MS + 1)
    assert versions(world, "replica_0") == {0: 0}


def test_another_session_neither_waits_nor_finds_it(world: World) -> None:
    took_ms(world, "/edit", key=2)
    assert took_ms(world, "/mine", key=0) == pytest.approx(REPLICA_MS + 1)
    assert versions(world, "replica_0") == {0: 0}


def test_after_a_first_read_of_the_primary_the_replica_must_have_the_newest_state(world: World) -> None:
    took_ms(world, "/import", key=2)
    took_ms(world, "/both", key=0)
    assert versions(world, "replica_0")[2] == 1
    without_wait_ms = PRIMARY_MS + 1 + REPLICA_MS + 1
    assert took_ms(world, "/both", key=0) == pytest.approx(without_wait_ms)


def test_every_replica_gets_every_commit_in_order(world: World) -> None:
    for _ in range(3):
        took_ms(world, "/edit", key=0)
    world.clock.run_until(world.clock.now_ms() + LAG_MS)
    for key in (0, 1):
        took_ms(world, "/look", key=key)
    assert versions(world, "replica_0")[0] == versions(world, "replica_1")[0] == 3


def test_without_a_session_the_primary_answers(world: World) -> None:
    assert took_ms(world, "/plain") == pytest.approx(PRIMARY_MS + 1)
    assert versions(world, "replica_0") == {}


def test_rows_read_at_a_replica_are_billed_as_others(world: World) -> None:
    billed = world.deployment.instances["d1"].billed
    for path in ("/plain", "/look"):
        before = billed["rows_read"]
        took_ms(world, path)
        assert billed["rows_read"] == before + 1


def test_a_replica_that_nobody_reads_does_not_keep_commits_without_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "PENDING_MAX", 3)
    for _ in range(5):
        took_ms(world, "/edit")
    assert versions(world, "replica_1") == {0: 2}


def test_copies_begin_with_the_rows_of_the_primary() -> None:
    with closing(memory_engine()) as source, closing(memory_engine()) as target:
        for engine, key in ((source, 1), (target, 2)):
            route_rows.create(engine)
            route_rows.ensure(engine, key, rows=60)
        route_rows.copy(source, target)
        read = "SELECT key, position, version FROM headroom_rows ORDER BY key, position"
        found, expected = ([tuple(row) for row in engine.execute(read).values] for engine in (target, source))
        assert found == expected


@pytest.mark.parametrize(
    "table",
    [{"replicas": 2}, {"replicas": 2, "replica_rtt_ms": 4}, {"replica_lag_ms": 5}],
)
def test_half_a_description_of_replicas_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be given together"):
        Specification.read({"system": {"d1": table}, "routes": {}})


@pytest.mark.parametrize("session", ["first-secondary", 3])
def test_an_unknown_session_is_refused(session: Any) -> None:
    wrong = {"one": route(step("d1.read", session=session))}
    with pytest.raises(ConfigError, match="session"), routed(wrong, {"network": {}, "d1": {}}):
        pass
