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
