"""Every statement that the project sends to D1 or to an object's storage, with tables of a given size to run it on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reference_impl.d1 import route_rows
from reference_impl.ledger import hardened, usage_table
from tests.support.world import migration_files

Place = Literal["d1", "ledger", "routes"]
SIZES = (100, 1_000, 10_000)
"""Rows of every table that a statement may read."""
NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"


@dataclass(frozen=True)
class Statement:
    """One statement.

    Parameters
    ----------
    name
        Of what it does.
    place
        Where it runs: the API's database, a ledger's object, or a database of routes.
    sql, params
        What is run.
    """

    name: str
    place: Place
    sql: str
    params: tuple[Any, ...] = ()


def setup(place: Place, rows: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the statements that make the tables of a place, each with so many rows."""
    if place == "d1":
        migrations = [one for script in migration_files().values() for one in split(script)]
        return [*((one, ()) for one in migrations), *_filled_api(rows)]
    if place == "ledger":
        return [*((one, ()) for one in hardened.SCHEMA), *_filled_ledger(rows)]
    fill = f"INSERT INTO headroom_rows {NUMBERS} SELECT i % 10, i / 10, 0 FROM n"
    return [(route_rows.TABLE, ()), (fill, (rows,))]


def split(script: str) -> list[str]:
    """Return the statements of a migration."""
    bare = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [one.strip() for one in bare.split(";") if one.strip()]


def _filled_api(rows: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Nine adapters of ten are public, in ten domains; ten organisations share all events."""
    loras = (
        "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public, downloads) "
        f"{NUMBERS} SELECT 'lora-' || i, 'user-' || i, i, 'domain-' || (i % 10), 'm', 'k', 'v', i % 10 <> 7, "
        "(i * 7919) % 10007 FROM n"
    )
    usage = (
        "INSERT INTO usage_events (id, user_id, organization_id, event_type, tokens, cost_cents, model, created_at) "
        f"{NUMBERS} SELECT 'event-' || i, 'user-' || i, 'org-' || (i % 10 + 1), 'inference', 1, 0, 'sonnet', "
        "'2026-11-01 00:00:00' FROM n"
    )
    return [
        (f"INSERT INTO users (id, email) {NUMBERS} SELECT 'user-' || i, i || '@invalid' FROM n", (rows,)),
        ("INSERT INTO users (id, email) VALUES ('system', 'system@invalid')", ()),
        (f"INSERT INTO organizations (id, name, slug) {NUMBERS} SELECT 'org-' || i, i, i FROM n", (rows,)),
        (loras, (rows,)),
        (usage, (rows,)),
    ]


def _filled_ledger(rows: int) -> list[tuple[str, tuple[Any, ...]]]:
    zeros = ", ".join(["0"] * 7)
    events = (
        f"INSERT INTO events {NUMBERS} SELECT i, 'org-1', 'event-' || i, 'user-1', 'sonnet', 1, 1, 0, 0, 4227, "
        "4227, 0, 'x' FROM n"
    )
    return [
        (events, (rows,)),
        (f"INSERT INTO accounts VALUES ('org-1', 'managed', {zeros})", ()),
        ("UPDATE outbox SET settled_seq = ?, sealed_seq = ?", (rows - 50, rows - 50)),
    ]


def _insert(head: str, width: int, *, tail: str) -> str:
    return f"{head} VALUES ({', '.join('?' * width)}) {tail}".strip()


def statements(rows: int) -> Sequence[Statement]:
    """Return every statement, in an order in which none spoils the tables for the next."""
    entry = (rows + 1, "org-1", "new", "user-1", "sonnet", 1, 1, 0, 0, 1, 1, 0, "x")
    usage = ("new", "user-1", "org-1", "inference", 1, 0, "sonnet", "2026-11-02 00:00:00", 1)
    search = (
        "SELECT id, name, domain, base_model, version, price_cents, downloads FROM loras "
        "WHERE domain = ? AND is_public = 1 ORDER BY downloads DESC, id LIMIT ?"
    )
    store = (
        "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public) "
        "VALUES (?1, ?2, ?1, ?3, 'unknown', ?4, ?5, 1) "
        "ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, version = excluded.version"
    )
    ignore = "ON CONFLICT DO NOTHING"
    owed = (
        "SELECT sum(owed_microusd), count(*), organization_id FROM events "
        "WHERE seq > ? AND seq <= ? GROUP BY organization_id"
    )
    upsert = "ON CONFLICT (key, position) DO UPDATE SET version = version + 1"
    return (
        Statement("search of adapters", "d1", search, ("domain-3", 20)),
        Statement("list a new adapter", "d1", store, ("new", "system", "domain-3", "k", "v")),
        Statement("list an adapter again, in its domain", "d1", store, ("lora-5", "system", "domain-5", "k", "w")),
        Statement("list an adapter again, in another domain", "d1", store, ("lora-6", "system", "domain-3", "k", "w")),
        Statement(
            "a user that is known",
            "d1",
            _insert("INSERT INTO users (id, email)", 2, tail=ignore),
            ("user-1", "1@invalid"),
        ),
        Statement("a new user", "d1", _insert("INSERT INTO users (id, email)", 2, tail=ignore), ("new", "new@invalid")),
        Statement("a usage event", "d1", _insert(usage_table.USAGE_INSERT, 9, tail=ignore), usage),
        Statement("a usage event that is known", "d1", _insert(usage_table.USAGE_INSERT, 9, tail=ignore), usage),
        Statement("organisations, counted", "d1", "SELECT count(*) AS n FROM organizations"),
        Statement("organisations, a page", "d1", "SELECT id FROM organizations ORDER BY id LIMIT ? OFFSET ?", (40, 40)),
        Statement("account of an organisation", "ledger", hardened.READ_ACCOUNT, ("org-1",)),
        Statement("an event of a name", "ledger", hardened.READ_EARLIER, ("org-1", "event-5")),
        Statement("head of the chain", "ledger", hardened.READ_HEAD),
        Statement("an event", "ledger", hardened.WRITE_EVENT, entry),
        Statement("account, written", "ledger", hardened.WRITE_ACCOUNT, ("org-1", "managed", 1, 1, 0, 0, 0, 0, 0)),
        Statement("newest number", "ledger", "SELECT coalesce(max(seq), 0) FROM events"),
        Statement("a batch of 50", "ledger", hardened.READ_BATCH, (rows - 50, rows, 500)),
        Statement("owed of a batch of 50", "ledger", owed, (rows - 50, rows)),
        Statement("a settled account", "ledger", hardened.SETTLE_ACCOUNT, (1, 1, "org-1")),
        Statement("the outbox, moved", "ledger", "UPDATE outbox SET settled_seq = sealed_seq"),
        Statement("ten rows of a key", "routes", route_rows.READ, (3, 10)),
        Statement("a row of a key, again", "routes", _insert(route_rows.INSERT, 3, tail=upsert), (3, 0, 1)),
        Statement("a new row of a key", "routes", _insert(route_rows.INSERT, 3, tail=upsert), (99, 0, 1)),
    )
