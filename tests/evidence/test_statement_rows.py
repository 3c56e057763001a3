"""Statements of routes, executed on real tables: the rows that are counted there are the rows of the bill.

Goal: two codes that share nothing, the planner's arithmetic and the reference's counter, find the same rows for what a
step names, and what cannot be executed is refused in one line before anything is played. Method: schemas of two tables
of random sizes, with and without the index, and the usual statements; the whole reference under a virtual clock, and
once in real time.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.messages import Request
from sim import cost, plan, run
from sim.foundation.errors import ScenarioError
from sim.models.billing import Call
from sim.runners.play import play
from sim.runners.reference import deployment_tables
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from tests.support.in_step import on_the_reference
from tests.support.world import world_of

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE);"
POSTS = (
    "CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER NOT NULL REFERENCES users (id), body TEXT NOT NULL, "
    "likes INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, state TEXT CHECK (state IN ('open', 'gone')));"
)
INDEX = "CREATE INDEX posts_author ON posts (author, created);"
SCAN = "SELECT id, body FROM posts WHERE likes > ?"
BY_INDEX = "SELECT body FROM posts WHERE author = ? ORDER BY created DESC LIMIT ?"
WRITE = "UPDATE users SET name = ? WHERE id = ?"

READS: dict[str, dict[str, Any]] = {
    "by number": {"sql": "SELECT * FROM posts WHERE id = ?"},
    "by a unique column": {"sql": "SELECT id FROM users WHERE email = ?1"},
    "scan": {"sql": "SELECT id FROM users WHERE name = ?"},
    "scan and sort": {"sql": "SELECT id FROM posts ORDER BY likes DESC"},
    "scan, sort and page": {"sql": "SELECT id FROM posts ORDER BY likes DESC LIMIT ?", "returned_rows": 5},
    "scan, and sort what is left": {"sql": "SELECT id FROM posts WHERE body = ? ORDER BY likes", "matching_rows": 3},
    "all of an author": {"sql": "SELECT body FROM posts AS p WHERE p.author = ?", "matching_rows": 4},
    "a page of an author": {"sql": BY_INDEX, "matching_rows": 4, "returned_rows": 2},
    "the worst case": {"sql": "SELECT body FROM posts WHERE author = ?"},
    "from a time on": {"sql": "SELECT body FROM posts WHERE author = ? AND created > ?", "matching_rows": 4},
    "a literal": {"sql": "SELECT id FROM posts WHERE state = 'open' AND author = ?", "matching_rows": 4},
    "the last rows": {"sql": "SELECT id FROM posts WHERE id > ?", "matching_rows": 7},
    "the first rows": {"sql": "SELECT id FROM posts WHERE id <= ?", "matching_rows": 7},
    "between": {"sql": "SELECT id FROM posts WHERE id BETWEEN ? AND ?", "matching_rows": 7},
    "count": {"sql": "SELECT count(*) FROM posts"},
    "join": {"sql": "SELECT p.body, u.name FROM posts p JOIN users u ON u.id = p.author WHERE p.id = ?"},
    "distinct": {"sql": "SELECT DISTINCT state FROM posts"},
    "a page": {"sql": "SELECT id FROM posts LIMIT ? OFFSET ?", "returned_rows": 6},
}
WRITES: dict[str, dict[str, Any]] = {
    "insert": {"sql": "INSERT INTO users (name, email) VALUES (?, ?)"},
    "insert a row that refers": {"sql": "INSERT INTO posts (author, body, created) VALUES (?, ?, ?)"},
    "insert two": {"sql": "INSERT INTO users (name, email) VALUES (?1, ?2), ('b', ?3)"},
    "update one": {"sql": WRITE},
    "update an index": {"sql": "UPDATE users SET email = ? WHERE id = ?"},
    "update all of an author": {"sql": "UPDATE posts SET likes = likes + ? WHERE author = ?", "matching_rows": 4},
    "update by a scan": {"sql": "UPDATE users SET name = 'x' WHERE name = ?", "matching_rows": 2},
    "delete one": {"sql": "DELETE FROM posts WHERE id = ?"},
    "delete all of an author": {"sql": "DELETE FROM posts WHERE author = ?", "matching_rows": 4},
}


def scenario_of(
    folder: Path,
    steps: Sequence[Mapping[str, object]],
    *,
    users: int = 40,
    posts: int = 120,
    schema: str = USERS + POSTS + INDEX,
) -> Scenario:
    """Return a deployment with one route whose steps name statements."""
    (folder / "schema").mkdir(exist_ok=True)
    (folder / "schema" / "0001_first.sql").write_text(schema)
    (folder / "ours.toml").write_text(
        'base = "cloudflare.toml"\nname = "ours"\nquestion = "?"\n'
        "[workload]\nduration_s = 20\nwarm_up_s = 0\nlive_s = 3\n"
        '[workload.arrivals]\nkind = "poisson"\nrate_per_s = 20\n[workload.keys]\ncount = 30\nzipf = 0\n'
        '[routes.all]\nshare = 1\nrequest = { method = "GET", path = "/all/{key}" }\nsteps = ["workers.compute"]\n'
        '[assumptions]\n"workload.keys" = "a test"\n"routes" = "a test"\n'
    )
    return load_scenario(folder / "ours.toml").with_(
        **{
            "system.d1.rows": {"users": users, "posts": posts},
            "system.d1.migrations": str(folder / "schema"),
            "system.d1.row_us": 0.08,
            "routes.all.steps": list(steps),
        }
    )


def step(kind: str, named: dict[str, Any]) -> dict[str, Any]:
    return {"use": f"d1.{kind}", **named}


def counted_and_billed(scenario: Scenario, *, keys: list[int]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the rows of the reference's meters, and of the bill for as many requests."""
    with world_of(Specification.read(deployment_tables(scenario, seed=3))) as world:
        for number, key in enumerate(keys):
            headers = {"headroom-key": str(key), "headroom-request": str(number)}
            answer, _ = world.ask(Request("GET", f"/all/{key}", headers=headers))
            assert answer.status == 200, answer.body
        found = {meter: amount for (name, meter), amount in world.deployment.billed().items() if name == "d1"}
    d1, bill = scenario.system.instances["d1"], {"rows_read": 0.0, "rows_written": 0.0}
    for one in scenario.routes["all"].steps:
        operation = d1.component.operations[str(one.use).partition(".")[2]]
        usage = operation.usage(d1, Call(operation.parameters.model_validate(one.parameters)))
        for meter in bill:
            bill[meter] += len(keys) * usage.amounts.get(f"d1.{meter}", 0.0)
    return {meter: found.get(meter, 0.0) for meter in bill}, bill


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    users=st.integers(30, 90),
    authors=st.integers(8, 30),
    is_indexed=st.booleans(),
    keys=st.sets(st.integers(0, 10**6), min_size=1, max_size=5),
)
@pytest.mark.parametrize("name", READS)
def test_the_rows_of_a_read_are_those_of_the_bill(
    tmp_path: Path, name: str, users: int, authors: int, is_indexed: bool, keys: set[int]
) -> None:
    schema = USERS + POSTS + (INDEX if is_indexed else "")
    scenario = scenario_of(tmp_path, [step("read", READS[name])], users=users, posts=4 * authors, schema=schema)
    counted, billed = counted_and_billed(scenario, keys=sorted(keys))
    assert counted == billed


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(users=st.integers(30, 90), authors=st.integers(8, 30), is_indexed=st.booleans(), key=st.integers(0, 10**6))
@pytest.mark.parametrize("name", WRITES)
def test_the_rows_of_a_write_are_those_of_the_bill(
    tmp_path: Path, name: str, users: int, authors: int, is_indexed: bool, key: int
) -> None:
    schema = USERS + POSTS + (INDEX if is_indexed else "")
    scenario = scenario_of(tmp_path, [step("write", WRITES[name])], users=users, posts=4 * authors, schema=schema)
    counted, billed = counted_and_billed(scenario, keys=[key])
    assert counted == billed


