"""Statements with the rows that the provider's own runtime counts for them, to hold the reference's meter against.

``python -m tests.evidence.rows_of_runtime --workerd PATH`` runs them in a SQLite-backed Durable Object of the open
source runtime (workerd) and writes ``rows_of_runtime.json``: statement, parameters, rows returned, read and written.
The file is data from then on; the tests need no runtime. Statements that write have a database of their own each.
"""

import argparse
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reference_impl.d1.migrations import statements
from reference_impl.ledger import hardened
from reference_impl.ledger.usage_table import USAGE_INSERT
from tests.support.world import migration_files

PATH = Path(__file__).with_name("rows_of_runtime.json")
PORT = 8_932
SCHEMA = (
    "create table t(id integer primary key, a integer, b integer, c text)",
    "create index ta on t(a)",
    "create table u(k text primary key, t_id integer, n integer default 0) without rowid",
    "create index ut on u(t_id)",
    "create table w(k text primary key, v integer, x text unique)",
    (
        "insert into t with recursive s(i) as (select 1 union all select i+1 from s where i<1000) "
        "select i, i, i%10, 'c'||(i%7) from s"
    ),
    "insert into u select 'k'||id, id%100, id from t where id<=300",
    "insert into w select 'w'||id, id, 'x'||id from t where id<=50",
)
READS = (
    "select * from t where b=7",
    "select * from t where a between 1 and 500 and b=7",
    "select count(*) from t",
    "select count(*) from t where b=3",
    "select * from t where id=5",
    "select * from t where id=5000",
    "select * from w where k='w3'",
    "select * from w where k='nope'",
    "select * from t where a=7",
    "select * from t where a=1000",
    "select * from t where a>990",
    "select * from t where a<10 order by a desc",
    "select * from t order by b limit 5",
    "select * from t order by a limit 5",
    "select * from t order by b",
    "select * from t where b=3 order by a desc limit 5",
    "select b, count(*) from t group by b",
    "select c, sum(a) from t where a<100 group by c order by 2 desc",
    "select distinct b from t",
    "select max(a) from t",
    "select min(b) from t",
    "select max(id) from t",
    "select * from t join u on u.t_id = t.id where t.b=3",
    "select * from u join t on t.id=u.t_id",
    "select t.id from t left join u on u.t_id=t.id where t.a<50",
    "select * from t where id in (1,5,9,5000)",
    "select * from t where a in (1,5,9)",
    "select * from t where a=1 or b=2",
    "select * from t where a=1 or id=5",
    "select * from t where id in (select t_id from u where n<20)",
    "select * from t where exists (select 1 from u where u.t_id=t.id and u.n>50)",
    "select (select count(*) from u where u.t_id=t.id) from t where t.id<20",
    "select * from t limit 10",
    "select * from t limit 10 offset 20",
    "select * from t where c like 'c3%' limit 4",
    "select * from t where c='c3'",
    "select a from t where a>5 limit 3",
    "select id from t union all select n from u",
    "select id from t where id<50 union select n from u where n<30",
    "with recursive s(i) as (select 1 union all select i+1 from s where i<50) select count(*) from s",
    "with x as (select * from t where b=1) select * from x where a>500",
    "select * from t where a > ? and b = ?",
    "select coalesce(max(id),0) from t",
    "select * from t where a between 20 and 30 order by b, a desc",
    "select sum(a), count(*), avg(b) from t",
    "select b, count(*) from t group by b having count(*) > 5 order by 2",
    "select * from w where x='x7'",
    "select * from u where k='k3'",
    "select * from u where t_id=3",
    "select * from u where n=5",
    "select * from t where a>=5 and a<8",
    "select 1",
    "select * from t where b=7 and 0",
    "select t.id, u.k from t, u where t.b=u.n",
    "select * from t t1 join t t2 on t1.b=t2.b where t1.id<3",
    "select *, row_number() over (order by b) from t where id<10",
    "select a from t where a is null",
    "select * from t where b=1 order by id desc limit 3",
    "select id from t where a in (select n from u) order by b limit 3",
    "select group_concat(c) from t",
    "select json_object('all', json_group_array(c)) from t where a<9",
    "select b, json_group_array(json_object('c', c)) from t group by b",
    "select b, group_concat(c, '|') from t group by b order by count(*)",
    "select length(group_concat(c) || 'x') from t",
    "select id, (select group_concat(n) from u where u.t_id=t.id) from t where id<4",
    "select max(j) from (select b, group_concat(c) as j from t group by b)",
)
WRITES = (
    "insert into t values(5001,1,2,'z')",
    "insert into t(a,b,c) values(1,2,'z')",
    "insert into t(a,b) values(1,2),(3,4),(5,6)",
    "insert into w values('new',1,'xnew')",
    "insert into u values('knew',1,2)",
    "update t set b=b+1 where id=1",
    "update t set a=0 where id=2",
    "update t set a=a, b=3 where id=2",
    "update t set b=0 where b=3",
    "update t set a=a+1 where a>900",
    "update w set v=v+1 where k='w1'",
    "update w set x='q' where k='w1'",
    "update u set n=n+1 where k='k1'",
    "update u set t_id=0 where k='k1'",
    "update u set k='zz' where k='k1'",
    "delete from t where id=3",
    "delete from t where a=77",
    "delete from t where b=5",
    "delete from w where k='w1'",
    "delete from u where k='k2'",
    "delete from u",
    "delete from w where 1",
    "insert or replace into w values('w1',5,'x1')",
    "insert or replace into u values('k1',5,6)",
    "insert or ignore into w values('w1',5,'qq')",
    "insert into w values('w1',9,'x1') on conflict(k) do update set v=excluded.v",
    "insert into w values('w77',9,'x77') on conflict(k) do update set v=excluded.v",
    "insert into w values('w1',9,'x1') on conflict do nothing",
    "insert into u values('k5',1,2) on conflict(k) do update set n=n+1",
    "with x as (select 1) update t set b=b+1 where id=1",
    "insert into w select 'z'||id, id, 'z'||id from t where id<10",
    "replace into t values(5,5,5,'x')",
    "update t set b=1",
    "update t set b=1 where id=99999",
    "insert into t select id+10000,a,b,c from t where b=1",
)

