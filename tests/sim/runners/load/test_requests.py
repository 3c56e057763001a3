"""Requests on the wire: placeholders filled in, bodies of bytes or JSON, what is put in place before a run.

Goal: what is sent is what the route says, with the numbers of the schedule. Method: templates that Hypothesis makes are
filled in here by plain replacement; messages of small schedules are read one by one.
"""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.runners.load.messages import Message, messages, preparations, tunnelled_routes, uploading_routes
from sim.runners.load.requests import body_of, path_of
from sim.scenario.generation import schedule
from sim.scenario.routes import PLACEHOLDER, PLACEHOLDERS, Request
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule
from tests.support.routes import KNOWN_TIMES
from tests.support.schedules import at

VALUES = {name: number for number, name in enumerate(PLACEHOLDERS, start=41)} | {"run": "run-7"}
LAUNCH = load_scenario("launch")

parts = st.sampled_from([*(f"{{{name}}}" for name in PLACEHOLDERS), "a", "/", "?q=", "&", "}", "{"])
texts = st.lists(parts).map("".join).filter(lambda text: set(PLACEHOLDER.findall(text)) <= set(PLACEHOLDERS))
"""A scenario refuses other names in braces; a brace alone is a brace."""


def filled_in(template: str) -> str:
    """Every placeholder replaced by its value."""
    for name, value in VALUES.items():
        template = template.replace(f"{{{name}}}", str(value))
    return template


# ---------------------------------------------------------------- one template


@given(texts)
def test_path_is_the_template_with_values_in_place_of_names(text: str) -> None:
    assert path_of(Request(method="GET", path=f"/{text}"))(VALUES) == filled_in(f"/{text}")


@given(texts, st.sampled_from(PLACEHOLDERS))
def test_text_that_is_one_placeholder_is_the_value_itself_in_json(text: str, name: str) -> None:
    """Numbers stay numbers; a placeholder within a text becomes part of it."""
    whole = f"{{{name}}}"
    body = {"whole": whole, "part": f"id-{whole}", "text": f"x{text}", "deep": [{"list": [whole, 3]}]}
    rendered = json.loads(body_of(Request(method="POST", path="/", body="own"), {"own": body})(VALUES))
    assert rendered["whole"] == rendered["deep"][0]["list"][0] == VALUES[name]
    assert rendered["part"] == f"id-{VALUES[name]}"
    assert rendered["text"] == filled_in(f"x{text}")


def test_json_without_placeholders_is_sent_as_it_is() -> None:
    plain = {"a": 1, "b": [True, None, 2.5], "c": {"d": "ä } no { name"}, "e": []}
    assert json.loads(body_of(Request(method="POST", path="/", body="own"), {"own": plain})(VALUES)) == plain


@pytest.mark.parametrize("body", ["", "size_bytes"])
def test_no_body_and_bytes_are_no_json(body: str) -> None:
    assert body_of(Request(method="POST", path="/", body=body), {})(VALUES) == b""


# ---------------------------------------------------------------- a schedule

ROUTES: dict[str, Any] = {
    "post": {
        "share": 1.0,
        "size_bytes": 1_000.0,
        "request": {"method": "PUT", "path": "/files/{object}?by={key}", "body": "size_bytes"},
        "steps": ["workers.compute", "r2.put"],
    },
    "fetch": {
        "share": 1.0,
        "size_bytes": {"distribution": "uniform", "low": 100, "high": 500},
        "objects": 4,
        "request": {"method": "GET", "path": "/files/{object}", "answer": "size_bytes"},
        "prepare": {"method": "PUT", "path": "/files/{object}", "body": "size_bytes"},
        "steps": ["r2.get"],
    },
    "sensor": {
        "share": 1.0,
        "enter": "tunnel",
        "request": {"method": "POST", "path": "/log", "body": "event"},
        "steps": ["durable_objects.write"],
    },
    "plain": {"share": 1.0, "steps": ["d1.read"]},
}
EVENT = {"id": "{run}-{request}", "org": "org-{key}", "tokens": ["{tokens_in}", "{tokens_out}"], "at": "{time_ms}"}
OWN = KNOWN_TIMES.with_(
    **{"routes": ROUTES, "bodies": {"event": EVENT}, "api": None, "workload.requests": 60, "workload.warm_up_s": 0}
)


def sent(scenario: Scenario, planned: Schedule, *, identified: bool = False) -> list[tuple[str, Message]]:
    """The messages of a schedule with the names of their routes."""
    made = messages(scenario, planned, run="r1", start_time_ms=1e12, identified=identified)
    return list(zip([planned.routes[code] for code in planned.route_code], made.values(), strict=True))


