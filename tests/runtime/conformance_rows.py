"""What both do alike and what not: the rows of docs/CONFORMANCE.md, each with the calls that check it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.runtime.api_sequences import NOW_MS, Ask

Area = Literal["API", "D1", "R2", "KV", "Durable Objects"]
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
        Of a binding, requests to the API, or events of an object; the outcome of the last is compared.
    part
        What of it is compared.
    reason
        Why they differ.
    """

    area: Area
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
    fields = {"event_id": "e", "organization_id": "@", "user_id": "u", "model": "sonnet", "tokens_in": 278}
    return json.dumps(fields | {"tokens_out": 218, "event_time_ms": NOW_MS} | changes).encode()


ADAPTER = "/loras/@/adapter.safetensors"
PUT = Ask("PUT", ADAPTER, {"domain": "@"}, b"abc")
LOG = Ask("POST", "/log", body=event())
SCHEMA = (
    "the runtime counts the rows of its table of the schema; the reference walks no statement that changes the schema"
)
MERGED = (
    "the runtime's SQLite merges what an index orders; Python's sorts both sides into a table of its own, and reads it"
)

ORPHANS = (sql("INSERT INTO u VALUES (9, 1)"), sql("INSERT INTO t (a) VALUES (9)"))
REPLACE = "INSERT OR REPLACE INTO t VALUES (1, 'y', 9, 9)"
TEXTS = "SELECT group_concat(b) FROM t"
WITHOUT = "SELECT a FROM t EXCEPT SELECT b FROM t"
COMMENT = "the runtime takes the comment for a statement, and refuses it"
NO_EFFECT = "the runtime takes it, without effect, as it is inside of a transaction; the reference says that it refuses"
PRAGMAS = "the runtime lets some more of them through, which change how the connection behaves"
NUL = "both refuse it; the sentence is Python's, which does not hand such a text to SQLite"
SIMULATED = "the local runtime's stand-in of this service compares texts, which end at a NUL"
FAR_MS = NOW_MS + 86_400_000


def undone(ends: str) -> dict[str, Any]:
    """Return a transaction that ends so, of a value and an alarm."""
    return {"transaction": [{"put": {"a": 2}}, {"alarm": FAR_MS + 1}], "ends": ends}