THREE: list[dict[str, Any]] = [
    {"use": "d1.read", "sql": SCAN},
    {"use": "d1.read", "sql": BY_INDEX, "matching_rows": 4, "returned_rows": 2},
    {"use": "d1.write", "sql": WRITE},
]


def test_a_route_of_three_statements_costs_what_the_bill_says(tmp_path: Path) -> None:
    counted, billed = counted_and_billed(scenario_of(tmp_path, THREE), keys=list(range(50)))
    assert counted == billed == {"rows_read": 50 * (120 + 2 + 1), "rows_written": 50}


def test_statements_that_are_executed_take_the_time_of_the_model(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, THREE)
    planned = schedule(scenario, 1).head(200)
    simulated = play(scenario, planned, on="simpy", seed=1).frame
    assert np.allclose(
        on_the_reference(scenario, planned, seed=1)["latency_ms"], simulated["latency_ms"], rtol=0, atol=1e-6
    )


def test_a_run_on_the_reference_counts_what_the_bill_says(tmp_path: Path) -> None:
    """Two tables, a scan, a page by an index and a write, over HTTP in real time."""
    scenario = scenario_of(tmp_path, THREE)
    result = play(scenario, schedule(scenario, 1), on="reference", seed=1)
    assert result.frame["outcome"].eq("ok").all()
    rows = result.generator["statements"]
    assert [row["sql"] for row in rows] == [SCAN, BY_INDEX, WRITE]
    for row, read, written in zip(rows, (120, 2, 1), (0, 0, 1), strict=True):
        assert row["calls"] == len(result.frame)
        assert row["rows_read"] == row["bill_rows_read"] == read * row["calls"]
        assert row["rows_written"] == row["bill_rows_written"] == written * row["calls"]
    said = [note for note in result.notes if "as the bill has them" in note]
    assert len(said) == 3
    assert f"route all: {len(result.frame)} calls of d1 read 120 rows each, as the bill has them" in said[0]
    assert "read 1 row and wrote 1 each" in said[2]


