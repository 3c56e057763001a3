"""What a statement's text says of columns.

Goal: each parameter finds the column that it stands for, and each comparison, order and group is read.
Method: statements with what a reader finds in them.
"""

import pytest

from sim.experiments.queries.clauses import read_clauses
from sim.experiments.queries.tokens import statements

COLUMNS = {
    "posts": ["id", "author_id", "title", "score", "created_at"],
    "users": ["id", "email", "name"],
    "post_search": ["body"],
}
PARAMETERS = {
    "SELECT * FROM posts WHERE author_id = ? AND score > ?": ["posts.author_id =", "posts.score >"],
    "SELECT * FROM posts WHERE ? = author_id AND ? < score": ["posts.author_id =", "posts.score >"],
    "SELECT * FROM posts p JOIN users AS u ON u.id = p.author_id WHERE u.email = ? AND p.id = ?": [
        "users.email =", "posts.id =",
    ],
    "SELECT * FROM posts WHERE id IN (?, ?) AND title LIKE ?": ["posts.id =", "posts.id =", "posts.title like"],
    "SELECT * FROM posts WHERE created_at BETWEEN ? AND ? AND score >= ?": [
        "posts.created_at between", "posts.created_at between", "posts.score >",
    ],
    "SELECT * FROM users WHERE lower(email) = lower(?)": ["users.email ="],
    "INSERT INTO users (email, name) VALUES (?, trim(?)), (?, ?)": [
        "users.email set", "users.name set", "users.email set", "users.name set",
    ],
    "INSERT INTO users VALUES (?, ?, ?)": ["users.id set", "users.email set", "users.name set"],
    "INSERT INTO users (id, email) SELECT ?, email FROM users WHERE name = ?": ["users.id set", "users.name ="],
    "INSERT INTO users (id, email) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET email = ?": [
        "users.id set", "users.email set", "users.email set",
    ],
    "UPDATE posts SET score = score + ?, title = ? WHERE id = ?": ["posts.score set", "posts.title set", "posts.id ="],
    "DELETE FROM posts WHERE created_at < :before": ["posts.created_at <"],
    "SELECT * FROM post_search WHERE post_search MATCH ?": ["post_search.body match"],
    'SELECT * FROM "posts" WHERE [author_id] = ? AND `title` = ?': ["posts.author_id =", "posts.title ="],
}  # fmt: skip


@pytest.mark.parametrize("sql", PARAMETERS)
def test_each_parameter_finds_its_column(sql: str) -> None:
    (statement,) = statements(sql)
    clauses = read_clauses(statement.sql, COLUMNS)
    found = []
    for number in range(1, len(statement.params) + 1):
        term = next(term for term in clauses.terms if number in term.params)
        found.append(f"{term.table}.{term.column} {term.operator}")
    assert found == PARAMETERS[sql]


def test_order_groups_and_limits_are_read() -> None:
    sql = (
        "SELECT author_id, max(score) FROM posts WHERE title IS NULL GROUP BY author_id "
        "ORDER BY created_at DESC, id LIMIT ?1 OFFSET ?2"
    )
    clauses = read_clauses(sql, COLUMNS)
    assert clauses.order == [("posts", "created_at", "DESC"), ("posts", "id", "ASC")]
    assert ("posts", "author_id") in clauses.groups
    assert (clauses.limits, clauses.offsets) == ({1}, {2})
    assert [(term.column, term.operator, term.literals) for term in clauses.terms] == [("title", "=", ("NULL",))]


@pytest.mark.parametrize("sql", ["SELECT 1 FROM posts ORDER BY score + 1", "SELECT 1 FROM posts ORDER BY 2"])
def test_an_order_by_an_expression_is_none_of_columns(sql: str) -> None:
    assert read_clauses(sql, COLUMNS).order == []


def test_a_not_is_no_equality() -> None:
    clauses = read_clauses("SELECT 1 FROM posts WHERE title IS NOT NULL AND id NOT IN (1) AND score <> 3", COLUMNS)
    assert {term.operator for term in clauses.terms} == {"other"}


@pytest.mark.parametrize(
    "sql", ["", "(((", "SELECT ,", "WHERE = =", "INSERT INTO users (", "LIMIT", "ORDER BY", "a IN ("]
)
def test_what_is_no_sql_is_read_without_an_error(sql: str) -> None:
    read_clauses(sql, COLUMNS)
