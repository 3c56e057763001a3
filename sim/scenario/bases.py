"""Scenario files over one another: where they are, what ``base`` takes over, and what a change puts in place of it."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import ScenarioError
from sim.scenario.platform import read_toml
from sim.scenario.volume import outdated
from sim.schema import PAGE, Place, dotted, nearest, shown

WHOLE = ("arrivals", "parameters")
"""Tables that a scenario replaces as a whole, where other tables are taken over key by key; distributions too."""


BASES_MAX = 8


def scenarios_folder() -> Path:
    """Folder of the scenarios that come with the project: the repository's, or the installed package's."""
    here = Path(__file__).resolve().parent.parent
    repository = here.parent / "scenarios"
    return repository if (repository / "launch.toml").is_file() else here / "_scenarios"


def file_of(scenario: str | Path) -> Path:
    """Return the file of a scenario: a path, or the name of one that comes with the project.

    Raises
    ------
    ScenarioError
        There is none; the message names the nearest.
    """
    path = Path(scenario)
    if path.is_file():
        return path
    folder = scenarios_folder()
    if path.suffix == ".toml":
        raise ScenarioError(f"{path} does not exist ({PAGE})")
    shipped = {file.relative_to(folder).with_suffix("").as_posix(): file for file in _shipped(folder)}
    if path.as_posix() not in shipped:
        raise ScenarioError(f'scenario="{path}" does not exist; {nearest(path.as_posix(), shipped)} ({PAGE})')
    return shipped[path.as_posix()]


def _shipped(folder: Path) -> Iterator[Path]:
    # A file that asks no question is a base for scenarios, or a table that they name.
    return (file for file in sorted(folder.rglob("*.toml")) if "question" in read_toml(file))


def beside(file: str, folder: Path) -> Path:
    """Return the place of a file that a scenario names: in its folder, else among those of the project."""
    near = folder / file
    return near if near.is_file() else scenarios_folder() / file


def named(raw: dict[str, Any], key: str, *, folder: Path) -> Path:
    """Return the file that a scenario must name under *key*.

    Raises
    ------
    ScenarioError
        It names none, or one that does not exist.
    """
    file = raw.get(key)
    if not isinstance(file, str) or not file:
        raise ScenarioError(f"{key} must be the name of a file ({PAGE})")
    if not (path := beside(file, folder)).is_file():
        raise ScenarioError(f'{key}="{file}" does not exist ({PAGE})')
    return path


def tables_of(path: Path, depth: int = 0) -> dict[str, Any]:
    """Return the tables of a scenario file, over those of its ``base``.

    Raises
    ------
    ScenarioError
        A file cannot be read, or bases do not end.
    """
    own = read_toml(path)
    if "base" not in own:
        return own
    named = own.pop("base")
    if not isinstance(named, str) or depth >= BASES_MAX:
        rule = "must end within 8 files" if isinstance(named, str) else "must be the name of a scenario file"
        raise ScenarioError(f"base{shown(named)} {rule} ({PAGE})")
    return changed(tables_of(beside(named, path.parent), depth + 1), dict(_changes(own)))


def _changes(own: dict[str, Any], place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """What a scenario puts in place of its base: values, and the tables that only make sense as a whole."""
    for key, value in own.items():
        if isinstance(value, dict) and key not in WHOLE and "distribution" not in value:
            yield from _changes(value, (*place, key))
        else:
            yield (*place, key), value


def changed(raw: dict[str, Any], changes: dict[Place, Any]) -> dict[str, Any]:
    """Return *raw* with other values at some places; None takes a key away.

    What a change makes untrue goes too: the rival of a new ``duration_s`` or ``requests``, the length and warm-up of
    arrivals that a trace replaces, the volume of arrivals of another kind, and what was assumed about the old value.
    """
    raw = deepcopy(raw)
    workload, assumptions = raw.get("workload", {}), raw.get("assumptions", {})
    for place, value in changes.items():
        new_end = place in (("workload", "duration_s"), ("workload", "requests")) and value is not None
        new_trace = place == ("workload", "arrivals") and isinstance(value, dict) and value.get("kind") == "trace"
        gone = {"duration_s", "requests"} if new_end else {"duration_s", "requests", "warm_up_s"} if new_trace else ()
        for key in gone:
            workload.pop(key, None)
        path = dotted(place)
        for old in [old for old in assumptions if f"{old}.".startswith(f"{path}.") or path.startswith(f"{old}.")]:
            del assumptions[old]
    for key in outdated(raw.get("demand"), changes):
        raw["demand"].pop(key)
        assumptions.pop(f"demand.{key}", None)
    if not raw.get("demand", True):
        del raw["demand"]
        assumptions.pop("demand", None)
    for place, value in changes.items():
        _put(raw, place, value)
    return raw


def _put(raw: dict[str, Any], place: Place, value: Any) -> None:
    table = raw
    for part in place[:-1]:
        table = table.setdefault(str(part), {})
        if not isinstance(table, dict):
            raise ScenarioError(f"{dotted(place)} is not a key; {part}{shown(table)} is no table ({PAGE})")
    if value is None:
        table.pop(str(place[-1]), None)
    else:
        table[str(place[-1])] = value.item() if isinstance(value, np.generic) else value