def test_a_bill_that_is_wrong_is_said(tmp_path: Path) -> None:
    """The first write of each name finds it, later ones nothing: the arithmetic knows no history."""
    delete = {"use": "d1.write", "sql": "DELETE FROM posts WHERE id = ?"}
    scenario = scenario_of(tmp_path, [delete]).with_(**{"workload.keys.count": 1})
    result = play(scenario, schedule(scenario, 1), on="reference", seed=1)
    (row,) = result.generator["statements"]
    assert (row["rows_written"], row["bill_rows_written"]) == (1, row["calls"])
    assert any("the bill has 1 row and wrote 1 each" in note for note in result.notes)


def test_tables_that_are_too_large_are_timed_and_that_is_said(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, THREE, users=1_000, posts=50_000)
    tables = deployment_tables(scenario, seed=1)
    assert "schema" not in tables["system"]["d1"]
    result = play(scenario, schedule(scenario, 1), on="reference", seed=1)
    assert "statements" not in result.generator
    assert any("timed and not executed" in note and "51,000 rows" in note for note in result.notes)


@pytest.mark.parametrize(
    ("kind", "named", "said"),
    [
        ("read", {"sql": "SELECT * FROM nowhere"}, "no such table: nowhere"),
        ("read", {"sql": "SELEC 1"}, "syntax error"),
        ("read", {"sql": "DELETE FROM posts"}, "changes rows: it belongs in a step that writes"),
        ("write", {"sql": "SELECT 1"}, "changes no row"),
        ("read", {"sql": "SELECT * FROM posts WHERE id = :id"}, "no names"),
        ("read", {"sql": "SELECT 1; SELECT 2"}, "one statement at a time"),
        ("read", {"sql": "SELECT * FROM posts", "rows_read": 3}, "must not hold rows_read beside sql"),
    ],
)
def test_what_cannot_be_executed_is_refused_before_anything_is_played(
    tmp_path: Path, kind: str, named: dict[str, Any], said: str
) -> None:
    scenario_of(tmp_path, THREE)
    keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in named.items())
    text = (tmp_path / "ours.toml").read_text().replace('["workers.compute"]', f'[{{ use = "d1.{kind}", {keys} }}]')
    text += f'[system.d1]\nmigrations = "{tmp_path / "schema"}"\nrows = {{ users = 40, posts = 120 }}\n'
    (tmp_path / "ours.toml").write_text(text)
    for act in (partial(run, on="reference"), plan, lambda path: cost(load_scenario(path))):
        with pytest.raises(ScenarioError) as caught:
            act(tmp_path / "ours.toml")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sql": "SELECT * FROM nowhere"}, "no such table: nowhere"),
        ({"sql": "SELECT abs(?, ?) FROM posts"}, "wrong number of arguments"),
        ({"sql": f"SELECT * FROM posts WHERE id IN ({', '.join('?' * 101)})"}, "too many SQL variables"),
        ({"sql": "INSERT INTO posts (id, author, body, created) VALUES ('x', ?, ?, ?)"}, "datatype mismatch"),
        (
            {"sql": "SELECT * FROM posts WHERE author = ?", "matching_rows": 1},
            "refer to 120 rows of users, which has 40",
        ),
    ],
)
def test_the_reference_itself_refuses_before_it_is_ready(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    scenario = scenario_of(tmp_path, [{"use": "d1.write", "sql": WRITE}])
    tables = deployment_tables(scenario, seed=1)
    tables["routes"]["all"]["steps"][0]["parameters"] = {"rows_read": 1, "rows_written": 1, **changes}
    with pytest.raises(ConfigError) as caught, world_of(Specification.read(tables)):
        pass
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_numbers_for_one_column_are_refused(tmp_path: Path) -> None:
    of_an_author = "SELECT {} FROM posts WHERE author = ?"
    steps = [
        step("read", {"sql": of_an_author.format(name), "matching_rows": n}) for name, n in (("id", 4), ("body", 8))
    ]
    with pytest.raises(ConfigError, match="both say how many rows share a value"):
        counted_and_billed(scenario_of(tmp_path, steps), keys=[1])


def test_a_missing_schema_is_one_line(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, THREE).with_(**{"system.d1.migrations": str(tmp_path / "nothing")})
    with pytest.raises(ScenarioError, match="nothing"):
        deployment_tables(scenario, seed=1)
