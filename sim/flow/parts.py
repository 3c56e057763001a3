"""Parts of a flow: frozen records whose values are checked when they are built.

A part is a pydantic dataclass. Pydantic's findings are raised as every error of this package: in one line, with the
value, the rule, and the stream or name of the part.
"""

from collections.abc import Callable, Iterable
from dataclasses import field
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass, rebuild_dataclass

from sim.foundation.errors import ModelError, rule

Class = TypeVar("Class", bound=type)

WHOLE_MAX = 2**53
"""Above it not every integer is a float, and 2**63 does not fit the compiled engine's integers."""

SHOWN_MAX = 80
"""Most characters of an invalid value that an error shows."""


def _plain(value: Any) -> Any:
    """Return a NumPy number as a Python number."""
    return value.item() if isinstance(value, np.generic) else value


def _whole(value: Any) -> Any:
    """Return a float with an integral value as an int."""
    plain = _plain(value)
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


Name = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Field(le=WHOLE_MAX, ge=-WHOLE_MAX), BeforeValidator(_whole)]
NaturalNumber = Annotated[int, Field(ge=0, le=WHOLE_MAX), BeforeValidator(_whole)]
PositiveNumber = Annotated[int, Field(ge=1, le=WHOLE_MAX), BeforeValidator(_whole)]
Real = Annotated[float, BeforeValidator(_plain)]
Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_plain)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_plain)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_plain)]
AtLeastOne = Annotated[float, Field(ge=1, allow_inf_nan=False), BeforeValidator(_plain)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_plain)]


def kind(description: str) -> Any:
    """Return the metadata of a field type, for ``Annotated``: any other value "must be *description*"."""
    return Field(description=description)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def part(cls: Class) -> Class:
    """Make a class a part of a flow: a frozen dataclass that raises :class:`ModelError` for an invalid value."""
    made: Class = _refusing(dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))(cls))
    return made


def complete(parts: Iterable[Any]) -> None:
    """Complete parts whose fields referred to types that were not defined yet; pydantic rebuilds their constructors."""
    for one in parts:
        rebuild_dataclass(one, force=True)
        _refusing(one)


def _refusing(built: Any) -> Any:
    """Make the constructor of a dataclass raise pydantic's validation errors in one line."""
    build: Callable[..., None] = built.__init__

    @wraps(build)
    def checked(self: Any, *values: Any, **named: Any) -> None:
        try:
            build(self, *values, **named)
        except ValidationError as error:
            given = dict(zip(built.__match_args__, values, strict=False)) | named
            raise ModelError(_refusal(built, error, given=given)) from None

    built.__init__ = checked
    return built


def _refusal(cls: Any, error: ValidationError, *, given: dict[str, Any]) -> str:
    """Return the first validation error in one line: ``Serve.time=5.0 must be a distribution or Time (desk.work)``."""
    found = error.errors(include_url=False)[0]
    place = found["loc"][0]
    names = cls.__match_args__
    name = str(place) if isinstance(place, str) else names[place] if place < len(names) else f"argument {place + 1}"
    shown, broken = "", rule(found)
    if name in given:
        value = repr(given[name])
        shown = f"={value if len(value) <= SHOWN_MAX else value[: SHOWN_MAX - 3] + '...'}"
        known = cls.__pydantic_fields__.get(name)
        broken = f"must be {known.description}" if known and known.description else broken
    labels = (given.get(key) for key in ("stream", "name") if key != name)
    where = next((f" ({label})" for label in labels if isinstance(label, str) and label), "")
    return f"{cls.__name__}.{name}{shown} {broken}{where}"
