"""Whole bills of small deployments, each against arithmetic from the provider's price pages, to the cent.

Goal: from a scenario to its total, with every kind of traffic and every kind of line. Method: scenarios whose times are
constants; the sums are written here from the pages' prices and inclusions, and never from the platform file.
"""

from math import ceil
from pathlib import Path
from typing import Any

import pytest

from sim.judgement.cost import Cost, cost
from sim.runners.play import prepare
from sim.scenario.scenario import Scenario
from tests.support.routes import KNOWN_TIMES, of_steps

DAYS, HOUR_S = 30, 3_600
MONTH_S = DAYS * 24 * HOUR_S
PLAN = 5.00
COMPUTE_CPU_MS = 2.0
"""Of ``KNOWN_TIMES``."""


def over(used: float, included: float, per_million: float) -> float:
    """What a line costs that is billed by the million, pro rata."""
    return max(0.0, used - included) / 1e6 * per_million


def rounded(used: float, included: float, per_million: float) -> float:
    """The same of a line of Durable Objects or R2: rounded up to whole millions."""
    return ceil(max(0.0, used - included) / 1e6) * per_million


def workers(requests: float, cpu_ms: float = COMPUTE_CPU_MS) -> float:
    return PLAN + over(requests, 10e6, 0.30) + over(requests * cpu_ms, 30e6, 0.02)


def cents(bill: Cost) -> float:
    return round(bill.month_usd, 2)


def used(bill: Cost, component: str, meter: str) -> float:
    (line,) = (one for one in bill.lines if (one.component, one.meter) == (component, meter))
    return line.used


def test_cron_alone_is_the_plan_and_breaks_nothing_of_the_free_one() -> None:
    """8,640 runs a month, 288 a day of the 100,000 that the Free plan has."""
    scenario = of_steps("workers.compute", enter="cron").with_(**{"system.cron.schedule": "*/5 * * * *"})
    bill = cost(scenario, requests_per_month=0)
    assert used(bill, "workers", "requests") == pytest.approx(12 * 24 * DAYS)
    assert used(bill, "workers", "cpu") == pytest.approx(12 * 24 * DAYS * COMPUTE_CPU_MS)
    assert cents(bill) == PLAN
    assert bill.counted == pytest.approx({"scheduled runs": 8_640})
    assert bill.first_of_free_plan is None


@pytest.mark.parametrize(("cpu_ms", "reached"), [(10.0, False), (12.0, True), (50.0, True)])
def test_cron_that_computes_for_longer_than_the_free_plan_lets_it(cpu_ms: float, reached: bool) -> None:
    """10 ms a call on the Free plan; what is longer is ended, however few runs there are."""
    scenario = of_steps("workers.compute", enter="cron").with_(**{"system.workers.cpu_ms": cpu_ms})
    bill = cost(scenario, requests_per_month=0)
    assert cents(bill) == PLAN
    found = bill.first_of_free_plan
    assert (found is not None) == reached
    if found is not None:
        assert found.what == f"workers: a mean call of {cpu_ms:g} ms is over the Free plan's 10"
        assert found.day_number == 1


def test_heavy_scans_of_d1() -> None:
    """Three million queries that each read a table of a million rows: 3e12 rows, of which 25e9 are included."""
    queries, rows = 3e6, 1e6
    bill = cost(of_steps("workers.compute", {"use": "d1.read", "rows_read": rows}), requests_per_month=queries)
    assert cents(bill) == round(workers(queries) + over(queries * rows, 25e9, 0.001), 2) == 2_980.00


def rooms(*, hibernates: bool, sockets: float, messages: float, message_ms: float) -> Cost:
    """100 rooms: so many sockets opened and so many messages in the month."""
    routes: dict[str, Any] = {
        "open": {"share": sockets, "steps": ["workers.compute", "websocket.connect"]},
        "say": {"share": messages, "size_bytes": 100, "steps": ["websocket.message"]},
    }
    table = {"hibernates": hibernates, "connect_ms": 0.0, "message_ms": message_ms, "send_us": 0.0, "members": 100}
    changes = {f"system.websocket.{key}": value for key, value in table.items()}
    keys = {"workload.keys.count": 100, "workload.keys.zipf": 0.0}
    scenario = KNOWN_TIMES.with_(routes=routes, **changes, **keys)
    return cost(scenario, requests_per_month=sockets + messages)


