"""Statements measured as their tables grow.

Goal: a scan that grows is found, with its rows to the row; the index that mends it is proposed, measured and priced;
and what cannot be counted or filled is said. Method: the project's own search before and after its index, whose rows
the real runtime counted; a social network's schema with everything that SQLite has; statements made to scan or not.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import D1Report, d1
from sim.experiments.queries.growth import Point, exponent_of, extrapolated, growth, in_words
from sim.experiments.queries.price import Prices
from sim.foundation.errors import SimError, UsageError
from sim.judgement.targets import Verdict
from sim.report.json_document import text_of
from sim.report.query_tables import query_document
from sim.scenario.scenario import load_scenario
from tests.sim.experiments.queries.schemas import ALL_PUBLIC, QUERIES, ROWS, SEARCH, UNCOUNTED, before_the_index, social
from tests.support.world import MIGRATIONS


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> D1Report:
    """The social network, measured once."""
    return d1(social(tmp_path_factory.mktemp("social")), query=QUERIES, rows=ROWS)


def test_the_search_of_the_project_is_found_and_mended(tmp_path: Path) -> None:
    """11,000 rows for 10,000 adapters, 20 with an index; the real runtime counts the same (tests/runtime)."""
    found = d1(before_the_index(tmp_path), query=SEARCH, rows={"loras": 10_000}, values=ALL_PUBLIC, rate_per_s=10.0)
    search = found["search"]
    assert [point.rows_read for point in search.measured.points] == [110, 1_100, 11_000]
    assert {point.basis for point in search.measured.points} == {"counted"}
    assert search.verdict is Verdict.ALERT
    assert found.exit_status == 1
    assert search.index is not None
    assert [sql.partition(" ON ")[2] for sql in search.index.sql] == ["loras (domain, is_public, downloads DESC, id)"]
    assert search.index.after.last.rows_read == 20
    assert search.index.after.growth.verdict is Verdict.PASS
    assert (search.index.insert_before_rows_written, search.index.insert_rows_written) == (4, 5)
    assert (search.index.update_before_rows_written, search.index.update_rows_written) == (3, 4)
    assert search.index.added_bytes > 10_000 * 15
    # 10 a second for 30 days, at 0.001 USD a million.
    assert search.measured.usd_per_month == pytest.approx(10 * 30 * 86_400 * 11_000 * 1e-9)


def test_with_its_index_the_search_passes() -> None:
    found = d1(MIGRATIONS, query=SEARCH, rows={"loras": 10_000})
    assert found["search"].measured.last.rows_read == 20
    assert (found.exit_status, found["search"].index) == (0, None)


def test_h21_what_has_no_index_is_found() -> None:
    """Members by user, adapters by owner, the best rated: they have none, and one mends each."""
    query = """
        -- members\nSELECT organization_id FROM organization_members WHERE user_id = ?;
        -- owned\nSELECT id FROM loras WHERE owner_id = ?;
        -- rated\nSELECT id FROM loras ORDER BY rating_avg DESC LIMIT 20;
    """
    found = d1(MIGRATIONS, query=query, rows={"loras": 3_000, "organization_members": 3_000, "users": 1_000})
    for one in found.queries:
        assert one.verdict is Verdict.ALERT, one.name
        assert one.measured.last.rows_read >= 3_000, one.name
        assert one.index is not None
        assert one.index.after.last.rows_read <= 20, one.name


def test_each_statement_of_a_social_network_is_judged(report: D1Report) -> None:
    alerts = {query.name for query in report.queries if query.verdict is Verdict.ALERT}
    scanning = {"profile", "home", "favourites", "clean; up", "everything", "copy", "like", "either", "generated"}
    assert alerts == scanning
    assert report.exit_status == 1
    mended = {query.name for query in report.queries if query.index and query.index.after.growth.exponent < 0.5}
    assert mended == scanning - {"everything"}


def test_an_index_on_both_sides_of_an_or_is_two(report: D1Report) -> None:
    index = report["either"].index
    assert index is not None
    assert len(index.sql) == 2


def test_what_the_counter_cannot_walk_is_a_lower_bound(report: D1Report) -> None:
    uncounted = {query.name for query in report.queries if query.measured.last.basis == "at least"}
    assert uncounted == set(UNCOUNTED)
    assert report["trigger"].measured.last.rows_written == 2


def test_the_parameters_are_values_that_are_there(report: D1Report) -> None:
    for name in ("profile", "home", "favourites", "look up", "clean; up", "like", "full text"):
        last = report[name].measured.last
        assert last.returned_rows + last.changes >= 1, name
        assert report[name].parameters, name


def test_the_same_call_gives_the_same_rows(report: D1Report, tmp_path: Path) -> None:
    again = d1(social(tmp_path), query=QUERIES, rows=ROWS)
    for one, other in zip(report.queries, again.queries, strict=True):
        assert one.measured.points == other.measured.points
        assert one.parameters == other.parameters


def test_the_document_is_json(report: D1Report) -> None:
    found = json.loads(text_of(query_document(report)))
    assert found["verdict"] == "ALERT"
    assert found["queries"][0]["measured"]["points"][-1]["rows_read"] == report.queries[0].measured.last.rows_read
    assert found["queries"][0]["index"]["sql"]


def test_a_table_larger_than_what_is_made_is_extrapolated(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)")
    found = d1(tmp_path, query="SELECT * FROM t WHERE a = ?", rows={"t": 60_000_000})
    last = found.queries[0].measured.last
    assert (last.rows_read, last.basis) == (60_000_000, "extrapolated")
    index = found.queries[0].index
    assert index is not None
    assert index.after.last.rows_read == 2
    assert any("extrapolated" in note for note in found.notes)


@pytest.mark.parametrize(
    ("query", "verdict"),
    [
        ("SELECT * FROM t WHERE id = ?", Verdict.PASS),
        ("SELECT * FROM t LIMIT 10", Verdict.PASS),
        ("SELECT * FROM t WHERE kind = ?", Verdict.WARN),
        ("SELECT count(*) FROM t", Verdict.ALERT),
        ("SELECT max(n) FROM t", Verdict.ALERT),
        ("UPDATE t SET n = ? WHERE name = ?", Verdict.ALERT),
        ("DELETE FROM t", Verdict.WARN),
        ("SELECT * FROM t a JOIN t b ON b.n = a.n WHERE a.id < 5", Verdict.ALERT),
    ],
)
def test_a_scan_that_grows_is_told_from_a_search(tmp_path: Path, query: str, verdict: Verdict) -> None:
    (tmp_path / "a.sql").write_text(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, kind TEXT, n INTEGER, name TEXT); CREATE INDEX k ON t (kind)"
    )
    assert d1(tmp_path, query=query, rows={"t": 3_000}).verdict is verdict


def test_a_parameter_is_what_was_given(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE t (id INTEGER PRIMARY KEY, kind TEXT); CREATE INDEX k ON t (kind)")
    query = "-- one\nSELECT * FROM t WHERE kind = :kind;\n-- other\nSELECT * FROM t WHERE kind = :kind;"
    found = d1(tmp_path, query=query, params={"kind": "none", "other.kind": "kind-1"}, rows={"t": 1_000})
    assert [one.measured.last.returned_rows for one in found.queries] == [0, 100]


REFUSED = {
    "SELECT nope FROM accounts": "no such column: nope",
    "SELECT * FROM missing": "no such table: missing",
    "SELECT * FROM": "incomplete input",
    "PRAGMA table_info(accounts)": "PRAGMA reads and writes no rows",
    "ATTACH 'x' AS y": "ATTACH reads and writes no rows",
    "BEGIN": "BEGIN reads and writes no rows",
    "DROP TABLE accounts": "belong in the migrations",
    "EXPLAIN SELECT 1": "EXPLAIN reads and writes no rows",
    "SELECT load_extension('x')": "not authorized",
    "SELECT 1; VACUUM": "VACUUM reads and writes no rows",
    "SELECT * FROM _cf_KV": "no such table",
    "INSERT INTO accounts (id) VALUES (?)": "NOT NULL constraint failed",
    "SELECT json_extract('{', '$.a')": "malformed JSON",
    f"SELECT {', '.join('?' * 101)}": "from 1 to 100",
    "SELECT * FROM accounts WHERE id = ?99999999999": "from 1 to 100",
    "SELECT * FROM accounts WHERE id = ?0": "variable number must be",
    f"SELECT '{'x' * 100_001}'": "too large",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n": "takes more than",
    "-- nothing\n": "holds no statement",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_d1_would_not_run_is_one_line(tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.runners.databases.local.LIMIT_S", 0.2)
    with pytest.raises(UsageError) as error:
        d1(social(tmp_path), query=query, rows={"accounts": 100})
    assert REFUSED[query] in str(error.value)
    assert "\n" not in str(error.value)


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "no such table": ({"rows": {"nothing": 5}}, "nothing is no table of the migrations"),
    "a view": ({"rows": {"public_statuses": 500}}, "public_statuses is no table"),
    "no rows": ({"rows": {"accounts": 0}}, "accounts=0 must be 1 to"),
    "few rows": ({"rows": {"accounts": 9}}, "at least one table must have 100 rows"),
    "no parameter": ({"params": {"7": 1}}, "7 is no parameter of the queries"),
    "no column": ({"values": {"accounts.nope": 3}}, "accounts.nope must be TABLE.COLUMN"),
    "no values": ({"values": {"accounts.domain": 0}}, "accounts.domain=0 must be >= 1"),
    "no share": ({"values": {"accounts.domain": (("a", 0.0),)}}, "must add up to more than 0"),
    "no rate": ({"rate_per_s": float("nan")}, "rate_per_s=nan must be a number >= 0"),
    "no such counter": ({"on": "moon"}, "on='moon' must be reference or workerd"),
    "no file": ({"query": "missing.sql"}, "query='missing.sql' cannot be read"),
    "another type": ({"rows": 5}, "rows=5 must be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(tmp_path: Path, name: str) -> None:
    options, said = WRONG[name]
    query = "SELECT id FROM accounts WHERE username = ?"
    arguments: dict[str, object] = {"query": query, "rows": {"accounts": 1_000}, **options}
    with pytest.raises(SimError) as error:
        d1(social(tmp_path), **arguments)  # type: ignore[arg-type]  # wrong on purpose
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("migrations", "said"),
    [("CREATE TABLE a (x); CREATE TABLE a (x)", "table a already exists"), ("ATTACH 'z' AS y", "not authorized")],
)
def test_migrations_that_fail_are_one_line(tmp_path: Path, migrations: str, said: str) -> None:
    (tmp_path / "0001.sql").write_text(migrations)
    with pytest.raises(UsageError, match=said):
        d1(tmp_path, query="SELECT 1")


@settings(max_examples=200)
@given(st.floats(0, 3), st.integers(100, 10**6))
def test_the_exponent_is_found_and_used_to_extrapolate(exponent: float, rows: int) -> None:
    shares = (0.001, 0.01, 0.1)
    points = [Point(round(rows * (share / 0.1) ** exponent), 0, 1, 0, 0, "counted") for share in shares]
    if points[-2].rows_read < 50:
        return
    assert exponent_of(points, shares) == pytest.approx(exponent, abs=0.02)
    assert extrapolated(points, shares).rows_read == pytest.approx(rows * 10**exponent, rel=0.13)


def test_a_lower_bound_is_judged_by_its_instructions() -> None:
    points = [Point(1, 0, 1, 0, steps, "at least") for steps in (100, 1_000, 10_000)]
    assert growth(points, (0.01, 0.1, 1.0), plan=["SCAN t"]).verdict is Verdict.ALERT
    points = [Point(1, 0, 1, 0, 100, "at least") for _ in range(3)]
    assert growth(points, (0.01, 0.1, 1.0), plan=["SCAN t"]).verdict is Verdict.PASS


def test_the_price_is_that_of_the_platform_file() -> None:
    prices = Prices.of(load_scenario("launch"))
    assert prices.usd_per_month(1e6, 0, rate_per_s=1) == pytest.approx(30 * 86_400 * 0.001)
    assert prices.usd_per_month(0, 1e6, rate_per_s=1) == pytest.approx(30 * 86_400 * 1.0)
    # A scan of 6.25 million rows takes one second, beside the time of any query.
    assert prices.queries_per_s(6_250_000, 0) == pytest.approx(1 / (1 + prices.read_ms / 1_000))


def test_a_plan_is_said_in_words() -> None:
    assert in_words([]) == "touches no table"
    assert in_words(["SCAN t USING COVERING INDEX i"]) == "scans all of t by i"


@pytest.mark.parametrize(
    ("column", "values", "noted"),
    [("TEXT NOT NULL", None, True), ("TEXT NOT NULL UNIQUE", None, False), ("TEXT NOT NULL", {"t.org": 50}, False)],
)
def test_column_that_nobody_called_unique_is_said_to_be_taken_so(
    tmp_path: Path, column: str, values: dict[str, int] | None, noted: bool
) -> None:
    """An equality reads one row where its column is unique; how many values it has decides the verdict."""
    schema = tmp_path / "0001.sql"
    schema.write_text(f"CREATE TABLE t (id INTEGER PRIMARY KEY, org {column}); CREATE INDEX i ON t(org);", "utf-8")
    found = d1(schema, query="SELECT id FROM t WHERE org = ?", rows={"t": 500}, values=values)
    said = "t.org: assumed as many distinct values as rows; if fewer: --values t.org=N"
    assert (said in found.notes) == noted