ADAPTERS = """
INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public, downloads)
WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < 9999)
SELECT 'a' || i, 'u', 'a' || i, 'domain-' || (i % 5), 'm', 'k', '1', i % 10 < 9, i * 7919 % 10000 FROM s
"""
USER = (
    "INSERT INTO users (id, email) VALUES ('u', 'u@x')",
    "INSERT INTO organizations (id, name, slug) VALUES ('o', 'O', 'o')",
)
SEARCH = (
    "SELECT id, name, domain, base_model, version, price_cents, downloads FROM loras "
    "WHERE domain = ? AND is_public = 1 ORDER BY downloads DESC, id LIMIT ?"
)
UPLOAD = (
    "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public) "
    "VALUES (?1, ?2, ?1, ?3, 'unknown', ?4, ?5, 1) "
    "ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, version = excluded.version"
)
USAGE_VALUES = " VALUES (?, 'u', 'o', 'inference', 2, 0, 'sonnet', '2026-11-25', 5) ON CONFLICT DO NOTHING"
EVENTS = """
INSERT INTO events
WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 40)
SELECT i, 'org-7', 'event-' || i, 'user-7', 'sonnet', 1, 1, 0, 0, 5, 5, 0, 'link' FROM s
"""
ACCOUNT = ("org-7", "managed", 1, 1, 0, 10**8, 5 * 10**6, 0, 0)
ENTRY = (41, "org-7", "event-41", "user-7", "sonnet", 1, 1, 0, 0, 5, 5, 0, "link")
Statement = tuple[Any, ...]
"""SQL, then its parameters."""


def migrations(last: str) -> list[str]:
    """Return the statements of the deployment's migrations up to *last*."""
    return [text for name, script in migration_files().items() if name[:4] <= last for text in statements(script)]


