"""What ``headroom init`` makes of WebSockets, of two kinds of keys, and of what stays in a database.

Goal: rooms and their messages are in the draft with what the log says of them, users and rooms are both counted, and
writes say how much stays. Method: a small deployment with a log of known sessions; the estimate of bytes is held
against files that SQLite writes.
"""

import datetime as dt
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import cost, init, load_scenario, run
from sim.scaffold.drafting import Drafted
from sim.scaffold.migrations import read_migrations
from sim.scenario.notes import scenario_notes

CONFIG = """{
  "name": "chat",
  "d1_databases": [{"binding": "DB", "database_name": "chat"}],
  "kv_namespaces": [{"binding": "CACHE", "id": "1"}],
  "queues": {"producers": [{"binding": "OUT", "queue": "out"}]},
  "durable_objects": {"bindings": [
    {"name": "ACCOUNTS", "class_name": "Account"}, {"name": "ROOMS", "class_name": "Room"}
  ]},
  "observability": {"enabled": true, "head_sampling_rate": 0.25}
}"""

TABLES = """
CREATE TABLE users (id INTEGER PRIMARY KEY, handle TEXT NOT NULL UNIQUE, created_at INTEGER);
CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER, body TEXT, image_key TEXT, created_at INTEGER);
CREATE INDEX posts_by_user ON posts (user_id, created_at);
CREATE TABLE follows (follower INTEGER, followed INTEGER, PRIMARY KEY (follower, followed)) WITHOUT ROWID;
"""


def deployment(folder: Path, *, column: str = "user", session_ms: float = 600_000.0, config: str = CONFIG) -> Drafted:
    """A feed, posts, and rooms: sessions of 1 to 3 times *session_ms*, 2 on average; 40 rooms, 7 users."""
    (folder / "wrangler.json").write_text(config)
    (folder / "migrations").mkdir(exist_ok=True)
    (folder / "migrations/0001.sql").write_text(TABLES)
    lines = [f"timestamp,method,path,status,duration_ms,{column}"]
    for at in range(3_000):
        stamp = f"2026-01-01T00:{at // 60:02d}:{at % 60:02d}Z"
        if at % 5 == 4:
            length_ms = session_ms * (1, 1, 4)[at // 5 % 3]
            lines.append(f"{stamp},GET,/room/{at // 5 % 40},101,{length_ms},u{at % 7}")
        elif at % 5 == 3:
            lines.append(f"{stamp},POST,/post,201,60,u{at % 7}")
        else:
            lines.append(f"{stamp},GET,/feed,200,12,u{at % 7}")
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    return init(folder, log=folder / "log.csv", out=folder / "ours.toml")


def test_users_and_rooms_are_both_counted(tmp_path: Path) -> None:
    scenario = deployment(tmp_path).scenario
    assert scenario.workload.keys.count == 7
    assert scenario.population("room").count == 40
    assert scenario.population("room_messages").count == 40
    assert scenario.population("feed").count == 7


def test_another_name_of_the_column_may_still_be_told(tmp_path: Path) -> None:
    scenario = deployment(tmp_path, column="who").scenario
    assert scenario.population("room").count == 40
    again = init(tmp_path, log=tmp_path / "log.csv", how={"columns": {"key": "who"}}).scenario
    assert (again.workload.keys.count, again.population("room").count) == (7, 40)


def test_messages_follow_from_the_mean_length_of_the_sessions(tmp_path: Path) -> None:
    drafted = deployment(tmp_path)
    messages = drafted.scenario.routes["room"].messages
    assert messages is not None
    assert messages.session_s == pytest.approx(1_200.0)
    assert "600 sessions, mean 1,200 s, median 600 s" in drafted.text
    sources = {row.path: row.source for row in drafted.scenario.provenance}
    assert sources["routes.room.messages.session_s"].startswith("measured from log.csv")
    assert sources["routes.room.messages.every_s"].startswith("a guess")
    assert drafted.scenario.shares["room_messages"] == pytest.approx(60 * drafted.scenario.shares["room"])
    assert not any("WebSockets" in line for line in drafted.lacking)
    assert len(run(drafted.scenario, requests=200).frame) == 200


def test_times_of_handshakes_are_no_sessions(tmp_path: Path) -> None:
    drafted = deployment(tmp_path, session_ms=4.0)
    assert drafted.scenario.routes["room"].messages is None
    assert "messages = { every_s = 20, session_s = 300 }" in drafted.text
    assert any("the messages in its WebSockets" in line for line in drafted.lacking)


def test_the_sockets_are_those_of_the_objects_that_the_path_names(tmp_path: Path) -> None:
    drafted = deployment(tmp_path)
    system = drafted.scenario.system
    assert system["websocket"].objects == "rooms"
    rate_per_s = drafted.scenario.workload.arrivals.rate_per_s  # type: ignore[union-attr]  # what init writes is Poisson
    assert system["websocket"].members == round(rate_per_s * 0.2 * 1_200 / 40)
    (members,) = (row for row in drafted.scenario.provenance if row.path == "system.websocket.members")
    assert members.confidence == "D"
    of_rooms = drafted.text.partition("ROOMS (Room)")[2].partition("[system.rooms]")[0]
    assert "No route above uses it" not in of_rooms


def test_one_line_says_what_no_route_uses(tmp_path: Path) -> None:
    deployment(tmp_path)
    notes = [note for note in scenario_notes(load_scenario(tmp_path / "ours.toml")) if "no route uses" in note]
    assert len(notes) == 1
    assert "system.kv, system.accounts, system.queues" in notes[0]


def test_a_write_says_what_stays_and_the_database_has_its_day(tmp_path: Path) -> None:
    drafted = deployment(tmp_path)
    step = drafted.scenario.routes["post"].steps[1]
    schema = read_migrations(tmp_path / "migrations")
    assert schema is not None
    assert step.parameters["rows_written"] == 2
    assert step.parameters["stored_bytes"] == round(schema.stored_bytes("posts"))
    assert f"#   {schema.arithmetic('posts')}" in drafted.text
    assert not any("growth of storage" in note for note in scenario_notes(drafted.scenario))
    assert any(one.kind == "storage" and one.what.startswith("d1: ") for one in cost(drafted.scenario).limits)


def test_the_cache_and_the_price_of_logs_are_spoken_of(tmp_path: Path) -> None:
    drafted = deployment(tmp_path)
    hint = next(line for line in drafted.text.splitlines() if "kv.put" in line and "steps = [" in line)
    uncommented = drafted.text.replace('steps = ["workers.compute", { use = "d1.read", rows_read = 20 }]', "", 1)
    filled = uncommented.replace(hint, hint.removeprefix("#   "))
    (tmp_path / "filled.toml").write_text(filled)
    assert load_scenario(tmp_path / "filled.toml").operations["feed"] == {
        "workers.compute": 1, "kv.get": 1, "d1.read": 1, "kv.put": 1
    }  # fmt: skip
    assert any("0.25 of requests: an event each is on the bill" in line for line in drafted.lacking)


@pytest.mark.parametrize("table", ["users", "posts", "follows"])
def test_assumed_bytes_are_near_what_sqlite_takes_for_such_values(tmp_path: Path, table: str) -> None:
    (tmp_path / "0001.sql").write_text(TABLES)
    schema = read_migrations(tmp_path)
    assert schema is not None
    rng, rows = np.random.default_rng(1), 20_000
    numbers = rng.integers(1, 2**40, size=(rows, 3)).tolist()
    words, prose = [f"{at:030d}" for at in range(rows)], "y" * 300
    values: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
        "users": ("(handle, created_at)", [(word, a) for word, (a, _, _) in zip(words, numbers, strict=True)]),
        "posts": (
            "(user_id, body, image_key, created_at)",
            [(a, prose, word, b) for word, (a, b, _) in zip(words, numbers, strict=True)],
        ),
        "follows": ("(follower, followed)", [(a, b) for a, b, _ in numbers]),
    }
    columns, lines = values[table]
    with closing(sqlite3.connect(tmp_path / "full.db")) as database:
        database.executescript(TABLES)
        database.executemany(f"INSERT INTO {table} {columns} VALUES ({', '.join('?' * len(lines[0]))})", lines)
        database.commit()
    each = (tmp_path / "full.db").stat().st_size / rows
    assert schema.stored_bytes(table) == pytest.approx(each, rel=0.35)


