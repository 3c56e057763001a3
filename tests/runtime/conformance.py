"""Where the reference and the real runtime are alike and where they are not, each with its check.

``python -m tests.runtime.conformance`` writes docs/CONFORMANCE.md. A row says *implemented* (both do the same), *not
yet* (the reference is to do what the runtime does) or *excluded* (they differ for a reason that stays). Its check plays
a few calls on both and compares one part of the last outcome; ``make test-runtime`` fails when what it finds is not
what the row says, whichever way it moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.project.tidy import ROOT
from tests.runtime.api_sequences import NOW_MS, Ask, Client, new_name
from tests.runtime.binding_sequences import SUFFIX
from tests.runtime.outcomes import Outcome, Side

PAGE = ROOT / "docs/CONFORMANCE.md"
Status = Literal["implemented", "not yet", "excluded"]
Part = Literal["outcome", "error", "sentence", "changes", "changed_db", "rows_read", "rows_written"]
TABLE = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c REAL, d)"
CHILD = "CREATE TABLE u (a INTEGER REFERENCES t (a), n INTEGER NOT NULL)"
FILLED = [TABLE, CHILD, "INSERT INTO t VALUES (1, 'x', 0.5, NULL), (2, 'y', 1.5, 'n'), (3, 'z', 2.5, 'n')"]
CLEAN = ["DROP VIEW IF EXISTS v", "DROP TABLE IF EXISTS f", "DROP TABLE IF EXISTS u", "DROP TABLE IF EXISTS t"]


@dataclass(frozen=True)
class Row:
    """One thing that both do, or not.

    Parameters
    ----------
    area
        Heading that it stands under.
    what
        What is looked at.
    status
        Whether both do it.
    calls
        Of a binding, or requests to the API; the outcome of the last is compared.
    part
        What of it is compared.
    reason
        Why they differ.
    """

    area: Literal["API", "D1", "R2"]
    what: str
    status: Status
    calls: Sequence[Any]
    part: Part = "outcome"
    reason: str = ""


def sql(text: str, *params: Any) -> dict[str, Any]:
    """Return one call of a database."""
    return {"sql": text, "params": list(params)}


def filled(*statements: Any) -> list[Any]:
    """Return calls after which the last is looked at, on a small table."""
    return [sql(one) if isinstance(one, str) else one for one in (*FILLED, *statements)]


def event(**changes: Any) -> bytes:
    """Return the body of a usage event."""
    import json

    fields = {"event_id": "e", "organization_id": "@", "user_id": "u", "model": "sonnet", "tokens_in": 278}
    return json.dumps(fields | {"tokens_out": 218, "event_time_ms": NOW_MS} | changes).encode()


ADAPTER = "/loras/@/adapter.safetensors"
PUT = Ask("PUT", ADAPTER, {"domain": "@"}, b"abc")
LOG = Ask("POST", "/log", body=event())
COUNTED = "the runtime counts visits in SQLite; the reference counts rows returned and a rule of thumb of indexes"

ROWS: Sequence[Row] = (
    Row("API", "an event is charged, with the same charge to the micro-dollar", "implemented", [LOG]),
    Row("API", "an event that is sent again is a duplicate", "implemented", [LOG, LOG]),
    Row(
        "API",
        "an event's name is used for another: 409",
        "implemented",
        [LOG, Ask("POST", "/log", body=event(tokens_in=1))],
    ),
    Row(
        "API",
        "the ceiling of what is owed: 402",
        "implemented",
        [Ask("POST", "/log", body=event(model="opus", tokens_out=10_000_000))],
    ),
    Row("API", "a flush empties the balance", "implemented", [LOG, Ask("POST", "/flush", {"organization_id": "@"})]),
    Row(
        "API", "an object has the same name twice: 400", "implemented", [Ask("POST", "/log", body=b'{"a": 1, "a": 2}')]
    ),
    Row("API", "a body longer than its bound: 413", "implemented", [Ask("POST", "/log", body=b" " * 70_000)]),
    Row("API", "an adapter is stored and listed", "implemented", [PUT, Ask("GET", "/loras", {"domain": "@"})]),
    Row("API", "a range of an adapter", "implemented", [PUT, Ask("GET", ADAPTER, headers={"range": "bytes=1-1"})]),
    Row(
        "API",
        "a precondition that is false: 412",
        "implemented",
        [PUT, Ask("GET", ADAPTER, headers={"if-match": '"x"'})],
    ),
    Row("API", "HEAD is answered wherever GET is", "implemented", [PUT, Ask("HEAD", ADAPTER)]),
    Row("API", "a wrong method is told which there are", "implemented", [Ask("DELETE", "/balance")]),
    Row(
        "API",
        "a council's answer",
        "implemented",
        [Ask("POST", "/synapse/@/consensus", body=b'{"request_id": "r", "prompt": "forbidden"}')],
    ),
    Row(
        "API",
        "a second write to one adapter within a second: 429",
        "excluded",
        [PUT, PUT],
        reason="R2 takes one write a second to a key; the local runtime does not enforce it, the platform does",
    ),
    Row(
        "API",
        "a path with dots: /loras/../balance",
        "excluded",
        [Ask("GET", "/loras/../balance", {"organization_id": "@"})],
        reason="the runtime resolves the dots before the Worker sees the path; the reference takes it as it is",
    ),
    Row("D1", "rows, with SQLite's own types", "implemented", filled("SELECT * FROM t ORDER BY a")),
    Row("D1", "changes and the last row id", "implemented", filled("INSERT INTO t (b) VALUES ('q')"), "changes"),
    Row("D1", "changed_db after a write", "implemented", filled("UPDATE t SET d = 'm' WHERE a = 1"), "changed_db"),
    Row("D1", "RETURNING", "implemented", filled("DELETE FROM t WHERE a > 1 RETURNING a, b")),
    Row(
        "D1",
        "a batch is one transaction",
        "implemented",
        filled({"batch": [sql("DELETE FROM t"), sql("SELEC")]}, "SELECT * FROM t"),
    ),
    Row("D1", "two columns of one name are one", "implemented", filled("SELECT 1 AS a, 2 AS a")),
    Row("D1", "foreign keys are on", "implemented", filled("INSERT INTO u VALUES (9, 1)"), "sentence"),
    Row("D1", "SQLite's sentence in an error", "implemented", filled("INSERT INTO t (b) VALUES ('x')"), "sentence"),
    Row(
        "D1",
        "LIKE patterns beyond 50 bytes are refused",
        "implemented",
        filled(sql("SELECT 'a' LIKE ?", "x" * 51)),
        "sentence",
    ),
    Row(
        "D1",
        "more than 100 columns are refused",
        "implemented",
        filled(f"CREATE TABLE v ({', '.join(f'c{n}' for n in range(101))})"),
        "sentence",
    ),
    Row(
        "D1",
        "SQLite's codes in an error",
        "not yet",
        filled("INSERT INTO t (b) VALUES ('x')"),
        "error",
        "the runtime ends each with its code (`: SQLITE_CONSTRAINT (extended: …)`, ` at offset 7: SQLITE_ERROR`)",
    ),
    Row(
        "D1",
        "changes of WITH … INSERT",
        "implemented",
        filled("WITH x AS (SELECT 9 AS a) INSERT INTO t (a) SELECT a FROM x"),
        "changes",
    ),
    Row(
        "D1",
        "a trigger is created",
        "not yet",
        filled("CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = 5; END"),
        reason="the reference takes its inner semicolon for the end of the statement",
    ),
    Row(
        "D1",
        "a statement that is only a comment is refused",
        "not yet",
        [sql("-- nothing")],
        reason="the runtime says: No SQL statements detected",
    ),
    Row(
        "D1",
        "several statements in one text: all run, the last answers",
        "not yet",
        [sql("SELECT 1 AS a; SELECT 2 AS a")],
        reason="the reference refuses them",
    ),
    Row(
        "D1",
        "changed_db after CREATE TABLE",
        "not yet",
        [sql(TABLE)],
        "changed_db",
        "the runtime compares the database, the reference counts changed rows",
    ),
    Row(
        "D1",
        "PRAGMA foreign_keys can be read",
        "not yet",
        [sql("PRAGMA foreign_keys")],
        reason="the reference lets only pragmas through that list tables and indexes",
    ),
    Row(
        "D1",
        "sqlite_version() is refused",
        "not yet",
        [sql("SELECT sqlite_version() IS NULL AS v")],
        reason="the runtime has a list of functions; the reference lets SQLite decide",
    ),
    Row(
        "D1",
        "last_row_id after a batch with a statement that is refused",
        "excluded",
        filled({"batch": [sql("INSERT INTO t (a) VALUES (9)"), sql("BEGIN")]}, "SELECT 1 AS a"),
        "changes",
        "the reference refuses the batch before it runs; the runtime undoes what ran, and SQLite keeps the row id",
    ),
    Row("D1", "rows_read of a scan", "implemented", filled("SELECT * FROM t"), "rows_read"),
    Row("D1", "rows_written of an insert", "implemented", filled("INSERT INTO t (b) VALUES ('q')"), "rows_written"),
    Row("D1", "rows_read of count(*)", "implemented", filled("SELECT count(*) FROM t"), "rows_read"),
    Row(
        "D1",
        "rows_read of a scan that returns little",
        "implemented",
        filled("SELECT * FROM t WHERE c > 2"),
        "rows_read",
    ),
    Row("D1", "rows_read of a query without a table", "implemented", [sql("SELECT 1 AS a")], "rows_read"),
    Row(
        "D1",
        "rows_written of an update of a column in no index",
        "implemented",
        filled("UPDATE t SET d = 'm' WHERE a = 1"),
        "rows_written",
    ),
    Row("D1", "rows_written of CREATE TABLE", "not yet", [sql(TABLE)], "rows_written", COUNTED),
    Row(
        "R2",
        "what is put is got, under MD5 as its etag",
        "implemented",
        [{"op": "put", "key": "k", "text": "abc"}, {"op": "get", "key": "k"}],
    ),
    Row("R2", "what is not there", "implemented", [{"op": "get", "key": "nothing"}]),
    Row("R2", "a key of 1,025 bytes is refused", "implemented", [{"op": "put", "key": "x" * 1_025, "text": "a"}]),
    Row(
        "R2",
        "an empty key is refused",
        "excluded",
        [{"op": "put", "key": "", "text": "a"}],
        reason="the local runtime takes it; the platform does not",
    ),
)


def part_of(outcome: Outcome, part: Part) -> Any:
    """Return what is compared of an outcome of a binding."""
    failed = "error" in outcome
    if part in ("error", "sentence"):
        return SUFFIX.sub("", outcome["error"]) if failed and part == "sentence" else outcome.get("error")
    if failed:
        return "refused"
    value = outcome["value"]
    if not isinstance(value, dict) or "meta" not in value:
        return value
    meta: Mapping[str, Any] = value["meta"]
    if part == "changes":
        return meta["changes"], meta["last_row_id"]
    return value["results"] if part == "outcome" else meta[part]


def observed(row: Row, side: Side, client: Client, *, name: str) -> Any:
    """Play a row on one side and return what is compared."""
    if row.area == "API":
        return [client.ask(asked.named(name)) for asked in row.calls][-1]
    if row.area == "R2":
        return part_of(side.r2([{"op": "delete", "key": "k"}, *row.calls])[-1], row.part)
    side.d1([sql(one) for one in CLEAN])
    return part_of(side.d1(row.calls)[-1], row.part)


def moved(row: Row, sides: Sequence[tuple[Side, Client]]) -> str | None:
    """Return what is found, if it is not what the row says."""
    name = new_name()
    ours, theirs = (observed(row, side, client, name=name) for side, client in sides)
    if (ours == theirs) == (row.status == "implemented"):
        return None
    return f"{row.area}, {row.what}: {row.status}, but the reference has {ours!r} and the runtime {theirs!r}"


def page() -> str:
    """Return docs/CONFORMANCE.md."""
    counts = {status: sum(row.status == status for row in ROWS) for status in ("implemented", "not yet", "excluded")}
    told = ", ".join(f"{number} {status}" for status, number in counts.items())
    parts = [
        "# Conformance",
        f"""What the reference and the real runtime (workerd, on this machine) do alike, and what they do not: {told}.
Made by `python -m tests.runtime.conformance` from rows that each carry a check; `make test-runtime` fails when one of
them moves, and plays hundreds of random sequences of requests, SQL and bucket calls on both beside.

- *implemented*: both do the same.
- *not yet*: the reference is to do what the runtime does.
- *excluded*: they differ for a reason that stays.""",
    ]
    for area in ("API", "D1", "R2"):
        lines = ["| what | status | why |", "| --- | --- | --- |"]
        lines += [f"| {row.what} | {row.status} | {row.reason} |" for row in ROWS if row.area == area]
        parts += [f"## {area}", "\n".join(lines)]
    parts += [
        "## What the local runtime does not enforce",
        """CPU time, memory, the number of subrequests, the sizes of an object's values and keys, and the rate of
writes to one key of a bucket: these limits come from the platform file, and the reference enforces them. A tunnel is no
part of the runtime: routes that come in by one are played on the reference only.""",
    ]
    return "\n\n".join(parts) + "\n"


def write(path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page(), "utf-8")


if __name__ == "__main__":
    write()
