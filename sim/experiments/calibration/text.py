"""A calibrated scenario as TOML."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.experiments.calibration.found import Found
from sim.foundation.schema import place_of
from sim.scenario.bases import changed, file_of, scenarios_folder, tables_of

DIGITS = 6
WIDTH = 120


def written(
    scenario: str | Path, found: Sequence[tuple[Found, str]], *, reasons: Mapping[str, str], name: str, out: Path
) -> str:
    """Return the text of the calibrated scenario.

    Parameters
    ----------
    scenario : path or name
        Its base.
    found : sequence of (Found, str)
        What was identified, with the reason that stands beside it.
    reasons : mapping of str to str
        The entries of ``[assumptions]``.
    name : str
    out : Path
        Where it will be, which its base is found from.
    """
    tables: dict[str, list[str]] = {}
    inside: dict[str, list[tuple[Found, str]]] = {}
    for one, why in found:
        if one.reasoned != one.path:
            inside.setdefault(one.reasoned, []).append((one, why))
            continue
        table, _, key = one.path.rpartition(".")
        tables.setdefault(table, []).extend([*_comment(why), f"{key} = {number_text(one.entry)}"])
    for path, entries in inside.items():
        table, _, key = path.rpartition(".")
        comments = [line for one, why in entries for line in _comment(f"{one.path}: {why}")]
        tables.setdefault(table, []).extend([*comments, f"{key} = {number_text(_list(scenario, path, entries))}"])
    lines = [
        "# Calibrated by `headroom calibrate`. Everything that is not here is the base's.",
        f"base = {json.dumps(_base(file_of(scenario), out))}",
        f"name = {json.dumps(name)}",
    ]
    for table, texts in tables.items():
        lines += ["", f"[{table}]", *texts]
    lines += ["", "[assumptions]"]
    lines += [f"{json.dumps(path)} = {json.dumps(why, ensure_ascii=False)}" for path, why in reasons.items()]
    return "\n".join(lines) + "\n"


def _list(scenario: str | Path, path: str, entries: Sequence[tuple[Found, str]]) -> Any:
    """Return a list of the base as a whole, with what was identified inside: TOML changes no single entry."""
    changes = {place_of(one.path): one.entry for one, _ in entries}
    inside: Any = changed(tables_of(file_of(scenario)), changes)
    for part in place_of(path):
        inside = inside[part]
    return inside


def _base(file: Path, out: Path) -> str:
    """Return how the file of the base is named in *out*: by its name if it is one of the project's."""
    shipped = scenarios_folder().resolve()
    file = file.resolve()
    if file.is_relative_to(shipped):
        return file.relative_to(shipped).as_posix()
    return Path(os.path.relpath(file, out.resolve().parent)).as_posix()


def number_text(value: Any) -> str:
    """Return a value as TOML: numbers to six digits, a distribution as an inline table."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {number_text(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(number_text, value)) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(value) if isinstance(value, int) else f"{value:.{DIGITS}g}"


def _comment(text: str) -> Iterable[str]:
    words, line = text.split(), "#"
    for word in words:
        if len(line) + 1 + len(word) > WIDTH:
            yield line
            line = "#"
        line += f" {word}"
    yield line