def logpush(folder: Path, *, length_s: float) -> Path:
    """A Logpush file of an hour: pages, and rooms whose sessions last 1 to 3 times *length_s*, 2 on average."""
    lines = []
    for at in range(1_200):
        began = f"2026-01-01T{at // 1_200:02d}:{at // 20 % 60:02d}:{at % 20 * 3:02d}Z"
        opens = at % 4 == 3
        lasted = dt.timedelta(seconds=length_s * (1 + at // 4 % 3) if opens else 0.02)
        lines.append(
            json.dumps(
                {
                    "ClientRequestMethod": "GET",
                    "ClientRequestURI": f"/room/{at % 7}/ws" if opens else "/page",
                    "EdgeStartTimestamp": began,
                    "EdgeEndTimestamp": (dt.datetime.fromisoformat(began) + lasted).isoformat(),
                    "EdgeResponseStatus": 101 if opens else 200,
                    "EdgeTimeToFirstByteMs": 30,
                }
            )
        )
    (folder / "push.ndjson").write_text("\n".join(lines))
    return folder / "push.ndjson"


def test_sessions_are_as_long_as_from_start_to_end(tmp_path: Path) -> None:
    """A latency that ends with the first byte is the handshake's: the session ends at the row's end."""
    drafted = init(log=logpush(tmp_path, length_s=450))
    messages = drafted.scenario.routes["room_ws"].messages
    assert messages is not None
    assert messages.session_s == pytest.approx(900.0)
    assert "300 sessions, mean 900 s, median 900 s" in drafted.text
    assert "end of WebSockets = EdgeEndTimestamp" in drafted.notes[0]
    assert "P99 30 ms) end with the first byte" in drafted.text


def test_sessions_that_end_with_their_handshake_have_no_length(tmp_path: Path) -> None:
    assert init(log=logpush(tmp_path, length_s=0.03)).scenario.routes["room_ws"].messages is None


def test_runs_of_schedules_do_not_take_the_place_of_requests(tmp_path: Path) -> None:
    """1,200 rows in an hour are 28,800 a day; a run a minute comes beside them."""
    (tmp_path / "wrangler.json").write_text('{"name": "w", "main": "w.ts", "triggers": {"crons": ["* * * * *"]}}')
    drafted = init(tmp_path / "wrangler.json", log=logpush(tmp_path, length_s=0.03))
    scenario = drafted.scenario
    per_s = 1_200 / 3_600
    assert scenario.arrivals.nominal_per_s == pytest.approx(per_s + 1 / 60, rel=0.01)  # type: ignore[union-attr]  # Poisson
    assert scenario.shares["cron"] * (per_s + 1 / 60) == pytest.approx(1 / 60, rel=0.1)
    assert "1,440 a day more" in drafted.text
