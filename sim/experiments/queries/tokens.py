"""SQL as tokens: statements of a script, and their parameters as numbers.

The grammar is SQLite's business. Here it is only known what is a text, a name, a comment or a parameter, so that a
semicolon inside a text ends nothing and a question mark inside a comment asks for nothing.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sim.foundation.errors import UsageError

TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<text>[xX]?'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])
      | (?P<param>\?\d*|[:@$][A-Za-z_]\w*)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
      | (?P<word>[A-Za-z_\u0080-\uffff][\w$]*)
      | (?P<sign><>|!=|<=|>=|==|\|\||->>|->|<<|>>|\S)""",
    re.VERBOSE | re.DOTALL,
)
NAME = re.compile(r"^(?:name\s*:\s*)?(\S.*)$", re.IGNORECASE)
NAME_CHARACTERS_MAX = 60
PARAMS_MAX = 100
"""Bound parameters of a statement, as on D1."""


class Token(NamedTuple):
    """One token: its kind, what it says (a name without quotes, a keyword in capitals), and where it begins."""

    kind: str
    text: str
    start_index: int

    def says(self, *words: str) -> bool:
        """Whether it is one of these keywords or signs."""
        return self.kind in ("word", "sign") and self.text.upper() in words


@dataclass(frozen=True)
class Statement:
    """A statement with a name.

    Attributes
    ----------
    name : str
        From the comment above it, or its number.
    sql : str
        As it is written, with its parameters numbered (``?1``).
    params : tuple of str
        Name of each parameter, in order of their numbers: ``1``, ``2``, or ``email`` of ``:email``.
    """

    name: str
    sql: str
    params: tuple[str, ...]


def tokens(sql: str) -> list[Token]:
    """Return the tokens of *sql* without its comments."""
    return [_token(found) for found in TOKEN.finditer(sql) if found.lastgroup != "comment"]


def _token(found: "re.Match[str]") -> Token:
    kind, text = found.lastgroup or "", found.group()
    if kind == "quoted":
        return Token("name", text[1:-1].replace(text[-1] * 2, text[-1]), found.start())
    return Token(kind, text, found.start())


def split(script: str) -> list[str]:
    """Return the statements of *script*, without those that are only comments; SQLite says where one ends."""
    return [part.strip() for part in _cut(script) if any(not token.says(";") for token in tokens(part))]


def _cut(script: str) -> Iterator[str]:
    start = 0
    for found in TOKEN.finditer(script):
        if found.group() != ";":
            continue
        part = script[start : found.end()]
        if sqlite3.complete_statement(part):
            yield part
            start = found.end()
    yield script[start:]


def statements(script: str) -> list[Statement]:
    """Return the statements of *script*, each with the name that the comment above it gives."""
    found: list[Statement] = []
    for place, text in enumerate(split(script), 1):
        name = _name(text) or f"query {place}"
        taken = {one.name for one in found}
        sql, params = _numbered(text)
        found.append(Statement(f"{name} ({place})" if name in taken else name, sql, params))
    return found


def _name(text: str) -> str:
    """Return the last line of the comment that *text* begins with; ``name:`` before it is left out."""
    name = ""
    for found in TOKEN.finditer(text):
        if found.lastgroup != "comment":
            break
        lines = [line.strip("-/* \t") for line in found.group().splitlines()]
        said = [line for line in lines if line]
        name = said[-1] if said else name
    found_name = NAME.match(name)
    return found_name.group(1)[:NAME_CHARACTERS_MAX].rstrip(" .:") if found_name else ""


def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement without the comments around it, with numbered parameters, and their names.

    SQLite's rule: ``?`` takes the number after the greatest so far, ``:name`` too unless it was met before.

    Raises
    ------
    UsageError
        A number is greater than D1 takes.
    """
    begin = next(found.start() for found in TOKEN.finditer(text) if found.lastgroup != "comment")
    names: dict[str, int] = {}
    parts, at, most = [], begin, 0
    for found in TOKEN.finditer(text, begin):
        if found.lastgroup != "param":
            continue
        word = found.group()
        if word == "?":
            number = most + 1
            names[str(number)] = number
        elif word[0] == "?":
            number = int(word[1:])
            names.setdefault(word[1:], number)
        else:
            number = names.setdefault(word[1:], most + 1)
        most = max(most, number)
        if most > PARAMS_MAX:
            raise UsageError(f"parameter {word} must have a number from 1 to {PARAMS_MAX}, as on D1 (docs/D1.md)")
        parts += [text[at : found.start()], f"?{number}"]
        at = found.end()
    parts.append(text[at:])
    by_number = {number: name for name, number in names.items()}
    sql = "".join(parts).strip().rstrip("; \n\t")
    return sql, tuple(by_number.get(number, str(number)) for number in range(1, most + 1))
