"""Arguments of the public functions: a value of a wrong type is refused in one line, where it was passed.

Functions of the package call each other without the check; :mod:`sim` puts it around what it hands to users.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from importlib import import_module
from inspect import Parameter, signature
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sim.foundation.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

SHOWN_CHARACTERS = 60

WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
NUMBERS: dict[Any, type] = {int: Integral, float: Real}
"""NumPy's numbers are numbers too."""

HINTS = {"Scenario": "load_scenario(...)", "Result": "run(...)", "Schedule": "schedule(...)"}
"""The call that returns an object of each type, for messages."""


class _Names(dict[str, Any]):
    """Names for annotations: a module's own, else what a function finds for them."""

    def __init__(self, own: Mapping[str, Any], other: Callable[[str], Any]) -> None:
        super().__init__(own)
        self.other = other

    def __missing__(self, name: str) -> Any:
        return self.other(name)


def checked(function: F, *, names: Callable[[str], Any] = lambda _: Any) -> F:
    """Return *function* with a check of its arguments' types against its annotations.

    *names* finds what the function's module imports for type checkers only; Any means not to check.

    Raises
    ------
    UsageError
        When it is called with a value of another type.
    """
    parameters = signature(function)

    @cache
    def expected() -> dict[str, Any]:
        module = import_module(function.__module__)
        return get_type_hints(function, localns=_Names({**vars(builtins), **vars(module)}, names))

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            bound = parameters.bind(*arguments, **named)
        except TypeError as error:
            raise UsageError(f"{function.__name__}: {error} (help({function.__name__}) lists its arguments)") from None
        for name, value in bound.arguments.items():
            variadic = parameters.parameters[name].kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
            wanted = expected().get(name, Any)
            if not variadic and not fits(value, wanted):
                shown = f"{value!r:.{SHOWN_CHARACTERS}}"
                raise UsageError(f"{function.__name__}: {name}={shown} must be {words(wanted)}")
        return function(*arguments, **named)

    return call  # type: ignore[return-value]  # the same signature, by wraps


def fits(value: Any, wanted: Any) -> bool:
    """Return whether *value* is of the annotated type; entries of lists and mappings are checked too."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if wanted is Any or isinstance(wanted, TypeVar | str):
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is None:
        return _is(value, wanted)
    if not isinstance(value, origin) or isinstance(value, str | bytes):
        return False
    if inner and issubclass(origin, Mapping):
        return all(fits(key, inner[0]) and fits(entry, inner[1]) for key, entry in value.items())
    if inner and issubclass(origin, Sequence) and isinstance(value, list | tuple):
        return all(fits(entry, inner[0]) for entry in value)
    return True


def _is(value: Any, wanted: Any) -> bool:
    if wanted in NUMBERS:
        return isinstance(value, NUMBERS[wanted]) and not isinstance(value, bool)
    return not isinstance(wanted, type) or isinstance(value, wanted)


def words(wanted: Any) -> str:
    """Return an annotation in words, for messages: ``a list of a number``."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words(one) for one in inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping of {' to '.join(words(one) for one in inner)}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list of {words(inner[0])}"
    if wanted in WORDS:
        return WORDS[wanted]
    name = getattr(wanted, "__name__", str(wanted))
    return f"a {name} ({HINTS[name]} makes one)" if name in HINTS else f"a {name}"