def test_hibernating_sockets_twenty_messages_to_a_request() -> None:
    """Example 4 of the objects' price page: 100 sockets a room, a message a minute, 10 ms each: 20.65 USD."""
    sockets, messages = 100 * 100, 100 * 100 * 60 * 24 * DAYS
    bill = rooms(hibernates=True, sockets=sockets, messages=messages, message_ms=10.0)
    requests, gb_s = sockets + messages / 20, messages * 0.010 * 0.128
    assert used(bill, "durable_objects", "requests") == pytest.approx(21_610_000)
    assert used(bill, "durable_objects", "duration") == pytest.approx(552_960)
    assert cents(bill) == round(PLAN + rounded(requests, 1e6, 0.15) + rounded(gb_s, 400_000, 12.50), 2) == 20.65


def test_object_that_never_sleeps() -> None:
    """Example 3: 100 objects, a socket and a message a second each, active all month: 419.30 USD."""
    bill = rooms(hibernates=False, sockets=100, messages=100 * MONTH_S, message_ms=1.0)
    requests, gb_s = 100 + 100 * MONTH_S / 20, 100 * MONTH_S * 0.128
    assert used(bill, "durable_objects", "duration") == pytest.approx(33_177_600)
    assert cents(bill) == round(PLAN + rounded(requests, 1e6, 0.15) + rounded(gb_s, 400_000, 12.50), 2) == 419.30


def test_infrequent_access_has_no_free_tier_and_bills_what_it_retrieves() -> None:
    """The page's example: 1,000 objects of 1 GB written once, read 1,000 times and kept: 29.90 USD, and Workers."""
    reads, writes = 1e6, 1_000.0
    routes: dict[str, Any] = {
        "read": {"share": reads, "size_bytes": 1e6, "objects": 1_000, "steps": ["workers.compute", "r2.get"]},
        "make": {"share": writes, "steps": ["workers.compute", "r2.put"]},
    }
    scenario = KNOWN_TIMES.with_(routes=routes, **{"system.r2.storage_class": "infrequent_access"})
    bill = cost(scenario, requests_per_month=reads + writes)
    stored, retrieved = 1, reads * 1e6 / 1e9  # A thousandth of the example's bytes: 1 GB kept, 1,000 GB read.
    operations = rounded(writes, 0, 9.00) + rounded(reads, 0, 0.90)
    assert cents(bill) == round(workers(reads + writes) + operations + stored * 0.01 + retrieved * 0.01, 2) == 24.91


@pytest.mark.parametrize("how", ["objects", "new_fraction"])
@pytest.mark.parametrize(("storage_class", "gb_months"), [("standard", 3), ("infrequent_access", 3 + 120)])
def test_object_that_is_replaced_is_billed_for_its_minimum(how: str, storage_class: str, gb_months: float) -> None:
    """3 GB of objects, of which 120 GB a month are written again: each version is billed for 30 days, if infrequent."""
    kept: dict[str, Any] = {"size_bytes": 1e6, "objects": 3_000}
    steps: dict[str, list[Any]] = {"objects": ["r2.put"], "new_fraction": [{"use": "r2.put", "new_fraction": 0.0}]}
    again = {**kept, "steps": steps["objects"]} if how == "objects" else {"size_bytes": 1e6, "steps": steps[how]}
    routes: dict[str, Any] = {"again": {"share": 1.0, **again}}
    if how == "new_fraction":
        routes["read"] = {"share": 1e-9, **kept, "steps": ["r2.get"]}
    scenario = KNOWN_TIMES.with_(routes=routes, **{"system.r2.storage_class": storage_class})
    bill = cost(scenario, requests_per_month=120_000)
    meter = "storage" if storage_class == "standard" else "infrequent_storage"
    assert used(bill, "r2", meter) == pytest.approx(gb_months, rel=1e-6)
    said = [note for note in bill.notes if "objects that uploads replace" in note]
    assert len(said) == (storage_class != "standard")
    if said:
        assert "120 GB-month are objects that uploads replace, each billed for 30 days" in said[0]


