"""Routes as data: what an author may write, what is refused, and what follows from what is left out.

Goal: a wrong route is one clear line that names the nearest right word; a right one becomes requests and operations as
it stands. Method: one small mistake at a time on a system with known times; properties over random lists of steps.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError
from sim.scenario.generation import schedule
from sim.scenario.routes import expected_uses
from sim.scenario.scenario import load_scenario
from tests.support.routes import KNOWN_TIMES, OPERATION_MS, of_steps, refusal

PATH = "routes.search.steps"

# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("d1.reed", f'{PATH}[0].use="d1.reed" is not an operation of the system; did you mean d1.read?'),
        ("d11.read", f'{PATH}[0].use="d11.read" is not an operation of the system; did you mean d1.read?'),
        ("archiv.read", f'{PATH}[0].use="archiv.read" is not an operation of the system; did you mean archive.read?'),
        ("d1", f'{PATH}[0].use="d1" is not an operation of the system; did you mean'),
        ("", f'{PATH}[0].use="" is not an operation of the system; it is one of: '),
        ("network.read", f'{PATH}[0].use="network.read" is not an operation of the system; '),
        ({"use": "d1.read", "rows_reed": 2}, f"{PATH}[0].rows_reed is not a key of d1.read; did you mean rows_read?"),
        ({"use": "d1.read", "tims": 2}, f"{PATH}[0].tims is not a key of d1.read; did you mean times?"),
        ({"use": "d1.read", "rows_read": -1}, f"{PATH}[0].rows_read=-1 must be >= 0"),
        ({"use": "d1.read", "rows_read": "3"}, f'{PATH}[0].rows_read="3" must be a number'),
        ({"use": "d1.read", "rows_written": 3}, f"{PATH}[0].rows_written is not a key of d1.read; "),
        ({"use": "r2.get", "rows_read": 3}, f"{PATH}[0].rows_read is not a key of r2.get; "),
        ({"use": "d1.read", "times": 0}, f"{PATH}[0].times=0 must be >= 1"),
        ({"use": "d1.read", "times": 1_001}, f"{PATH}[0].times=1001 must be <= 1000"),
        ({"use": "d1.read", "times": 1.5}, f"{PATH}[0].times=1.5 must be a whole number"),
        ({"use": "d1.read", "chance": 1.1}, f"{PATH}[0].chance=1.1 must be <= 1"),
        ({"use": "d1.read", "chance": -0.1}, f"{PATH}[0].chance=-0.1 must be >= 0"),
        ({"use": "d1.read", "parallel": 1}, f"{PATH}[0].parallel=1 must be true or false"),
        ({"use": "d1.read", "timeout_ms": 0}, f"{PATH}[0].timeout_ms=0 must be > 0"),
        ({"use": "d1.read", "retries": 11}, f"{PATH}[0].retries=11 must be <= 10"),
        ({"use": "d1.read", "hedge_ms": 0}, f"{PATH}[0].hedge_ms=0 must be > 0"),
        ({}, f"{PATH}[0] must hold either use or steps"),
        ({"times": 2}, f"{PATH}[0] must hold either use or steps"),
        ({"use": "d1.read", "steps": ["d1.read"]}, f"{PATH}[0] must hold either use or steps"),
        ({"steps": ["d1.read"], "parameters": {"rows_read": 2}}, f"{PATH}[0] must not hold parameters beside steps"),
        ({"steps": ["d1.read"], "rows_read": 2}, f"{PATH}[0].rows_read is not a key"),
        ({"steps": []}, f"{PATH}[0].steps=() must hold at least 1"),
        ({"steps": ["d1.read", {"steps": ["d1.reed"]}]}, f'{PATH}[0].steps[1].steps[0].use="d1.reed" is not an '),
        (3, f"{PATH}[0]=3 must be a table"),
    ],
    ids=str,
)
def test_wrong_step_is_one_line_with_its_place_and_the_nearest_right_word(step: Any, line: str) -> None:
    found = refusal({PATH: [step]})
    assert found
    assert found[0].startswith(line)
    assert found[0].endswith("(scenarios/README.md)")
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("steps", [], "routes.search.steps=() must hold at least 1"),
        ("steps", None, "routes.search.steps is missing"),
        ("steps", "d1.read", 'routes.search.steps="d1.read" must be a list'),
        ("share", None, "routes.search.share is missing"),
        ("share", 1e10, "routes.search.share=10000000000.0 must be <= 1000000000"),
        ("enter", "tunel", 'routes.search.enter="tunel" must be an instance to come in by; did you mean tunnel?'),
        ("enter", "d1", 'routes.search.enter="d1" must be an instance to come in by; it is one of: network, tunnel'),
        ("keys", "rooms", 'routes.search.keys="rooms" is not a population; add [workload.populations.NAME]'),
        ("objects", 3, "routes.search.objects=3 needs size_bytes: stored objects have sizes"),
        ("request.method", "FETCH", "routes.search.request.method=\"FETCH\" must be 'GET'"),
        ("request.path", "no-slash", 'routes.search.request.path="no-slash" must match '),
        ("request.path", "/a b", 'routes.search.request.path="/a b" must match '),
        ("request.path", "/x/{kay}", "routes.search.request.path has {kay}; did you mean key?"),
        ("request.path", "/x/{}", "routes.search.request.path has {}; it is one of: key, "),
        ("request.body", "usage", 'routes.search.request.body="usage" is not a body; did you mean usage_event?'),
        ("request.answer", "bytes", "routes.search.request.answer=\"bytes\" must be '' or 'size_bytes'"),
        ("prepare", {"method": "PUT"}, "routes.search.prepare.path is missing"),
        ("prepare", {"method": "PUT", "path": "/{objekt}"}, "routes.search.prepare.path has {objekt}; did you mean ob"),
        ("size", 3, "routes.search.size is not a key; did you mean size_bytes?"),
    ],
)
def test_wrong_key_of_a_route_is_one_line(key: str, value: Any, line: str) -> None:
    found = refusal({f"routes.search.{key}": value})
    assert len(found) == 1
    assert found[0].startswith(line)
    assert found[0].endswith("(scenarios/README.md)")


def test_unknown_population_names_the_nearest() -> None:
    found = refusal({"workload.populations.rooms": {"count": 3, "zipf": 0.0}, "routes.search.keys": "room"})
    assert found == ['routes.search.keys="room" is not a population; did you mean rooms? (scenarios/README.md)']


def test_placeholder_of_a_body_is_checked_however_deep_it_stands() -> None:
    body = {"plain": 3, "deep": [{"inner": ["{key}", "{requst}"]}]}
    found = refusal({"bodies.nested": body, "routes.search.request.body": "nested"})
    assert found == ["routes.search.request.body has {requst}; did you mean request? (scenarios/README.md)"]


@pytest.mark.parametrize("table", ["routes", "bodies", "workload.populations"])
@pytest.mark.parametrize("name", ["Feed", "1st", "a-b", "", "ä", "a" * 64])
def test_names_of_an_author_are_plain(table: str, name: str) -> None:
    """They become columns, labels and keys of TOML."""
    entry = {"routes": {"share": 1.0, "steps": ["d1.read"]}, "bodies": {"x": 1}}.get(table, {"count": 1, "zipf": 0.0})
    known = KNOWN_TIMES.model_dump()
    for part in table.split("."):
        known = known[part]
    (found,) = refusal({table: {**known, name: entry}})
    assert found.startswith(f'"{name}" must be a name of lower-case letters, digits and _')


def test_requests_that_nobody_can_tell_apart_are_refused() -> None:
    """By their path without its query, whatever the placeholders; another method or entry tells them apart."""
    twin = {"method": "GET", "path": "/loras?domain={key}"}
    (found,) = refusal({"routes.balance.request": twin})
    assert found.startswith("routes.search.request is that of routes.balance; two requests must differ in method or ")
    held = {"method": "GET", "path": "/a/{key}"}, {"method": "GET", "path": "/a/{request}"}
    assert refusal({"routes.balance.request": held[0], "routes.search.request": held[1]})
    assert not refusal({"routes.balance.request": {**twin, "method": "POST"}})
    assert not refusal({"routes.balance.request": twin, "routes.balance.enter": "tunnel"})


def test_every_wrong_route_is_told() -> None:
    found = refusal({"routes.search.enter": "x", "routes.log.steps": ["nobody.knows"], "routes.upload.keys": "y"})
    assert [line.partition("=")[0] for line in found] == [
        "routes.log.steps[0].use",
        "routes.search.enter",
        "routes.upload.keys",
    ]


# ---------------------------------------------------------------- what is left out


def test_share_of_nothing_is_no_traffic_and_all_of_nothing_is_refused() -> None:
    quiet = load_scenario("launch").with_(**{"routes.search.share": 0.0, "workload.requests": 5_000})
    played = schedule(quiet)
    assert "search" in played.routes
    assert played.routes.index("search") not in played.route_code
    assert quiet.shares["search"] == 0
    assert sum(quiet.shares.values()) == pytest.approx(1)
    shares = {f"routes.{route}.share": 0.0 for route in quiet.routes}
    assert refusal(shares) == ["routes must hold a share > 0 (scenarios/README.md)"]


@given(st.dictionaries(st.sampled_from(list(KNOWN_TIMES.routes)), st.floats(0, 1e9), min_size=1))
def test_shares_are_weights(weights: dict[str, float]) -> None:
    if not sum(weights.values()) > 0:
        with pytest.raises(ScenarioError, match="routes must hold a share > 0"):
            KNOWN_TIMES.with_shares(**weights)
        return
    shares = KNOWN_TIMES.with_shares(**weights).shares
    assert sum(shares.values()) == pytest.approx(1)
    for route, weight in weights.items():
        assert shares[route] == pytest.approx(weight / sum(weights.values()))


def test_request_that_nobody_wrote_reads_or_changes_as_its_operations_do() -> None:
    read = of_steps("workers.compute", {"steps": ["d1.read", "r2.get"]})
    write = of_steps("d1.read", {"chance": 0.1, "steps": [{"use": "r2.put", "spawn": True}]})
    assert (read.request("only").method, read.request("only").path) == ("GET", "/only?key={key}")
    assert (write.request("only").method, write.request("only").path) == ("POST", "/only?key={key}")
    own = {"method": "PATCH", "path": "/feed/{key}"}
    assert of_steps("d1.read", request=own).request("only").path == "/feed/{key}"


def test_parameters_may_stand_beside_the_operation_or_in_a_table_of_their_own() -> None:
    beside = of_steps({"use": "d1.read", "rows_read": 20, "times": 2})
    apart = of_steps({"use": "d1.read", "parameters": {"rows_read": 20}, "times": 2})
    assert beside.routes == apart.routes
    assert of_steps("d1.read").routes == of_steps({"use": "d1.read"}).routes


# ---------------------------------------------------------------- expected uses

chances = st.sampled_from([0.0, 0.25, 0.5, 1.0])
uses = st.builds(
    lambda use, chance, times: {"use": use, "chance": chance, "times": times},
    st.sampled_from(list(OPERATION_MS)),
    chances,
    st.integers(1, 3),
)
groups = st.builds(
    lambda steps, chance, times: {"steps": steps, "chance": chance, "times": times},
    st.lists(uses, min_size=1, max_size=3),
    chances,
    st.integers(1, 3),
)


@given(st.lists(uses | groups, min_size=1, max_size=3))
def test_expected_uses_multiply_inwards(steps: list[dict[str, Any]]) -> None:
    """Times and chances of a group count for everything inside."""
    found: dict[str, float] = {}
    for step, often in expected_uses(of_steps(*steps).routes["only"].steps):
        assert step.use is not None
        found[step.use] = found.get(step.use, 0.0) + often
    by_hand: dict[str, float] = {}
    for outer in steps:
        for inner in outer.get("steps", [{**outer, "chance": 1.0, "times": 1}]):
            often = outer["chance"] * outer["times"] * inner["chance"] * inner["times"]
            by_hand[inner["use"]] = by_hand.get(inner["use"], 0.0) + often
    assert found == pytest.approx(by_hand)