SET = [{"put": {"a": 1}}, {"alarm": FAR_MS}]
LOOK = [{"list": True}, {"alarm": "get"}]

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
        "implemented",
        filled("CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = 5; END"),
    ),
    Row(
        "D1",
        "a statement that is only a comment is refused",
        "implemented",
        [sql("-- nothing")],
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
        "implemented",
        [sql(TABLE)],
        "changed_db",
    ),
    Row(
        "D1",
        "PRAGMA foreign_keys can be read",
        "implemented",
        [sql("PRAGMA foreign_keys")],
    ),
    Row(
        "D1",
        "sqlite_version() is refused",
        "implemented",
        [sql("SELECT sqlite_version() IS NULL AS v")],
    ),
    Row(
        "D1", "a text of several statements ends in a comment", "not yet", [sql("SELECT 1 AS a; -- b")], reason=COMMENT
    ),
    Row("D1", "nothing is temporary", "implemented", [sql("CREATE TEMP TABLE v (a)")]),
    Row("D1", "power(), log10() and ceiling() are refused", "implemented", [sql("SELECT power(2, 3) AS p")]),
    Row("D1", "what refuses a function", "implemented", [sql("SELECT power(2, 3) AS p")], "sentence"),
    Row(
        "D1",
        "foreign keys can be deferred in a batch",
        "implemented",
        filled({"batch": [sql("PRAGMA defer_foreign_keys = on"), *ORPHANS]}, "SELECT * FROM u"),
    ),
    Row("D1", "PRAGMA foreign_keys = OFF is taken", "not yet", [sql("PRAGMA foreign_keys = OFF")], reason=NO_EFFECT),
    Row("D1", "other PRAGMA that can be read", "not yet", [sql("PRAGMA recursive_triggers")], reason=PRAGMAS),
    Row("D1", "rows_written of INSERT OR REPLACE", "implemented", filled(REPLACE), "rows_written"),
    Row("D1", "rows_read of INSERT OR REPLACE", "implemented", filled(REPLACE), "rows_read"),
    Row("D1", "rows_read of an aggregate of texts", "implemented", filled(TEXTS), "rows_read"),
    Row("D1", "rows_read of EXCEPT, UNION and INTERSECT", "excluded", filled(WITHOUT), "rows_read", MERGED),
    Row("D1", "NUL in the text of a statement", "excluded", [sql("SELECT 'a\0b' AS a")], "sentence", NUL),
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
    Row("D1", "rows_written of CREATE TABLE", "not yet", [sql(TABLE)], "rows_written", SCHEMA),
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
    Row(
        "R2",
        "a list by a prefix with a NUL",
        "excluded",
        [{"op": "put", "key": "a\0b", "text": "a"}, {"op": "list", "options": {"prefix": "a\0"}}],
        reason=SIMULATED,
    ),
    Row(
        "KV",
        "value and metadata",
        "implemented",
        [{"put": "k", "text": "v", "options": {"metadata": {"a": 1}}}, {"get": "k"}],
    ),
    Row("KV", "what is not there", "implemented", [{"get": "nothing"}]),
    Row(
        "KV",
        "a write is seen at its own location",
        "implemented",
        [{"get": "k"}, {"put": "k", "text": "v"}, {"get": "k"}],
    ),
    Row("KV", "a key of 513 bytes is refused", "implemented", [{"put": "x" * 513, "text": "v"}]),
    Row("KV", "the keys . and .. are refused", "implemented", [{"put": "..", "text": "v"}]),
    Row("KV", "a TTL of 59 s is refused", "implemented", [{"put": "k", "text": "v", "options": {"expirationTtl": 59}}]),
    Row(
        "KV",
        "metadata of more than 1,024 bytes is refused",
        "implemented",
        [{"put": "k", "text": "v", "options": {"metadata": "x" * 1_023}}],
    ),
    Row(
        "KV",
        "pages of a list, in order of bytes",
        "implemented",
        [*({"put": key, "text": "v"} for key in ("k", "k/b", "k/é", "k/a")), {"pages": {"prefix": "k", "limit": 3}}],
    ),
    Row(
        "KV",
        "a list by a prefix with a NUL",
        "excluded",
        [{"put": "k\0b", "text": "v"}, {"pages": {"prefix": "k\0"}}],
        reason=SIMULATED,
    ),
    Row(
        "Durable Objects",
        "values of many keys, also of an empty one",
        "implemented",
        [[{"put": {"": 1, "a": 2}}], LOOK],
    ),
    Row(
        "Durable Objects",
        "a list with bounds, in reverse, with a limit",
        "implemented",
        [
            [{"put": dict.fromkeys(["a", "b", "c", "a\0b", "é"], 1)}],
            [{"list": {"start": "a\0", "end": "é", "reverse": True, "limit": 2}}],
        ],
    ),
    Row("Durable Objects", "a deletion says how many keys were there", "implemented", [SET, [{"delete": ["a", "b"]}]]),
    Row("Durable Objects", "an alarm replaces another", "implemented", [SET, [{"alarm": FAR_MS + 5}], LOOK]),
    Row("Durable Objects", "a transaction that throws is undone", "implemented", [SET, [undone("throw")], LOOK]),
    Row("Durable Objects", "a transaction is rolled back", "implemented", [SET, [undone("rollback")], LOOK]),
    Row("Durable Objects", "a transaction is kept", "implemented", [SET, [undone("commit")], LOOK]),
    Row(
        "Durable Objects",
        "the deletion of everything: values, tables, alarm",
        "implemented",
        [SET, [sql(TABLE)], [{"clear": True}], [*LOOK, sql("SELECT * FROM t")]],
    ),
    Row(
        "Durable Objects",
        "writes before an event's error stand, and its memory",
        "implemented",
        [[*SET, {"remember": True}], [{"put": {"b": 2}}, {"fail": True}], [*LOOK, {"remember": True}]],
    ),
    Row(
        "Durable Objects",
        "events that read, wait for the storage, and write: one at a time",
        "implemented",
        [{"together": [[{"add": "n"}, {"add": "n"}]] * 5}],
    ),
    Row("Durable Objects", "the platform's own tables are refused", "implemented", [[sql("SELECT * FROM _cf_KV")]]),
    Row("Durable Objects", "SQLite's sentence in an error", "implemented", [[sql("SELECT * FROM missing")]]),
)
