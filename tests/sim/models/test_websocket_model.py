"""The model of WebSocket rooms: time of a message, sleep, and the provider's worked bills.

Goal: what is billed is what the provider bills, with hibernation and without, and both engines agree. Method: the
worked examples of the pricing page as scenarios, by their amounts; the rule of the wake-up written again over a run.
"""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim import run
from sim.judgement.cost import usage_per_month
from sim.scenario.scenario import Scenario
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES

ROOM: dict[str, Any] = {
    "members": 50, "connect_ms": 2.0, "message_ms": 9.5, "send_us": 10.0, "message_bytes_max": 1_000,
    "hibernates": True, "hibernate_idle_ms": 10_000.0, "open_fraction": 1.0, "request_messages": 20,
}  # fmt: skip


def rooms(connects: float = 0.0, messages: float = 1.0, *, keys: int = 100, **table: Any) -> Scenario:
    """So many connections and messages to the objects of so many keys, all alike."""
    return KNOWN_TIMES.with_(
        **{
            "system.websocket": {**ROOM, **table},
            "system.durable_objects.rtt_ms": 6.0,
            "system.durable_objects.cold_start_ms": 50.0,
            "system.durable_objects.evict_idle_ms": 70_000.0,
            "workload.keys": {"count": keys, "zipf": 0.0},
            "routes": {
                "join": {"share": connects, "steps": ["websocket.connect"]},
                "say": {"share": messages, "steps": ["websocket.message"]},
            },
        }
    )


def played(scenario: Scenario, engine: str = "compiled") -> pd.DataFrame:
    return run(scenario, on=engine, requests=3_000, rng=6).frame


def test_engines_agree_request_by_request() -> None:
    scenario = rooms(0.2, 0.8, keys=500, message_ms={"distribution": "exponential", "mean": 20.0})
    frames = [played(scenario, engine) for engine in ("simpy", "compiled")]
    assert np.array_equal(frames[0]["latency_ms"], frames[1]["latency_ms"])


@pytest.mark.parametrize(("hibernates", "idle_ms"), [(True, 10_000.0), (False, np.inf)])
def test_room_wakes_after_it_was_idle_for_long_or_never(hibernates: bool, idle_ms: float) -> None:
    frame = played(rooms(keys=300, hibernates=hibernates))
    alone = frame["durable_objects_queue_ms"] == 0
    idle_since_ms: dict[int, float] = {}
    woken = np.zeros(len(frame), dtype=bool)
    for row, (at_ms, key, latency_ms) in enumerate(
        zip(frame["arrival_ms"], frame["key"], frame["latency_ms"], strict=True)
    ):
        woken[row] = at_ms + 3.0 - idle_since_ms.get(key, -np.inf) > idle_ms
        idle_since_ms[key] = at_ms + latency_ms - 3.0
    assert np.array_equal(frame.loc[alone, "durable_objects_ms"] > 50.0, woken[alone.to_numpy()])
    assert woken.sum() > 250 or not hibernates
    assert np.allclose(frame["websocket_ms"], 9.5 + 0.5)


def test_message_over_the_limit_is_refused() -> None:
    sizes = {"distribution": "uniform", "low": 500, "high": 1_500}
    frame = played(rooms().vary("routes.say.size_bytes", sizes))
    assert np.array_equal(frame["outcome"] == "too_large", frame["size_bytes"] > 1_000)


DAYS = 30
MONTH_MINUTES = DAYS * 24 * 60
EXAMPLES = [
    # Objects; sockets of each; sockets opened, messages received in the month; share of the day open; hibernates;
    # requests and GB-s of the pricing page; USD with the plan.
    (100, 50, 100 * 50 * DAYS, 100 * 50 * DAYS * 8 * 60, 8 / 24, False, 3_750_000, 11_059_200, 142.95),
    (100, 1, 100, 100 * MONTH_MINUTES * 60, 1.0, False, 12_960_100, 33_177_600, 419.30),
    (100, 100, 100 * 100, 100 * 100 * MONTH_MINUTES, 1.0, True, 21_610_000, 552_960, 20.65),
]


@pytest.mark.parametrize(
    ("objects", "members", "opened", "messages", "share", "hibernates", "requests", "gb_s", "usd"), EXAMPLES
)
def test_worked_bills_of_the_provider_to_the_cent(
    objects: int,
    members: int,
    opened: int,
    messages: int,
    share: float,
    hibernates: bool,
    requests: int,
    gb_s: int,
    usd: float,
) -> None:
    table = {"members": members, "hibernates": hibernates, "open_fraction": share, "connect_ms": 0.0}
    work = {"message_ms": 10.0, "send_us": 0.0}
    used = usage_per_month(rooms(opened, messages, keys=objects, **table, **work), opened + messages)
    assert used["durable_objects.requests"] == pytest.approx(requests)
    assert used["durable_objects.duration"] == pytest.approx(gb_s)
    assert used.get("workers.requests", 0.0) == 0.0, "a message goes past the Worker"
    # The page rounds what is beyond the inclusion up to whole millions.
    price = {key: float(PLATFORM.fact(f"durable_objects.pricing.{key}").value) for key in PRICES}
    over = ceil(max(0.0, round(used["durable_objects.requests"]) - price["requests_included_month"]) / 1e6)
    over_gb_s = ceil(max(0.0, round(used["durable_objects.duration"]) - price["duration_gb_s_included_month"]) / 1e6)
    plan = float(PLATFORM.fact("workers.pricing.plan_month").value)
    bill = plan + over * price["requests_overage_per_million"] + over_gb_s * price["duration_overage_per_million_gb_s"]
    assert bill == pytest.approx(usd, abs=0.005)


PRICES = (
    "requests_included_month", "requests_overage_per_million", "duration_gb_s_included_month",
    "duration_overage_per_million_gb_s",
)  # fmt: skip


def test_rooms_that_nobody_uses_are_not_billed() -> None:
    idle = rooms(hibernates=False).with_(routes={"other": {"share": 1.0, "steps": ["workers.compute"]}})
    assert "durable_objects.duration" not in usage_per_month(idle, 1e6)


def test_open_time_is_bounded_by_the_month() -> None:
    used = usage_per_month(rooms(hibernates=False, keys=7), 1e12)
    gb = float(PLATFORM.fact("durable_objects.pricing.duration_gb_per_object").value)
    assert used["durable_objects.duration"] == pytest.approx(7 * MONTH_MINUTES * 60 * gb)
