"""A calibrated scenario as TOML."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sim.experiments.calibration.components import Found
from sim.scenario.bases import file_of, scenarios_folder

DIGITS = 6
WIDTH = 120


def written(scenario: str | Path, found: Sequence[tuple[Found, str]], *, name: str, out: Path) -> str:
    """Return the text of the calibrated scenario.

    Parameters
    ----------
    scenario : path or name
        Its base.
    found : sequence of (Found, str)
        What was identified, with the reason that stands beside it.
    name : str
    out : Path
        Where it will be, which its base is found from.
    """
    tables: dict[str, list[str]] = {}
    for one, why in found:
        table, _, key = one.path.rpartition(".")
        value = number_text(one.law.distribution.model_dump())
        tables.setdefault(table, []).extend([*_comment(why), f"{key} = {value}"])
    lines = [
        "# Calibrated by `headroom calibrate`. Everything that is not here is the base's.",
        f"base = {json.dumps(_base(file_of(scenario), out))}",
        f"name = {json.dumps(name)}",
    ]
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *entries]
    lines += ["", "[assumptions]"]
    lines += [f"{json.dumps(one.path)} = {json.dumps(why, ensure_ascii=False)}" for one, why in found]
    return "\n".join(lines) + "\n"


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
