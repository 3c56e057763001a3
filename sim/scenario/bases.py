"""Inheritance of scenario files: finding them, merging a scenario over its ``base``, and applying changes."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE, Place, dotted, nearest, shown
from sim.scenario.platform import read_toml
from sim.scenario.system import LIKE, filled
from sim.scenario.volume import outdated

WHOLE = ("arrivals", "parameters")
"""Tables that a scenario replaces as a whole, as it does distributions; other tables are merged key by key."""


BASES_MAX = 8


def scenarios_folder() -> Path:
    """Return the folder of the scenarios that come with the project: the repository's, or the installed package's."""
    here = Path(__file__).resolve().parent.parent
    repository = here.parent / "scenarios"
    return repository if (repository / "launch.toml").is_file() else here / "_scenarios"


def file_of(scenario: str | Path) -> Path:
    """Return the file of a scenario, given as a path or as the name of one that comes with the project.

    Raises
    ------
    ScenarioError
        There is none; the message names the nearest.
    """
    path = Path(scenario)
    if path.suffix == ".parquet":
        raise ScenarioError(
            f"{path} is a recorded run, must be a scenario (headroom run SCENARIO --on {path} judges it)"
        )
    if path.is_file():
        return path
    folder = scenarios_folder()
    if path.suffix == ".toml":
        here = [found.name for found in sorted(path.absolute().parent.glob("*.toml"))]
        near = f"; {nearest(path.name, here)}" if here else ""
        raise ScenarioError(f"{path} does not exist{near} ({PAGE})")
    file = folder / f"{path.as_posix()}.toml"
    if path.is_absolute() or ".." in path.parts or not (file.is_file() and _asks(file)):
        shipped = [found.relative_to(folder).with_suffix("").as_posix() for found in _shipped(folder)]
        shipped += [found.name for found in sorted(Path().glob("*.toml"))]
        raise ScenarioError(f'scenario="{path}" does not exist; {nearest(path.as_posix(), shipped)} ({PAGE})')
    return file


def _shipped(folder: Path) -> Iterator[Path]:
    # The scenarios that a message has no room for are those in folders.
    return filter(_asks, sorted(folder.rglob("*.toml"), key=lambda path: (len(path.parts), path)))


def _asks(file: Path) -> bool:
    """Whether a file is a scenario: one that asks no question is a base for scenarios, or a table that they name."""
    return "question" in read_toml(file)


def beside(file: str, folder: Path) -> Path:
    """Return the path of a file that a scenario names: in its folder, else among those of the project."""
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
    """Return the tables of a scenario file, merged over those of its ``base``.

    Raises
    ------
    ScenarioError
        A file cannot be read, or the chain of bases is too long.
    """
    own = read_toml(path)
    if "base" not in own:
        return own
    named = own.pop("base")
    if not isinstance(named, str) or depth >= BASES_MAX:
        rule = "must end within 8 files" if isinstance(named, str) else "must be the name of a scenario file"
        raise ScenarioError(f"base{shown(named)} {rule} ({PAGE})")
    return changed(tables_of(beside(named, path.parent), depth + 1), dict(_changes(own)))


def declared_in(path: Path) -> tuple[str, ...]:
    """Return the instances that a scenario file itself names under ``[system]``."""
    system = read_toml(path).get("system")
    return tuple(system) if isinstance(system, dict) else ()


def _changes(own: dict[str, Any], place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield what a scenario replaces in its base: values, and the tables that are replaced as a whole."""
    for key, value in own.items():
        if isinstance(value, dict) and key not in WHOLE and "distribution" not in value:
            yield from _changes(value, (*place, key))
        else:
            yield (*place, key), value


def changed(raw: dict[str, Any], changes: dict[Place, Any]) -> dict[str, Any]:
    """Return *raw* with other values at some places; None removes a key.

    What a change invalidates is removed too: ``requests`` for a new ``duration_s`` and vice versa, the length and
    warm-up of arrivals that a trace replaces, the volume of arrivals of another kind, and assumptions about the old
    value.
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
        _copy_first(raw, place)
        _put(raw, place, value)
    return raw


def _copy_first(raw: dict[str, Any], place: Place) -> None:
    """Give an instance that is ``like`` another a copy of the table that is changed in part: a median, say."""
    if place[0] != "system" or len(place) < len(("system", "instance", "key", "part")):
        return
    name, key = str(place[1]), str(place[2])
    table = raw.get("system", {}).get(name)
    if isinstance(table, dict) and LIKE in table and key not in table:
        copied = filled(raw["system"])[name]
        if key in copied:
            table[key] = deepcopy(copied[key])


def _put(raw: dict[str, Any], place: Place, value: Any) -> None:
    table: Any = raw
    for number, part in enumerate(place[:-1]):
        table = _item(table, place[: number + 1]) if isinstance(part, int) else table.setdefault(part, {})
        in_list = isinstance(place[number + 1], int)
        if not isinstance(table, list if in_list else dict):
            kind = "list" if in_list else "table"
            raise ScenarioError(f"{dotted(place)} is not a key; {part}{shown(table)} is no {kind} ({PAGE})")
    last, plain = place[-1], value.item() if isinstance(value, np.generic) else value
    if isinstance(last, int):
        _item(table, place)
        table[last] = plain
    elif value is None:
        table.pop(last, None)
    else:
        table[last] = plain


def _item(items: list[Any], place: Place) -> Any:
    """Return the entry of a list at the end of *place*; a step that is written as a text becomes a table first."""
    number = place[-1]
    assert isinstance(number, int)
    if number >= len(items):
        raise ScenarioError(f"{dotted(place)} is not there; the list has {len(items)} entries, from [0] ({PAGE})")
    if isinstance(items[number], str) and place[-2] == "steps":
        items[number] = {"use": items[number]}
    return items[number]
