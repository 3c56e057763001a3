"""What a D1 read costs follows from its statement, the plan and the sizes of its tables.

Goal: a full scan is seen before it is deployed, in time, in the bill and in words, and the index that mends it is
named. Method: the project's own search on its own schema, before and after the migration that gives it its index; the
arithmetic of the model against rows that the reference counts on real tables; the saturation against its closed form.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reference_impl.sqlite.row_count.meter import RowMeter
from sim.foundation.errors import ScenarioError
from sim.judgement.cost import usage_per_month
from sim.models.d1_plans import plan_of
from sim.runners.play import play
from sim.scenario.deployment import findings
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening.approximation import screen
from tests.project.tidy import ROOT

SEARCH = (
    "SELECT id, name, domain, base_model, version, price_cents, downloads FROM loras "
    "WHERE domain = ? AND is_public = 1 ORDER BY downloads DESC, id LIMIT ?"
)
READ = {"use": "d1.read", "sql": SEARCH, "returned_rows": 20}


@pytest.fixture
def before(tmp_path: Path) -> str:
    """The migrations before the search had its index."""
    for file in sorted((ROOT / "deploy/migrations").glob("*.sql"))[:2]:
        shutil.copy(file, tmp_path)
    return str(tmp_path)


def searching(migrations: str = "", *, adapters: int = 100_000, rate_per_s: float = 10.0, **step: Any) -> Scenario:
    """Launch, with nothing but searches of a catalogue."""
    launch = load_scenario("launch")
    changes: dict[str, Any] = {
        "system.d1.rows": {"loras": adapters},
        "system.d1.row_us": 0.08,
        "system.d1.migrations": migrations,
        "system.d1.read_ms": 0.3,
        "routes.search.steps": [{**READ, **step}],
        "workload.arrivals.rate_per_s": rate_per_s,
    }
    changes |= {f"routes.{name}.share": 0.0 for name in launch.routes if name != "search"}
    return launch.with_(**changes)


def test_the_search_reads_its_catalogue_twice_and_with_its_index_what_it_returns(before: str) -> None:
    assert plan_of(SEARCH, {"loras": 50_000}, schema=before, limit=20).rows_read == 100_000
    assert plan_of(SEARCH, {"loras": 50_000}, limit=20).rows_read == 20


def test_the_missing_index_is_named_and_its_gain(before: str) -> None:
    (found,) = findings(searching(before, adapters=50_000))
    assert "route search: d1 reads 100,000 rows" in found
    assert "USE TEMP B-TREE FOR ORDER BY" in found
    assert "20 after `CREATE INDEX idx_loras_domain_is_public_downloads_id ON loras" in found
    assert "(domain, is_public, downloads DESC, id)" in found
    assert findings(searching()) == ()
    assert findings(load_scenario("launch")) == ()


def test_the_bill_counts_the_rows_of_the_plan(before: str) -> None:
    assert usage_per_month(searching(before, adapters=50_000), 1e6)["d1.rows_read"] == 1e6 * 100_000
    assert usage_per_month(searching(adapters=50_000), 1e6)["d1.rows_read"] == 1e6 * 20


@pytest.mark.parametrize(("adapters", "bears_per_s"), [(100_000, 1 / 0.0163), (600_000, 1 / 0.0963)])
def test_a_database_saturates_as_the_catalogue_grows(before: str, adapters: int, bears_per_s: float) -> None:
    """16.3 ms a search at 100,000 adapters are 61 searches a second; launch's whole traffic needs 14.5."""
    row = next(row for row in screen(searching(before, adapters=adapters)).rows if row.station == "d1")
    assert row.rate_per_s_max == pytest.approx(bears_per_s, rel=1e-3)
    indexed = next(row for row in screen(searching(adapters=adapters)).rows if row.station == "d1")
    assert indexed.rate_per_s_max > 3_000


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_both_engines_hold_the_database_for_the_rows(before: str, engine: str) -> None:
    scenario = searching(before).with_(**{"workload.duration_s": 20, "workload.warm_up_s": 0, "system.d1.rtt_ms": 0})
    result = play(scenario, schedule(scenario), on=engine, seed=1)
    alone = result.frame["d1_ms"]
    assert alone.to_numpy() == pytest.approx(16.3, abs=1e-6)


