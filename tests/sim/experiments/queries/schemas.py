"""Schemas and statements that several tests measure."""

from pathlib import Path

from tests.support.world import migration_files

SEARCH = (
    "-- search\nSELECT id, name, domain, base_model, version, price_cents, downloads FROM loras "
    "WHERE domain = ? AND is_public = 1 ORDER BY downloads DESC, id LIMIT ?"
)
ALL_PUBLIC = {"loras.is_public": ((1, 1.0),)}

SOCIAL = """
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE accounts (id INTEGER PRIMARY KEY, username TEXT NOT NULL, domain TEXT, display_name TEXT,
  created_at INTEGER NOT NULL, UNIQUE (username, domain));
CREATE TABLE statuses (id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
  in_reply_to_id INTEGER REFERENCES statuses(id), text TEXT NOT NULL CHECK (length(text) <= 500),
  visibility TEXT NOT NULL DEFAULT 'public' CHECK (visibility IN ('public', 'unlisted', 'private')),
  created_at TEXT DEFAULT CURRENT_TIMESTAMP, deleted_at TEXT);
CREATE TABLE follows (account_id INTEGER NOT NULL REFERENCES accounts(id),
  target_account_id INTEGER NOT NULL REFERENCES accounts(id),
  PRIMARY KEY (account_id, target_account_id)) WITHOUT ROWID;
CREATE TABLE favourites (id TEXT PRIMARY KEY, account_id INTEGER NOT NULL, status_id INTEGER NOT NULL,
  UNIQUE (account_id, status_id));
CREATE TABLE sessions (token BLOB PRIMARY KEY, account_id INTEGER, expires_at INTEGER, data JSON DEFAULT '{}');
COMMIT;
CREATE VIEW public_statuses AS SELECT s.id, s.text, a.username FROM statuses s JOIN accounts a ON a.id = s.account_id
  WHERE s.visibility = 'public' AND s.deleted_at IS NULL;
CREATE TABLE counts (account_id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0);
CREATE TRIGGER count_up AFTER INSERT ON statuses BEGIN
  INSERT INTO counts (account_id, n) VALUES (NEW.account_id, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;
CREATE VIRTUAL TABLE status_search USING fts5(body);
CREATE TABLE lines (id INTEGER PRIMARY KEY, price INTEGER, count INTEGER, total INTEGER AS (price * count) VIRTUAL);
"""
"""The shape of a federated social network's database (accounts, statuses, follows), with everything that SQLite has."""

QUERIES = """
-- profile
SELECT id, text, created_at FROM statuses WHERE account_id = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT 20;
-- home
SELECT s.id, s.text FROM statuses s JOIN follows f ON f.target_account_id = s.account_id
WHERE f.account_id = ?1 ORDER BY s.id DESC LIMIT 40;
-- favourites
SELECT count(*) FROM favourites WHERE status_id = :status;
-- look up
SELECT id FROM accounts WHERE username = ? AND domain = ?;
-- clean; up
DELETE FROM sessions WHERE expires_at < ?;
-- view
SELECT * FROM public_statuses ORDER BY id DESC LIMIT 20;
-- trigger
INSERT INTO statuses (account_id, text) VALUES (?, ?);
-- full text
SELECT rowid FROM status_search WHERE status_search MATCH ? LIMIT 10;
-- generated
SELECT * FROM lines WHERE total > ?;
-- everything
SELECT * FROM accounts;
-- copy
INSERT INTO sessions (token, account_id) SELECT randomblob(8), id FROM accounts WHERE created_at > ?;
-- numbers
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT sum(i) FROM n;
-- like
SELECT id FROM accounts WHERE display_name LIKE ? LIMIT 10;
-- either
SELECT id FROM statuses WHERE account_id = ? OR in_reply_to_id = ? LIMIT 10;
"""
ROWS = {"statuses": 8_000, "accounts": 800, "follows": 4_000, "favourites": 4_000, "sessions": 2_000, "lines": 2_000}
UNCOUNTED = ("trigger", "full text", "generated")
"""What only the real runtime counts."""


def before_the_index(folder: Path) -> Path:
    """Write the project's own migrations, without the one that made the search's index."""
    for name, text in migration_files().items():
        if name < "0003":
            (folder / name).write_text(text, "utf-8")
    return folder


def social(folder: Path) -> Path:
    """Write the social network's schema."""
    (folder / "0001_init.sql").write_text(SOCIAL, "utf-8")
    return folder


SHOP = """
CREATE TABLE queue (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE job (id TEXT NOT NULL, queue_id INTEGER NOT NULL REFERENCES queue (id),
  state TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'running', 'done')), run_at INTEGER NOT NULL,
  locale TEXT NOT NULL DEFAULT 'en', tags TEXT NOT NULL DEFAULT '[]' CHECK (json_type(tags) = 'array'),
  PRIMARY KEY (queue_id, id));
CREATE INDEX job_locale ON job (locale);
CREATE TABLE attempt (queue_id INTEGER NOT NULL, job_id TEXT NOT NULL, number INTEGER NOT NULL, error TEXT,
  PRIMARY KEY (queue_id, job_id, number), FOREIGN KEY (queue_id, job_id) REFERENCES job (queue_id, id)) WITHOUT ROWID;
CREATE TABLE result (queue_id INTEGER NOT NULL, job_id TEXT NOT NULL, ms INTEGER, PRIMARY KEY (queue_id, job_id),
  FOREIGN KEY (queue_id, job_id) REFERENCES job ON DELETE CASCADE);
CREATE TABLE note (id INTEGER PRIMARY KEY, queue_id INTEGER REFERENCES queue (id), title TEXT, body TEXT);
CREATE TABLE coded (id INTEGER PRIMARY KEY, code TEXT NOT NULL CHECK (code GLOB '[0-9]*'));
CREATE VIRTUAL TABLE note_search USING fts5(title, body, content='note', content_rowid='id');
CREATE TRIGGER note_in AFTER INSERT ON note BEGIN
  INSERT INTO note_search (rowid, title, body) VALUES (new.id, new.title, new.body); END;
CREATE VIEW notes_of AS SELECT n.id, n.title, q.name FROM note n JOIN queue q ON q.id = n.queue_id;
"""
"""The shape of a job queue: keys and references of several columns, and a full-text index of another table's text."""

SHOP_ROWS = {"queue": 200, "job": 6_000, "attempt": 8_000, "result": 3_000, "note": 4_000, "coded": 1_000}

SHOP_QUERIES = """
-- attempts
SELECT number, error FROM attempt WHERE queue_id = ?1 AND job_id = ?2 ORDER BY number DESC;
-- result
SELECT j.state, r.ms FROM job j JOIN result r ON r.queue_id = j.queue_id AND r.job_id = j.id WHERE j.id = ?;
-- claim
UPDATE job SET state = 'running' WHERE state = 'ready' AND queue_id = ? AND run_at <= ?;
-- finish
UPDATE job SET state = 'done' WHERE queue_id = ? AND id = ? AND locale = 'en';
-- notes
SELECT id FROM notes_of WHERE name = ? ORDER BY title LIMIT 5;
-- last
SELECT max(title), queue_id FROM note GROUP BY queue_id;
-- remove queue
DELETE FROM queue WHERE id = ?;
-- idle
SELECT id FROM queue EXCEPT SELECT queue_id FROM job;
-- found
SELECT rowid FROM note_search WHERE note_search MATCH 'title';
-- told
INSERT INTO note (title, body) VALUES (?, ?);
-- lower
SELECT id FROM queue WHERE lower(name) = ?;
-- coded
SELECT id FROM coded WHERE code = ?;
"""
