"""Validation of client input.

The error of a check names the field, shows the value (truncated to 80 characters) and states the rule. Code
behind this module never sees a wrong type, a NaN, a negative count or a name with special characters.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from reference_impl.errors import RequestError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""Names of events, users, organisations and adapters; safe in keys, paths, labels and SQL."""
SHOWN_CHARACTERS = 80


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        # Parsers differ in which of the two they take, so a charge would be ambiguous.
        raise ValueError("an object has the same name twice")
    return fields


DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_each_name_once)


def json_object(body: bytes) -> dict[str, Any]:
    """Parse *body* as a JSON object; NaN, infinities and duplicate names are refused."""
    try:
        content = DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "bad_json", f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise RequestError(400, "bad_json", "the body must be a JSON object")
    return content


def known_fields(fields: Mapping[str, Any], known: Sequence[str]) -> None:
    """Check that *fields* has no field besides *known*."""
    for unknown in sorted(set(fields) - set(known)):
        refuse(unknown, fields[unknown], rule=f"is not known; known are {', '.join(known)}")


def text(field: str, value: object, *, characters_max: int) -> str:
    """Check a text that is not blank and not too long."""
    if not isinstance(value, str) or not value.strip() or len(value) > characters_max:
        refuse(field, value, rule=f"must be a text of 1 to {characters_max} characters, not only blanks")
    # Half of a surrogate pair is valid JSON, but cannot be encoded as UTF-8.
    if any("\ud800" <= character <= "\udfff" for character in value):
        refuse(field, value, rule="must be Unicode without lone surrogates")
    return value


def name(field: str, value: object) -> str:
    """Check a name."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        refuse(field, value, rule="must be 1 to 128 letters, digits or ._:- and begin with a letter or digit")
    return value


def whole_number(field: str, value: object, *, at_most: int, at_least: int = 0) -> int:
    """Check a whole number in *at_least* to *at_most*; 5.0 is accepted as 5."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    is_whole = isinstance(whole, int) and not isinstance(whole, bool)
    if not is_whole or not at_least <= whole <= at_most:  # type: ignore[operator]  # a whole number by then
        refuse(field, value, rule=f"must be a whole number in {at_least}..{at_most}")
    return whole  # type: ignore[return-value]  # _refuse raises


def whole_number_text(field: str, text: str, *, at_most: int, at_least: int = 0) -> int:
    """Check a whole number written in decimal digits, as in a query."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        refuse(field, text, rule=f"must be a whole number in {at_least}..{at_most}")
    return whole_number(field, int(text), at_most=at_most, at_least=at_least)


def refuse(field: str, value: object, *, rule: str) -> NoReturn:
    """Raise the error for an invalid field, with its value, truncated to 80 characters, and the rule."""
    shown = "absent" if value is None else ascii(value)[:SHOWN_CHARACTERS]
    raise RequestError(400, "bad_field", f"{field[:SHOWN_CHARACTERS]}={shown} {rule}")