STATEMENTS: list[tuple[str, dict[str, Any]]] = [
    ("SELECT * FROM t WHERE b = 7", {}),
    ("SELECT * FROM t WHERE id = 5", {}),
    ("SELECT count(*) FROM t", {}),
    ("SELECT * FROM t ORDER BY b", {}),
    ("SELECT * FROM t ORDER BY a LIMIT 7", {}),
    ("SELECT * FROM t LIMIT 12", {}),
    ("SELECT * FROM t WHERE a > 0 AND b = 3", {}),
    ("SELECT * FROM t WHERE a > 0 ORDER BY b DESC", {}),
    ("SELECT * FROM u WHERE k = 'k5'", {}),
    ("SELECT * FROM t WHERE a <= 50", {"matching": 50}),
    ("SELECT * FROM u JOIN t ON t.id = u.t_id", {}),
    ("SELECT b, count(*) FROM t GROUP BY b", {}),
]


@pytest.mark.parametrize(("sql", "told"), STATEMENTS)
def test_the_arithmetic_is_what_is_counted_on_real_tables(tmp_path: Path, sql: str, told: dict[str, Any]) -> None:
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER); CREATE INDEX ta ON t (a);"
    schema += "CREATE TABLE u (k TEXT PRIMARY KEY, t_id INTEGER);"
    (tmp_path / "schema.sql").write_text(schema)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(schema)
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, n, n % 10) for n in range(1, 501)])
        database.executemany("INSERT INTO u VALUES (?, ?)", [(f"k{n}", n) for n in range(1, 101)])
        counted = RowMeter(lambda text, *params: database.execute(text, params).fetchall()).count(sql)
    planned = plan_of(sql, {"t": 500, "u": 100}, schema=str(tmp_path / "schema.sql"), **told)
    assert counted is not None
    assert planned.rows_read == pytest.approx(counted.rows_read, abs=1)


@pytest.mark.parametrize(
    ("step", "rows", "message"),
    [
        ({"sql": "SELECT * FROM nowhere"}, {"loras": 5}, "no such table: nowhere"),
        ({"sql": "SELEC 1"}, {"loras": 5}, "syntax error"),
        ({}, {"users": 5}, "must say how many rows the table loras has"),
    ],
)
def test_a_statement_that_cannot_be_planned_is_one_line(
    step: dict[str, Any], rows: dict[str, int], message: str
) -> None:
    scenario = searching(**step).with_(**{"system.d1.rows": rows})
    with pytest.raises(ScenarioError, match=message):
        findings(scenario)


def troubled(**system: float) -> Scenario:
    changes = {f"system.d1.{name}": value for name, value in system.items()}
    quiet = {"system.client.retries": 0, "workload.duration_s": 400, "workload.warm_up_s": 0}
    return searching(rate_per_s=20.0).with_(**changes, **quiet)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_read_that_fails_is_repeated_by_the_platform(engine: str, retries: int) -> None:
    """With q = 0.3 and r repetitions, q to the power r + 1 of the reads fail in the end."""
    scenario = troubled(error_chance=0.3, read_retries=retries)
    result = play(scenario, schedule(scenario), on=engine, seed=1)
    failed = (result.frame["outcome"] == "error").mean()
    assert failed == pytest.approx(0.3 ** (retries + 1), abs=4 * (0.3 * 0.7 / len(result.frame)) ** 0.5)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_stall_holds_the_database(engine: str) -> None:
    scenario = troubled(stall_chance=0.02, stall_ms=400.0, rtt_ms=0.0, read_ms=0.1)
    frame = play(scenario, schedule(scenario), on=engine, seed=1).frame
    stalled = frame["d1_ms"] > 399
    assert stalled.mean() == pytest.approx(0.02, abs=0.008)
    # 20 requests a second: each stall of 0.4 s makes some eight others wait.
    assert (frame["d1_queue_ms"] > 1).sum() > 3 * stalled.sum()


def test_nothing_goes_wrong_unless_it_is_asked() -> None:
    table = load_scenario("launch").system.d1
    assert (table.error_chance, table.stall_chance, table.stall_ms, table.row_us) == (0, 0, 0, 0)
