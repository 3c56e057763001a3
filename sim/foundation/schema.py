"""The base class of a scenario's tables, and the error messages for invalid ones.

Every table is a frozen pydantic model without unknown keys. Each pydantic error becomes one line: the dotted path with
the value, the rule, and the page that explains the key.
"""

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from sim.foundation.errors import ScenarioError, rule

PAGE = "scenarios/README.md"
"""Where every key is explained."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


def count_or(word: str) -> Any:
    """Return the validator of a key that is a whole number >= 1 or *word*, for ``Annotated``."""

    def read(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            raise ValueError(f'must be a whole number >= 1, or "{word}"') from None

    return WrapValidator(read)


class Table(BaseModel):
    """A TOML table: frozen, without unknown keys; the text under a key is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Place = tuple[str | int, ...]
"""A dotted path, part by part; a number is a position in a list."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names that an author gives: of instances, routes, populations and bodies."""

T = TypeVar("T", bound=BaseModel)


def validated(model: type[T], raw: dict[str, Any], *, context: Any = None) -> T:
    """Return *raw* as a *model*; *context* is handed to its ``model_post_init``.

    Raises
    ------
    ScenarioError
        The message is the first problem; further ones are its notes.
    """
    try:
        return model.model_validate(as_tuples(raw), strict=True, context=context)
    except ValidationError as error:
        refuse(problems(error, model=model, raw=raw))
        raise


def refuse(found: Iterable[str]) -> None:
    """Raise a ScenarioError whose message is the first of the problems and whose notes are the others, if any."""
    lines = list(dict.fromkeys(found))
    if lines:
        wrong = ScenarioError(lines[0])
        for other in lines[1:]:
            wrong.add_note(other)
        raise wrong from None


def problems(error: ValidationError, *, model: type[BaseModel], raw: Any, place: Place = ()) -> list[str]:
    """Return a line for each error that pydantic found in *raw*, the value at *place* of the scenario."""
    found = [one for one in error.errors(include_url=False) if not _echo(one)]
    return list(dict.fromkeys(_problem(one, model=model, raw=raw, above=place) for one in found))


def _problem(found: Any, *, model: type[BaseModel], raw: Any, above: Place) -> str:
    """One line for one pydantic error: path, value, rule, page."""
    kind, context = found["type"], found.get("ctx", {})
    place = _place(found["loc"], raw, missing=kind == "missing")
    path = dotted((*above, *place))
    if kind == "extra_forbidden":
        known = keys(model, raw, place=place[:-1])
        return f"{path} is not a key; {nearest(str(place[-1]), known)} ({PAGE})"
    if kind == "missing":
        return f"{path} is missing ({PAGE})"
    if kind == "union_tag_not_found":
        return f"{path} needs a key {context['discriminator']} ({PAGE})"
    if kind == "union_tag_invalid":
        tag, key = str(context["tag"]), str(context["discriminator"]).strip("'")
        return f'{path}.{key}="{tag}" is unknown; {nearest(tag, _words(context["expected_tags"]))} ({PAGE})'
    return f"{path}{shown(found['input'])} {rule(found)} ({PAGE})"


def _echo(found: Any) -> bool:
    """Whether pydantic calls a list too short only because an entry of it was wrong."""
    return bool(found["type"] == "too_short" and len(found["input"]) >= found["ctx"]["min_length"])


def nearest(word: str, words: Iterable[str]) -> str:
    """Say which of *words* a mistyped *word* most probably meant."""
    choices = list(words)
    close = get_close_matches(word, choices, n=1, cutoff=0.4)
    return f"did you mean {close[0]}?" if close else f"it is one of: {', '.join(choices[:16])}"


def _words(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def shown(value: Any) -> str:
    """Return ``=value`` as its author wrote it, at most 40 characters; empty for a table."""
    if isinstance(value, BaseModel | dict):
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str) else str(value)
    return f"={text if len(text) <= 40 else text[:37] + '...'}"


def place_of(path: str) -> Place:
    """Return the parts of a dotted path; the reverse of :func:`dotted`.

    >>> place_of("routes.feed.steps[2].chance")
    ('routes', 'feed', 'steps', 2, 'chance')
    """
    parts: list[str | int] = []
    for word in path.split("."):
        name, *numbers = re.split(r"\[(\d+)\]", word)
        parts += [name, *(int(number) for number in numbers if number)]
    return tuple(parts)


def dotted(place: Place) -> str:
    """``workload.arrivals.steps[2]`` from its parts."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "scenario"


def keys(model: type[BaseModel], raw: Any, *, place: Place) -> list[str]:
    """Return the keys that are allowed in the table at *place* of *raw*."""
    inside: Any = model
    for part in place:
        raw = raw.get(part) if isinstance(raw, dict) else raw[int(part)] if isinstance(raw, list | tuple) else None
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            field = inside.model_fields.get(str(part))
            inside = field.annotation if field else None
        else:  # A list or a table of tables: what its entries are.
            inside = entries(inside)
        table = choose(tables(inside), raw)
        inside = table or inside
    return list(inside.model_fields) if isinstance(inside, type) and issubclass(inside, BaseModel) else []


def entries(annotation: Any) -> Any:
    """Return the annotation of the entries of a list, or of a table of tables; None for anything else."""
    inside = [part for part in get_args(annotation) if part is not type(None) and part is not Ellipsis]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((found for part in inside if (found := entries(part)) is not None), None)
    return inside[-1] if get_origin(annotation) in (dict, list, tuple) and inside else None


def tables(annotation: Any) -> list[type[BaseModel]]:
    """Return the models of the tables that a key may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [table for part in get_args(annotation) for table in tables(part)]
    return []


def choose(choices: list[type[BaseModel]], raw: Any) -> type[BaseModel] | None:
    """Return the model that *raw* is meant for: the only one, or that of its ``kind`` or ``distribution``, or None."""
    if len(choices) == 1:
        return choices[0]
    said = {raw.get("kind"), raw.get("distribution")} if isinstance(raw, dict) else set()
    return next((choice for choice in choices if tag(choice) in said - {None}), None)


def tag(table: type[BaseModel]) -> str | None:
    """Return the required ``kind`` or ``distribution`` of a table; None for one without either, or with a choice."""
    for key in ("kind", "distribution"):
        words = get_args(table.model_fields[key].annotation) if key in table.model_fields else ()
        if len(words) == 1:
            return str(words[0])
    return None


def literals(annotation: Any) -> Iterator[str]:
    """Yield the words that a key allows."""
    if get_origin(annotation) is Literal:
        yield from (str(word) for word in get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from literals(part)


def _place(loc: Place, raw: Any, *, missing: bool) -> Place:
    """Pydantic's location without the names of union members, which the author never wrote."""
    place: list[str | int] = []
    for number, part in enumerate(loc):
        if isinstance(raw, dict) and (part in raw or (missing and number == len(loc) - 1)):
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None  # A pair with one number lacks the other.
        else:
            continue
        place.append(part)
    return tuple(place)


def as_tuples(value: Any) -> Any:
    """Return lists as tuples, which strict validation asks for and which cannot change."""
    if isinstance(value, dict):
        return {key: as_tuples(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return tuple(as_tuples(entry) for entry in value)
    return value