def test_lists_of_kv() -> None:
    """Lists cost what writes do: 5.00 USD a million beyond the first."""
    pages = 2_500_000.0
    bill = cost(of_steps("workers.compute", "kv.list", "kv.get"), requests_per_month=pages)
    assert cents(bill) == round(workers(pages) + over(pages, 1e6, 5.00) + over(pages, 10e6, 0.50), 2) == 12.50


def test_queue_whose_consumer_fails_half_the_time() -> None:
    """A write, a read, a delete; a read for each retry (1/2 + 1/4 + 1/8); a write for each dead letter (1/16)."""
    messages = 20e6
    table = {"failure_fraction": 0.5, "retries": 3, "dead_letters": True, "consumer_billed": False}
    scenario = of_steps("workers.compute", "queues.send", size_bytes=1_000).with_(
        **{f"system.queues.{key}": value for key, value in table.items()}
    )
    bill = cost(scenario, requests_per_month=messages)
    operations = messages * (3 + 0.5 + 0.25 + 0.125 + 0.0625)
    assert cents(bill) == round(workers(messages) + over(operations, 1e6, 0.40), 2)


def test_neurons_of_workers_ai() -> None:
    """Llama 3.1 8B: 25,608 neurons a million tokens read, 75,147 written; 10,000 a day are free."""
    calls = 100_000.0
    table = {"tokens_in": 1_000, "tokens_out": 500, "neurons_per_million_tokens": [25_608, 75_147]}
    scenario = of_steps("workers.compute", "workers_ai.infer").with_(
        **{f"system.workers_ai.{key}": value for key, value in table.items()}
    )
    bill = cost(scenario, requests_per_month=calls)
    neurons = calls * (1_000 * 25_608 + 500 * 75_147) / 1e6
    assert cents(bill) == round(workers(calls) + (neurons - 10_000 * DAYS) / 1_000 * 0.011, 2)


def test_closed_loop_bills_what_its_users_can_ask_for() -> None:
    """Ten users who think for 0.9 s and wait for 2 ms of computing and 5 ms of D1: N / (Z + R) a second."""
    users = {"kind": "closed", "users": 10, "think_ms": 900.0}
    keys = {"count": 10, "zipf": 0.0}
    scenario = of_steps("workers.compute", {"use": "d1.read", "rows_read": 2_000}).with_(
        workload={"requests": 5_000, "warm_up_s": 0, "arrivals": users, "keys": keys}
    )
    bill = cost(scenario)
    requests = 10 / 0.907 * MONTH_S
    assert bill.requests_per_month == pytest.approx(requests, rel=1e-3)
    month = workers(bill.requests_per_month) + over(bill.requests_per_month * 2_000, 25e9, 0.001)
    assert cents(bill) == round(month, 2)


def of_trace(folder: Path, *, say: str = "") -> Scenario:
    """A trace of ten requests a second for 100 s: six in ten read, four write 500 KB; a cron beside it."""
    rows = [f"{n * 100},{'read' if n % 10 < 6 else 'write'},500000" for n in range(1_001)]
    (folder / "log.csv").write_text("\n".join(["arrival_ms,route,size_bytes", *rows]) + "\n", "utf-8")
    routes: dict[str, Any] = {
        "read": {"share": 1.0, "steps": ["workers.compute", {"use": "d1.read", "rows_read": 3_000}]},
        "write": {"share": 1.0, "size_bytes": 1e3, "steps": ["workers.compute", "r2.put"]},
        "cron": {"share": 1.0, "enter": "cron", "steps": ["workers.compute"]},
        "quiet": {"share": 1.0, "steps": ["workers.compute", "kv.list"]},
    }
    scenario = KNOWN_TIMES.with_(routes=routes, **{"system.cron.schedule": "* * * * *"})
    return prepare(scenario, trace=folder / "log.csv")


