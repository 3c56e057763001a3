"""The deployed ledger on the real runtime, held to the reference's own checks.

Goal: what was acknowledged is there once, its chain is the reference's, what is owed is the sum, and no kill of the
runtime changes that. Method: events over HTTP, the runtime killed in the middle, the object's tables read back.
"""

import json
import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from reference_impl.ledger import audit_chain
from reference_impl.ledger.hardened import ENTRY_COLUMNS
from sim.runners import workerd
from tests.runtime.api_sequences import NOW_MS
from tests.runtime.probe import Probe, probing
from tests.runtime.test_workerd import children
from tests.support.left_running import is_running, wait_until

SYSTEM: dict[str, Any] = {"d1": {}, "r2": {}, "durable_objects": {}, "ledger": {}}
EVENTS = 150
KILLED_AT = 60


def body(number: int) -> str:
    """One usage event."""
    event = {"event_id": f"event-{number}", "organization_id": "org-1", "user_id": f"user-{number % 7}"}
    return json.dumps(
        event | {"model": "opus", "tokens_in": number, "tokens_out": number % 11, "event_time_ms": NOW_MS - number}
    )


class Sender:
    """Sends requests one after the other, on one connection as long as it lasts."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=60)

    def send(self, method: str, path: str, content: str | None = None) -> dict[str, Any]:
        """Send one request; an answer that is no success is an error."""
        self._connection.request(method, path, content)
        answer = self._connection.getresponse()
        read: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, read
        return read

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder of state that outlives the runtime."""
    return tmp_path / "state"


def rows(probe: Probe, sql: str) -> list[list[Any]]:
    """Rows of the organisation's object."""
    (outcome,) = probe.calls("object", "BILLING_LEDGER", calls=[{"sql": sql}], name="org-1")
    found: list[list[Any]] = outcome["value"]["rows"]
    return found


def check(probe: Probe, acknowledged: dict[str, int]) -> None:
    """Hold the object's tables to the reference's checks."""
    stored = rows(probe, f"SELECT {ENTRY_COLUMNS}, chain FROM events ORDER BY seq")  # names are ours
    assert audit_chain.first_broken((row[:-1], row[-1]) for row in stored) is None
    charges = {row[2]: row[9] for row in stored}
    assert len(charges) == len(stored)
    assert {name: charges.get(name) for name in acknowledged} == acknowledged
    ((owed, pending),) = rows(probe, "SELECT pending_microusd, pending_events FROM accounts")
    ((settled,),) = rows(probe, "SELECT settled_seq FROM outbox")
    unflushed = [row for row in stored if row[0] > settled]
    assert (owed, pending) == (sum(row[10] for row in unflushed), len(unflushed))


def until_killed(sender: Sender, node: int) -> Iterator[tuple[str, int]]:
    """Send events and kill the runtime in the middle; yield the name and the charge of each that was acknowledged."""
    for number in range(EVENTS):
        if number == KILLED_AT:
            for pid in children(node):
                os.kill(pid, signal.SIGKILL)
        try:
            yield f"event-{number}", sender.send("POST", "/log", body(number))["charge_microusd"]
        except (OSError, HTTPException):
            return


def test_a_killed_runtime_loses_nothing_that_was_acknowledged(state: Path) -> None:
    with workerd.running(state=state) as running:
        sender = Sender(running.deployment.http)
        acknowledged = dict(until_killed(sender, running.process.pid))
        sender.close()
        wait_until(lambda: not is_running(running.process.pid))
    assert KILLED_AT <= len(acknowledged) < EVENTS
    with probing(SYSTEM, state=state) as probe:
        check(probe, acknowledged)
    # Everything is sent again, as clients do whose answer was lost.
    with workerd.running(state=state) as running:
        sender = Sender(running.deployment.http)
        again = {f"event-{number}": sender.send("POST", "/log", body(number)) for number in range(EVENTS)}
        assert all(again[name]["duplicate"] for name in acknowledged)
        assert sum(answer["duplicate"] for answer in again.values()) <= len(acknowledged) + 1
        flushed = sender.send("POST", "/flush?organization_id=org-1")["events_flushed"]
        assert sender.send("GET", "/balance?organization_id=org-1")["balance_microusd"] == 0
        sender.close()
    assert flushed == EVENTS
    with probing(SYSTEM, state=state) as probe:
        check(probe, {name: answer["charge_microusd"] for name, answer in again.items()})
        ((count, owed),) = probe.rows("SELECT count(*), sum(charge_microusd) FROM usage_events")
        assert count == EVENTS
        (metered,) = probe.calls(
            "object", "USAGE_METER", calls=[{"sql": "SELECT sum(value_microusd) FROM meter_events"}], name="org-1"
        )
        assert metered["value"]["rows"] == [[owed]]
        assert owed == sum(answer["charge_microusd"] for answer in again.values())


def test_a_flush_of_many_events_goes_in_chunks_and_repeats_nothing(state: Path) -> None:
    deployment = {**workerd.BRIEF, "system": {"ledger": {"flush_chunk_rows": 20}}}
    with workerd.serving(deployment, state=state) as running:
        sender = Sender(running.deployment.http)
        for number in range(55):
            sender.send("POST", "/log", body(number))
        assert sender.send("POST", "/flush?organization_id=org-1")["events_flushed"] == 55
        assert sender.send("POST", "/flush?organization_id=org-1")["events_flushed"] == 0
        sender.close()
    with probing(SYSTEM, state=state) as probe:
        assert probe.rows("SELECT count(*), count(DISTINCT id) FROM usage_events") == [[55, 55]]
        (metered,) = probe.calls(
            "object", "USAGE_METER", calls=[{"sql": "SELECT count(*) FROM meter_events"}], name="org-1"
        )
        assert metered["value"]["rows"] == [[3]]


def test_the_alarm_flushes_what_nobody_asked_for(state: Path) -> None:
    deployment = {**workerd.BRIEF, "system": {"ledger": {"flush_interval_s": 1}}}
    with workerd.serving(deployment, state=state) as running:
        sender = Sender(running.deployment.http)
        sender.send("POST", "/log", body(1))
        path = "/balance?organization_id=org-1"
        wait_until(lambda: sender.send("GET", path)["balance_microusd"] == 0)
        sender.close()
    with probing(SYSTEM, state=state) as probe:
        assert probe.rows("SELECT id FROM usage_events") == [["org-1/event-1"]]
