CREATE TABLE posts (
  id TEXT PRIMARY KEY,
  author TEXT NOT NULL,
  body TEXT NOT NULL,
  image TEXT,
  created_at INTEGER NOT NULL
);
CREATE INDEX posts_by_author ON posts (author, created_at);
CREATE TABLE follows (
  follower TEXT NOT NULL,
  followed TEXT NOT NULL,
  PRIMARY KEY (follower, followed)
) WITHOUT ROWID;