def test_trace_bills_its_own_mix_and_sizes_and_the_schedule_on_top(tmp_path: Path) -> None:
    bill = cost(of_trace(tmp_path))
    requests = bill.requests_per_month
    assert requests == pytest.approx(10 * MONTH_S, rel=2e-3)
    reads, runs = requests * 601 / 1_001, 60 * 24 * DAYS
    writes = requests - reads
    stored = ceil(writes * 500_000 / 1e9 / 2 - 10)  # As they arrive: half of them over the month.
    month = workers(requests + runs) + over(reads * 3_000, 25e9, 0.001) + rounded(writes, 1e6, 4.50) + stored * 0.015
    assert used(bill, "workers", "requests") == pytest.approx(requests + runs)
    assert cents(bill) == pytest.approx(round(month, 2), abs=0.005)
    assert bill.counted == pytest.approx({"HTTP requests": requests, "scheduled runs": runs})
    (note,) = (one for one in bill.notes if "no row of" in one)
    assert note == "The trace has no row of routes.quiet: their requests are not on this bill."


def test_trace_beside_a_demand_is_the_mix_and_the_demand_the_volume(tmp_path: Path) -> None:
    bill = cost(of_trace(tmp_path).with_(**{"demand.requests_per_day": 1e6}))
    runs = 60 * 24 * DAYS
    reads = (30e6 - runs) * 601 / 1_001
    assert bill.requests_per_month == 30e6
    assert used(bill, "workers", "requests") == pytest.approx(30e6)
    assert used(bill, "d1", "rows_read") == pytest.approx(reads * 3_000)
    assert "the volume of [demand], 1,000,000 a day" in bill.notes[0]


def test_trace_with_rows_of_a_schedule_says_itself_how_often_it_came(tmp_path: Path) -> None:
    rows = [f"{n * 100},{'cron' if n % 10 == 0 else 'read'}" for n in range(1_000)]
    scenario = of_trace(tmp_path)
    (tmp_path / "log.csv").write_text("\n".join(["arrival_ms,route", *rows]) + "\n", "utf-8")
    bill = cost(prepare(scenario, trace=tmp_path / "log.csv"))
    assert bill.counted["scheduled runs"] == pytest.approx(bill.requests_per_month / 10)
    assert sum(bill.counted.values()) == pytest.approx(bill.requests_per_month)


@pytest.mark.parametrize(
    ("value_bytes", "keys", "units"), [(0, 1, 1), (100, 1, 1), (4_096, 1, 1), (4_097, 1, 2), (12_000, 2, 4)]
)
def test_objects_on_key_value_storage_have_meters_of_their_own(value_bytes: float, keys: int, units: int) -> None:
    """3 M reads of 20 keys, 3 M writes: units of 4,096 bytes, 0.20 and 1.00 USD a million, 0.20 USD a GB beyond one."""
    read = {"use": "durable_objects.read", "rows_read": 20}
    write = {"use": "durable_objects.write", "rows_written": keys, "stored_bytes": value_bytes}
    kv = {"system.durable_objects.storage": "kv", "system.durable_objects.kv_unit_bytes": 4_096}
    bill = cost(of_steps(read, write).with_(**kv), requests_per_month=3e6)
    assert used(bill, "durable_objects", "kv_read_units") == 60e6
    assert used(bill, "durable_objects", "kv_write_units") == 3e6 * units
    for meter in ("rows_read", "rows_written", "storage"):
        assert used(bill, "durable_objects", meter) == 0
    stored_gb = 3e6 * value_bytes / 1e9 / 2
    assert used(bill, "durable_objects", "kv_storage") == pytest.approx(stored_gb)
    duration = next(line.usd for line in bill.lines if line.meter == "duration")
    units_usd = over(60e6, 1e6, 0.20) + over(3e6 * units, 1e6, 1.00)
    expected = rounded(6e6, 1e6, 0.15) + units_usd + max(0.0, stored_gb - 1) * 0.20 + duration
    assert cents(bill) == round(expected, 2)


def test_key_value_storage_of_the_account_is_full_one_day() -> None:
    """A million writes a day of 1,000 bytes: 50 GB after 50 days."""
    write = {"use": "durable_objects.write", "stored_bytes": 1_000}
    bill = cost(of_steps(write).with_(**{"system.durable_objects.storage": "kv"}), requests_per_month=30e6)
    full = [one for one in bill.limits if "key-value storage of 50 GB is full" in one.what]
    assert [one.day_number for one in full] == [50]