def test_each_request_is_rendered_with_the_numbers_of_its_row() -> None:
    planned = schedule(OWN, 3)
    assert set(planned.route_code) == {0, 1, 2, 3}
    for row, (route, message) in enumerate(sent(OWN, planned)):
        key, number, size = planned.key[row], planned.object_number[row], int(planned.size_bytes[row])
        event = {
            "id": f"r1-{row}",
            "org": f"org-{key}",
            "tokens": [planned.tokens_in[row], planned.tokens_out[row]],
            "at": int(1e12 + planned.arrival_ms[row]),
        }
        expected = {
            "post": Message("PUT", f"/files/{number}?by={key}", upload_bytes=size),
            "fetch": Message("GET", f"/files/{number}", download_bytes=size),
            "sensor": Message("POST", "/log", message.body, wire="tunnel"),
            "plain": Message("GET", f"/plain?key={key}"),
        }
        assert message == expected[route]
        if route == "sensor":
            assert json.loads(message.body) == event


def test_only_a_deployment_of_ours_is_told_what_a_request_is_about() -> None:
    planned = schedule(OWN, 3)
    assert not any(message.headers for _, message in sent(OWN, planned))
    for row, (_, message) in enumerate(sent(OWN, planned, identified=True)):
        assert message.headers == {
            "headroom-request": str(row),
            "headroom-key": str(planned.key[row]),
            "headroom-object": str(planned.object_number[row]),
            "headroom-size-bytes": str(planned.size_bytes[row]),
            "headroom-run": "r1",
        }


def test_bytes_and_tunnels_follow_from_the_requests() -> None:
    assert uploading_routes(OWN) == {"post"}
    assert tunnelled_routes(OWN) == {"sensor"}
    assert uploading_routes(LAUNCH) == {"upload"}
    assert tunnelled_routes(LAUNCH) == {"device_log"}
    second = LAUNCH.with_(**{"system.field": {"like": "tunnel"}, "routes.log.enter": "field"})
    assert tunnelled_routes(second) == {"device_log", "log"}


def test_two_runs_send_different_ids() -> None:
    planned = schedule(OWN, 3)
    one, other = (
        {message.body for message in messages(OWN, planned, run=name, start_time_ms=0.0, identified=False).values()}
        for name in ("r1", "r2")
    )
    assert one & other == {b""}


# ---------------------------------------------------------------- before a run


def fetches(*numbers: int) -> Schedule:
    """Requests of the second route for some stored objects."""
    sizes = np.array([150, 250, 350, 450])[list(numbers)]
    return at(
        np.arange(len(numbers)) * 10.0, routes=tuple(ROUTES), route_code=np.ones(len(numbers), dtype=np.int16),
        object_number=np.array(numbers), size_bytes=sizes, key=np.arange(len(numbers)) + 5,
    )  # fmt: skip


def test_each_object_that_will_be_fetched_is_put_once_and_then_shown_to_be_there() -> None:
    placed = preparations(OWN, fetches(2, 0, 2, 2), run="r1", identified=False)
    assert placed == [
        (Message("PUT", f"/files/{number}", upload_bytes=size), Message("GET", f"/files/{number}", download_bytes=size))
        for number, size in ((0, 150), (2, 350))
    ]


def test_deployment_that_plays_steps_is_asked_by_a_header() -> None:
    """The request itself, of the first row that fetches the object."""
    placed = preparations(OWN, fetches(2, 0, 2), run="r1", identified=True)
    assert [[message.path for message in steps] for steps in placed] == [["/files/0"], ["/files/2"]]
    assert [steps[0].headers["headroom-prepare"] for steps in placed] == ["1", "1"]
    assert [steps[0].headers["headroom-object"] for steps in placed] == ["0", "2"]
    assert [steps[0].headers["headroom-key"] for steps in placed] == ["6", "5"]


def test_deployment_with_an_api_of_its_own_is_prepared_through_it() -> None:
    """The brief's API, even on this machine: the adapter is uploaded."""
    played = schedule(LAUNCH.with_(**{"workload.requests": 2_000, "workload.warm_up_s": 0}))
    placed = preparations(LAUNCH, played, run="r1", identified=True)
    down = played.route_code == played.routes.index("download")
    assert len(placed) == len(np.unique(played.object_number[down])) == 16
    assert all([message.method for message in steps] == ["PUT", "GET"] for steps in placed)
    assert not any("headroom-prepare" in message.headers for steps in placed for message in steps)


def test_nothing_is_prepared_where_nothing_is_fetched() -> None:
    only_posts = at([0.0, 1.0], routes=tuple(ROUTES), size_bytes=np.array([5, 5]), object_number=np.array([7, 8]))
    assert preparations(OWN, only_posts, run="r1", identified=True) == []
    no_way = OWN.vary("routes.fetch.prepare", None)
    assert preparations(no_way, fetches(1), run="r1", identified=False) == []
    assert len(preparations(no_way, fetches(1), run="r1", identified=True)) == 1
