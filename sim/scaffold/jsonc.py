"""JSON with comments, as Wrangler reads it: ``//`` and ``/* */`` comments, and commas behind the last entry."""

import json
import re
from typing import Any

COMMENT = r"//[^\n]*(?![^\n])|/\*(?:[^*]|\*(?!/))*\*/"

TOKEN = re.compile(rf'"(?:[^"\\\n]|\\.)*"|{COMMENT}|,(?=(?:\s|{COMMENT})*[}}\]])')
"""A text, a comment, or a comma with nothing but blanks and comments before the bracket."""


def loads(text: str) -> Any:
    """Return the value that *text* writes down.

    >>> loads('{"a": "//", /* one */ "b": [1, 2,], } // end')
    {'a': '//', 'b': [1, 2]}

    Raises
    ------
    json.JSONDecodeError
        It is no JSON; line and column are those of *text*.
    """
    return json.loads(TOKEN.sub(_kept, text.removeprefix("\ufeff")))


def _kept(found: re.Match[str]) -> str:
    """A text as it is; anything else as blanks, so that lines and columns stay."""
    token = found[0]
    return token if token.startswith('"') else re.sub(r"[^\n]", " ", token)
