"""What the platform refuses of a statement before it runs any of it; the same for objects and for D1.

Sources
-------
Limits of D1 and of the SQLite back end of Durable Objects: 100 bound parameters, 100,000 bytes a
statement, 100 columns, 2,000,000 bytes a value or row, 32 arguments of a function, LIKE patterns of 50 bytes.
Transactions are the platform's business (``BEGIN`` and its like are refused), other
databases cannot be attached, nothing is temporary, names that begin with ``_cf_`` are its own, of the pragmas only
those that look are let through, and of SQLite's functions not all: the open-source runtime was asked for each.
"""

import re
import sqlite3
from collections.abc import Mapping
from functools import lru_cache

from reference_impl.errors import LimitError, PlatformError

BOUND_PARAMS_MAX = 100
STATEMENT_BYTES_MAX = 100_000
SQL_LIMITS: Mapping[str, int] = {
    "LENGTH": 2_000_000,
    "SQL_LENGTH": STATEMENT_BYTES_MAX,
    "COLUMN": 100,
    "VARIABLE_NUMBER": BOUND_PARAMS_MAX,
    "FUNCTION_ARG": 32,
    "LIKE_PATTERN_LENGTH": 50,
    "ATTACHED": 0,
}
"""SQLite's own limits by the end of their names, set to the platform's."""
READS = ("SELECT", "EXPLAIN", "PRAGMA", "VALUES")
"""How statements begin that only look; WITH may begin either kind."""
REFUSED = ("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ATTACH", "DETACH", "VACUUM")

BATCH = "batch() and transaction() run several as one"
"""The way out for who wants a transaction."""

QUOTED_OR_COMMENT = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL
)
PRAGMAS_ALLOWED = re.compile(
    r"(table_list|table_info|table_xinfo|index_list|index_info|index_xinfo|foreign_key_list|"
    r"foreign_key_check|quick_check|optimize|foreign_keys(?!\s*\())\b(?!\s*=)",
    re.IGNORECASE,
)
"""The pragmas that only look; nearly all others would change what the platform relies on."""
PRAGMA_OF_TRANSACTION = re.compile(r"defer_foreign_keys\b", re.IGNORECASE)
"""The one that may be set: it holds until the transaction ends, in which every statement is."""
TRIGGER = re.compile(r"CREATE (TEMP(ORARY)? )?TRIGGER\b", re.IGNORECASE)
TEMPORARY = re.compile(r"CREATE TEMP(ORARY)?\b", re.IGNORECASE)
FUNCTION_REFUSED = re.compile(
    r"(?<![\w.])(ceiling|fts5_source_id|json_error_position|json_pretty|load_extension|log10|power|rtreedepth|rtreenode|"
    r"sqlite_compileoption_get|sqlite_compileoption_used|sqlite_log|sqlite_source_id|sqlite_version|subtype|unistr|"
    r"unistr_quote) ?\(",
    re.IGNORECASE,
)
"""Functions that the runtime does not let through; ``ceil`` and ``pow`` it does."""
TEXT_OR_COMMENT = re.compile(r"""'(?:[^']|'')*'|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL)
RESERVED_NAME = re.compile(r"(?<!\w)_cf_", re.IGNORECASE)


class SqlRefusedError(PlatformError):
    """A statement about transactions, other databases or the platform's own tables."""

    status = 500
    code = "sql_refused"


def bare_sql(sql: str) -> str:
    """Return *sql* without comments and quoted text, words apart by one space."""
    return " ".join(QUOTED_OR_COMMENT.sub(" ", sql).split())


def check_params(count: int) -> None:
    """Refuse more bound parameters than the platform takes.

    Raises
    ------
    LimitError
        If there are more than 100.
    """
    if count > BOUND_PARAMS_MAX:
        raise LimitError(f"too many SQL variables (bound parameters): {count}, at most {BOUND_PARAMS_MAX}")


@lru_cache(maxsize=1_024)
def check_statement(sql: str) -> bool:
    """Refuse what the platform refuses, and return whether *sql* only reads; both are cached.

    Raises
    ------
    LimitError
        If the text is too long.
    SqlRefusedError
        If it is about transactions, other databases, settings, or the platform's own tables.
    """
    text_bytes = len(sql.encode())
    if text_bytes > STATEMENT_BYTES_MAX:
        raise LimitError(f"statement too long: {text_bytes} bytes, at most {STATEMENT_BYTES_MAX}")
    bare = bare_sql(sql)
    if not bare.strip("; "):
        raise SqlRefusedError("SQL code did not contain a statement." if ";" in bare else "No SQL statements detected.")
    if ";" in bare.rstrip("; ") and not is_one_trigger(bare):
        raise SqlRefusedError(f"one statement at a time; {BATCH}")
    word, _, rest = bare.partition(" ")
    if word.upper() in REFUSED:
        raise SqlRefusedError(f"{word} is not allowed: transactions are the platform's business; {BATCH}")
    is_deferring = word.upper() == "PRAGMA" and PRAGMA_OF_TRANSACTION.match(rest) is not None
    if word.upper() == "PRAGMA" and not (is_deferring or PRAGMAS_ALLOWED.match(rest)):
        raise SqlRefusedError("not authorized: this PRAGMA")
    if TEMPORARY.match(bare):
        raise SqlRefusedError("not authorized: nothing is temporary")
    function = FUNCTION_REFUSED.search(bare)
    if function:
        raise SqlRefusedError(f"not authorized to use function: {function[1].lower()}")
    if RESERVED_NAME.search(TEXT_OR_COMMENT.sub(" ", sql)):
        raise SqlRefusedError("names that begin with _cf_ are the platform's own")
    return word.upper() in READS and not is_deferring


def is_one_trigger(bare: str) -> bool:
    """Whether *bare* is one statement, which creates a trigger: the semicolons inside of it end nothing."""
    if not TRIGGER.match(bare):
        return False
    ends = (place + 1 for place, character in enumerate(bare) if character == ";")
    # A trigger is complete at the semicolon after END only.
    end = next((end for end in ends if sqlite3.complete_statement(bare[:end])), len(bare))
    return not bare[end:].strip("; ")
