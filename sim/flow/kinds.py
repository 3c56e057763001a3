"""Whether a part of a Flow is made of what it says: a number where a number belongs, a law where a time does.

Python lets anybody write ``Serve(station, 5.0, "desk.work")``. An engine would find out in the middle of its work, in
words that help nobody, or not at all; so every field of every part is held against its annotation before the run.
"""

from functools import cache
from numbers import Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sim.errors import ModelError
from sim.flow import Flow
from sim.randomness.distributions import AnyLaw

LAWS = get_args(AnyLaw)

WORDS = {float: "a number", int: "a whole number", str: "a text", Flow: "a tuple of steps", type(None): "None"}
"""How kinds are spoken of that have no name of ours."""


def check_kinds(part: Any) -> None:
    """Refuse a dataclass that holds, in some field, what its annotation does not allow.

    Raises
    ------
    ModelError
        The field, the value, and what it must be.
    """
    for name, kind in _fields(part.__class__).items():
        value = getattr(part, name)
        if not fits(value, kind):
            label = getattr(part, "site", None) or getattr(part, "name", None)
            where = f" ({label})" if isinstance(label, str) and name not in ("site", "name") else ""
            raise ModelError(f"{type(part).__name__}.{name}={value!r} must be {spoken(kind)}{where}")


def fits(value: Any, kind: Any) -> bool:
    """Whether *value* is what the annotation *kind* allows; NaN is no number."""
    inside = get_args(kind)
    if kind in (int, float):
        number = isinstance(value, Real) and bool(value == value)
        return number and (kind is float or bool(value % 1 == 0))
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, one) for one in inside)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in inside
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = inside[:1] * len(value) if inside[-1] is Ellipsis else inside
        return len(value) == len(wanted) and all(map(fits, value, wanted))
    return kind is Any or isinstance(value, kind)


def spoken(kind: Any) -> str:
    """An annotation in words: ``a law or Time``."""
    inside = get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(spoken, inside)))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(inside)
    if get_origin(kind) is tuple:
        several = inside[-1] is Ellipsis
        return f"a tuple, each entry {spoken(inside[0])}" if several else f"({', '.join(map(spoken, inside))})"
    return "a law" if kind in LAWS else str(kind.__name__)


@cache
def _fields(kind: type) -> dict[str, Any]:
    """A dataclass's fields and their annotations, as objects."""
    return get_type_hints(kind)