def groups() -> dict[str, tuple[list[Statement], list[Statement]]]:
    """Return databases by name: the statements that make each, and those that are counted on it."""
    ledger: list[Statement] = [(text,) for text in hardened.SCHEMA]
    ledger += [(EVENTS,), (hardened.WRITE_ACCOUNT, *ACCOUNT)]
    owed = "SELECT sum(owed_microusd), count(*), organization_id FROM events WHERE seq > ? AND seq <= ? GROUP BY 3"
    flushed: list[Statement] = [
        (hardened.READ_ACCOUNT, "org-7"),
        (hardened.READ_ACCOUNT, "org-8"),
        (hardened.READ_EARLIER, "org-7", "event-41"),
        (hardened.READ_EARLIER, "org-7", "event-3"),
        (hardened.READ_HEAD,),
        (hardened.WRITE_ACCOUNT, *ACCOUNT),
        (hardened.WRITE_EVENT, *ENTRY),
        (hardened.READ_BATCH, 10, 30, 500),
        (hardened.READ_BATCH, 10, 40, 500),
        (hardened.READ_BATCH, 10, 40, 5),
        (hardened.SETTLE_ACCOUNT, 5, 1, "org-7"),
        ("UPDATE outbox SET sealed_seq = ?", 30),
        ("UPDATE outbox SET settled_seq = sealed_seq",),
        ("SELECT settled_seq, sealed_seq FROM outbox",),
        ("SELECT coalesce(max(seq), 0) FROM events",),
        (owed, 10, 40),
    ]
    before, after = ([*((text,) for text in (*migrations(last), *USER)), (ADAPTERS,)] for last in ("0002", "0003"))
    searched: list[Statement] = [(SEARCH, "domain-1", 20), (SEARCH, "domain-1", 100), (SEARCH, "nowhere", 20)]
    stored: list[Statement] = [(UPLOAD, "new", "u", "domain-1", "k", "1"), (UPLOAD, "a1", "u", "domain-2", "k", "2")]
    stored += [(USAGE_INSERT + USAGE_VALUES, "e1")]
    return {
        "general": ([(text,) for text in SCHEMA], [(text, *(500, 3)[: text.count("?")]) for text in (*READS, *WRITES)]),
        "ledger": (ledger, flushed),
        "catalogue without its index": (before, searched),
        "catalogue": (after, [*searched, *stored]),
    }


CONFIGURATION = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "disk", disk = (path = "{folder}", writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Rows", uniqueKey = "rows", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "ROWS", durableObjectNamespace = "Rows")],
);
"""
WORKER = """
import { DurableObject } from "cloudflare:workers";
export class Rows extends DurableObject {
  async fetch(request) {
    return Response.json((await request.json()).map(([sql, ...params]) => {
      const cursor = this.ctx.storage.sql.exec(sql, ...params);
      const returned = cursor.toArray().length;
      return [returned, cursor.rowsRead, cursor.rowsWritten];
    }));
  }
}
export default { fetch(request, env) {
  return env.ROWS.get(env.ROWS.idFromName(new URL(request.url).pathname)).fetch(request);
} };
"""


@contextmanager
def runtime(workerd: Path) -> Iterator[None]:
    """Run the runtime for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "disk").mkdir()
        (folder / "worker.js").write_text(WORKER)
        (folder / "config.capnp").write_text(
            CONFIGURATION.replace("{folder}", str(folder / "disk")).replace("{port}", str(PORT))
        )
        with subprocess.Popen([str(workerd.resolve()), "serve", "config.capnp"], cwd=folder) as process:
            time.sleep(2)
            try:
                yield
            finally:
                process.terminate()


def ask(database: str, statements: Sequence[Statement]) -> list[list[int]]:
    """Run *statements* in one object; return rows returned, read and written of each."""
    body = json.dumps(statements).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/{database}", data=body)  # our own runtime
    with urllib.request.urlopen(request) as response:  # see above
        found: list[list[int]] = json.load(response)
    return found


def counted() -> dict[str, list[dict[str, Any]]]:
    """Run every statement on a database of its own."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (setup, asked) in groups().items():
        for number, (sql, *params) in enumerate(asked):
            *_, (returned, read, written) = ask(f"{name.replace(' ', '-')}-{number}", [*setup, (sql, *params)])
            entry = {"sql": sql, "params": params, "returned": returned, "rows_read": read, "rows_written": written}
            found.setdefault(name, []).append(entry)
    return found


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Count rows on the provider's open-source runtime.")
    parser.add_argument("--workerd", type=Path, required=True, help="its binary")
    workerd = parser.parse_args().workerd
    version = subprocess.run([workerd, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with runtime(workerd):
        found = counted()
    PATH.write_text(json.dumps({"runtime": version, "statements": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
