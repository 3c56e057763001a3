"""Messages on WebSockets, stated by the interval of a client and the length of its session.

Goal: they are played and billed as the route that a user would work out by hand, while requests keep their numbers.
Method: that route, worked out by hand in another scenario, for any rates (Hypothesis); changes, copies and saved runs
of the scenario; and what is refused.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import cost, load_scenario, run
from sim.foundation.errors import ScenarioError
from sim.judgement.cost.requests import requests_usd
from sim.judgement.cost.usage import Traffic
from sim.results.storage import load_run, save_run
from sim.scenario.generation import schedule
from sim.scenario.notes import scenario_notes
from sim.scenario.scenario import Scenario
from sim.screening import screen

BASE = load_scenario("feed")

ROOM = {"share": 0.1, "keys": "", "steps": ["workers.compute", "websocket.connect"]}
READ = {"share": 0.9, "steps": ["workers.compute", "kv.get"]}
MESSAGES = {"every_s": 20.0, "session_s": 480.0, "size_bytes": 200}


def chat(per_day: float = 3e6, *, messages: dict[str, Any] | None = MESSAGES, **routes: Any) -> Scenario:
    """A read, rooms, and the requests of a day, which come at four times the mean."""
    room = {**ROOM, "messages": messages} if messages else ROOM
    return BASE.with_(
        **{
            "routes": {"read": READ, "room": room, **routes},
            "workload.arrivals": {"kind": "poisson"},
            "workload.duration_s": 30.0,
            "workload.warm_up_s": 0.0,
            "demand": {"requests_per_day": per_day, "peak_factor": 4.0},
            "assumptions": {},
        }
    )


@settings(max_examples=15, deadline=None)
@given(st.floats(1e4, 1e7), st.floats(1.0, 600.0), st.floats(1.0, 7_200.0))
def test_they_are_the_route_that_one_would_work_out_by_hand(per_day: float, every_s: float, session_s: float) -> None:
    stated = chat(per_day, messages={"every_s": every_s, "session_s": session_s, "size_bytes": 200})
    ratio = session_s / every_s
    say = {"share": 0.1 * ratio, "size_bytes": 200, "steps": ["websocket.message"]}
    by_hand = chat(per_day * (1 + 0.1 * ratio), messages=None, say=say)
    ours, theirs = (list(one.shares.values()) for one in (stated, by_hand))
    assert ours == pytest.approx(theirs)
    assert stated.arrivals.rate_per_s == pytest.approx(by_hand.arrivals.rate_per_s)  # type: ignore[union-attr]  # Poisson
    assert cost(stated).month_usd == pytest.approx(cost(by_hand).month_usd)
    assert stated.demand is not None
    assert stated.demand.requests_per_day == per_day
    month = Traffic(stated, 30 * per_day).requests_of(30 * per_day)
    assert month["read"] + month["room"] == pytest.approx(30 * per_day)
    assert month["room_messages"] == pytest.approx(month["room"] * ratio)
    assert screen(stated).rate_per_s == pytest.approx(screen(by_hand).rate_per_s)


def test_both_engines_play_them_at_their_rate_beside_the_requests() -> None:
    scenario = chat()
    planned = schedule(scenario)
    counts = np.bincount(planned.route_code, minlength=3) / 30.0
    requests_per_s = 3e6 / 86_400 * 4
    assert counts[:2].sum() == pytest.approx(requests_per_s, rel=0.08)
    assert counts[2] == pytest.approx(requests_per_s * 0.1 * 24, rel=0.08)
    assert set(planned.size_bytes[planned.route_code == 2]) == {200}
    frames = [run(scenario, on=engine, requests=400, rng=3).frame for engine in ("simpy", "compiled")]
    assert np.array_equal(frames[0]["latency_ms"], frames[1]["latency_ms"])


def test_twenty_of_them_are_billed_as_one_request_of_the_object_and_none_of_the_worker() -> None:
    with_them, without = (Traffic(one, 1e6).usage(1e6) for one in (chat(), chat(messages=None)))
    assert with_them["workers.requests"] == pytest.approx(without["workers.requests"])
    more = with_them["durable_objects.requests"] - without["durable_objects.requests"]
    assert more == pytest.approx(0.1 * 1e6 * 24 / 20)


def test_a_load_run_counts_them_among_what_it_sends() -> None:
    scenario = chat()
    say = {"share": 2.4, "size_bytes": 200, "steps": ["websocket.message"]}
    by_hand = chat(messages=None, say=say)
    assert requests_usd(scenario, 1_000_000)[0] == pytest.approx(requests_usd(by_hand, 1_000_000)[0])


def test_other_rates_and_numbers_are_derived_anew() -> None:
    scenario = chat()
    faster = scenario.at_rate(1_000.0)
    assert faster.arrivals.nominal_per_s == pytest.approx(1_000.0)  # type: ignore[union-attr]  # Poisson
    assert faster.shares == pytest.approx(scenario.shares)
    assert faster.demand is not None
    assert faster.demand.requests_per_day == pytest.approx(1_000.0 / 3.4 / 4 * 86_400)
    oftener = scenario.vary("routes.room.messages.every_s", 10.0)
    assert oftener.messages_per_request == pytest.approx(2 * scenario.messages_per_request)
    fewer = scenario.vary("routes.room.share", 0.0)
    assert fewer.messages_per_request == 0


def test_shares_of_ones_own_make_them_a_plain_route() -> None:
    scenario = chat()
    same = scenario.with_shares(**scenario.shares)
    assert same.shares == pytest.approx(scenario.shares)
    assert same.arrivals == scenario.arrivals
    assert cost(same).month_usd == pytest.approx(cost(scenario).month_usd)
    alone = scenario.with_shares(room_messages=1.0)
    assert alone.shares == {"read": 0.0, "room": 0.0, "room_messages": 1.0}


def test_a_saved_run_holds_the_scenario_as_it_was_written(tmp_path: Path) -> None:
    scenario = chat()
    assert "room_messages" not in scenario.model_dump(mode="json")["routes"]
    save_run(run(scenario, requests=50), tmp_path / "run.parquet")
    again = load_run(tmp_path / "run.parquet").scenario
    assert again.shares == pytest.approx(scenario.shares)
    assert again.arrivals == scenario.arrivals


def test_the_arithmetic_is_said_and_both_rates_are() -> None:
    scenario = chat(86_400.0)
    assert scenario_notes(scenario)[0].startswith(
        "routes.room.messages: 0.4 sessions/s x 480 s / 20 s = 9.6 messages/s, played as route room_messages beside "
        "4 HTTP requests/s"
    )
    assert scenario.both_rates(13.6) == " (4 HTTP requests/s and 9.6 messages/s)"
    assert "Beside them come 6,220,800 messages on WebSockets." in cost(scenario).notes[0]
    assert chat(messages=None).both_rates(4.0) == ""


def test_a_trace_plays_what_it_holds_and_says_so(tmp_path: Path) -> None:
    trace = tmp_path / "log.csv"
    trace.write_text("time\n" + "\n".join(str(at * 100) for at in range(100)) + "\n")
    scenario = chat().with_(
        **{"workload.arrivals": {"kind": "trace", "file": str(trace)}, "workload.trace": {"unit": "ms"}}
    )
    assert scenario.shares["room_messages"] == 0
    assert len(schedule(scenario)) == 100
    assert any("not played" in note for note in scenario_notes(scenario))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another route of that name": ({"routes.room_messages": READ}, "routes.room.messages is played as"),
    "a closed loop": (
        {"workload.arrivals": {"kind": "closed", "users": 3, "think_ms": 10}, "workload.requests": 50},
        "routes.room.messages must not be there with workload.arrivals.kind=closed",
    ),
    "a schedule": ({"routes.room.enter": "cron"}, 'routes.room.messages must not be there with enter="cron"'),
    "no socket": ({"routes.room.steps": ["workers.compute"]}, "routes.room.messages must hold steps"),
    "no interval": ({"routes.room.messages.every_s": 0.0}, "routes.room.messages.every_s=0.0 must be > 0"),
    "an unknown step": (
        {"routes.room.messages.steps": ["d1.wrote"]}, 'routes.room.messages.steps[0].use="d1.wrote" is not'
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ScenarioError) as refused:
        chat().with_(**changes)
    assert str(refused.value).startswith(message)


def test_a_message_may_have_steps_of_its_own() -> None:
    steps = ["websocket.message", {"use": "d1.write", "rows_written": 2, "stored_bytes": 300}]
    scenario = chat(messages={**MESSAGES, "steps": steps})
    used = Traffic(scenario, 1e6).usage(1e6)
    assert used["d1.rows_written"] == pytest.approx(0.1 * 1e6 * 24 * 2)
