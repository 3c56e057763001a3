"""Numbers given on a command line: ``PATH=VALUE`` and ``PATH=VALUE,VALUE``."""

import tomllib
from typing import Any

from sim.foundation.errors import UsageError


def change(text: str) -> tuple[str, Any]:
    """Read one value of a path, as TOML would.

    >>> change("workload.keys.count=10")
    ('workload.keys.count', 10)

    Raises
    ------
    UsageError
        There is no path, or no value.
    """
    path, value = _parts(text, option="--set", example="workload.keys.count=10")
    return path, _toml(value)


def values(text: str) -> tuple[str, list[Any]]:
    """Read several values of a path; a list in brackets may hold tables and commas.

    >>> values("system.durable_objects.shards=1,4,per_key")
    ('system.durable_objects.shards', [1, 4, 'per_key'])

    Raises
    ------
    UsageError
        There is no path, or no value.
    """
    path, value = _parts(text, option="--vary", example="workload.keys.count=10,20")
    whole = _toml(value)
    return path, whole if isinstance(whole, list) else [_toml(part) for part in value.split(",")]


def _parts(text: str, *, option: str, example: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not (equals and path.strip() and value.strip()):
        raise UsageError(f"{option} {text!r} must read PATH=VALUE ({example})")
    return path.strip(), value.strip()


def _toml(value: str) -> Any:
    """Return a value as TOML reads it; anything else is a string."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value.strip()
