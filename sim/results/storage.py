"""Save a run to a file, and load it again.

The file is a Parquet table of the requests; the rest of the result, and the scenario that was played, are JSON in the
table's metadata under the key ``headroom``. So a run is a single file that any Parquet reader opens, and the frame is
restored exactly.
"""

import json
import platform
from collections.abc import Sequence
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sim.flow import OUTCOMES
from sim.foundation.errors import RunnerError, SimError, UsageError
from sim.foundation.files import plain, whole_file
from sim.results.result import STATION_COLUMNS, Result
from sim.scenario.scenario import Scenario, load_scenario

SCHEMA_VERSION = 2
MANIFEST_KEY = b"headroom"
DIGEST_KEY = b"headroom_blake2b"
"""Of the manifest, which no page's checksum covers; files of earlier versions have none."""
LIBRARIES = ("headroom", "numpy", "pandas", "pyarrow")

NUMBERS = {
    "request": "int64",
    "key": "int64",
    "size_bytes": "int64",
    "arrival_ms": "float64",
    "latency_ms": "float64",
    "attempts": "int16",
}
"""Columns that every run has, with their types, besides those of the time breakdown; a live run has more."""

CATEGORIES = ("route", "outcome")

MAY_BE_MISSING = ("latency_ms", "send_lag_ms", "service_latency_ms")
"""Times that a skipped request does not have."""


def play(scenario: Scenario, path: Path | str) -> Result:
    """Load the run in *path*, to be judged by *scenario*.

    Parameters
    ----------
    scenario : Scenario
        Replaces that of the result; a note says how the one that was played differs.
    path : path

    Raises
    ------
    RunnerError
        As for :func:`load_run`.
    """
    return load_run(path, scenario=scenario)


def save_run(result: Result, path: Path | str) -> None:
    """Write a run; an existing file is replaced only when the new one is complete.

    Raises
    ------
    UsageError
        The place cannot be written to.
    """
    target = Path(path)
    table = pa.Table.from_pandas(result.frame, preserve_index=False)
    manifest = json.dumps(_manifest(result), allow_nan=False).encode()
    kept = {MANIFEST_KEY: manifest, DIGEST_KEY: _digest(manifest)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **kept})
    try:
        with whole_file(target) as file:
            pq.write_table(table, file, write_page_checksum=True)
    except OSError as error:
        raise UsageError(f"run {str(target)!r} cannot be written: {error.strerror or error}") from None


def load_run(path: Path | str, *, scenario: Scenario | None = None) -> Result:
    """Read a run.

    Parameters
    ----------
    path : path
    scenario : Scenario, optional
        Scenario to judge the run by; by default the one that was played.

    Raises
    ------
    RunnerError
        The file does not exist, is not a run, has another schema version, or is damaged.
    """
    if not Path(path).is_file():
        raise RunnerError(f"run {str(path)!r} must be a file; there is none (headroom run SCENARIO --save FILE)")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        kept = table.schema.metadata or {}
        if _digest(kept[MANIFEST_KEY]) != kept.get(DIGEST_KEY, _digest(kept[MANIFEST_KEY])):
            raise RunnerError(f"run {str(path)!r} cannot be read: its manifest is damaged")
        manifest = json.loads(kept[MANIFEST_KEY])
    except KeyError:
        raise RunnerError(f"run {str(path)!r} must be a file that --save wrote; it is another parquet file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunnerError(f"run {str(path)!r} cannot be read: {_one_line(error)}") from None
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version") if isinstance(manifest, dict) else manifest
        raise RunnerError(f"run {str(path)!r}: schema_version={found!r} must be {SCHEMA_VERSION} (save it again)")
    try:
        played = _played(manifest["scenario"])
        frame = _frame(table, manifest["categories"], played.time_columns)
        return _result(Path(path), manifest, frame, played=played, asked=scenario)
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException, SimError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else _one_line(error)
        raise RunnerError(f"run {str(path)!r} is malformed: {what}") from None


def _digest(manifest: bytes) -> bytes:
    return blake2b(manifest, digest_size=16).hexdigest().encode()


def _manifest(result: Result) -> dict[str, Any]:
    """Return everything but the frame, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "on": result.on,
        "seed": result.seed,
        "duration_s": result.duration_s,
        "warm_up_ms": result.warm_up_ms,
        "interrupted": result.interrupted,
        "valid": result.valid,
        "notes": list(result.notes),
        "generator": plain(result.generator),
        "background": plain(result.background),
        "stations": plain(result.stations.to_dict(orient="list")),
        "categories": {name: result.frame[name].cat.categories.tolist() for name in CATEGORIES},
        "scenario": result.scenario.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def _frame(table: pa.Table, categories: dict[str, list[str]], time_columns: Sequence[str]) -> pd.DataFrame:
    """Return the validated requests, with the original categories, used or not."""
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for name in CATEGORIES:
        frame[name] = _category(frame, name, categories[name])
    kinds = {**NUMBERS, **dict.fromkeys(time_columns, "float64")}
    for name, kind in kinds.items():
        if str(frame[name].dtype) != kind:
            raise ValueError(f"column {name} is {frame[name].dtype}, must be {kind}")
    for name in frame.columns.drop(list(CATEGORIES)):
        values = frame[name]
        if name not in MAY_BE_MISSING and values.isna().any():
            raise ValueError(f"column {name} has empty cells")
        if name != "send_lag_ms" and (values < 0).any():
            raise ValueError(f"column {name} has {values.min():g}, must be >= 0")
    if not frame["request"].is_monotonic_increasing or frame["request"].duplicated().any():
        raise ValueError("column request must rise")
    return frame


def _category(frame: pd.DataFrame, name: str, known: list[str]) -> "pd.Series[Any]":
    if name == "outcome" and not set(known) <= set(OUTCOMES):
        raise ValueError(f"outcome {(set(known) - set(OUTCOMES)).pop()!r} must be one of {', '.join(OUTCOMES)}")
    texts = frame[name].astype("str")
    strange = texts[~texts.isin(known)]
    if len(strange):
        raise ValueError(f"column {name} has {strange.iloc[0]!r}, must be one of {', '.join(map(str, known))}")
    return texts.astype(pd.CategoricalDtype(known))


def _played(tables: dict[str, Any]) -> Scenario:
    """Return the scenario that was played; files that it names are looked up among those of the project."""
    # An optional key that was added later is not in older files.
    known = {
        name: tables[name] if field.is_required() else tables.get(name) for name, field in Scenario.model_fields.items()
    }
    return load_scenario("launch").with_(**known)


def _result(
    path: Path, manifest: dict[str, Any], frame: pd.DataFrame, *, played: Scenario, asked: Scenario | None
) -> Result:
    notes = [*manifest["notes"], f"recorded on {manifest['on']}"]
    if asked is not None:
        notes += _differences(asked, played)
        # Components that the run did not have took none of its time.
        frame = frame.assign(**dict.fromkeys((name for name in asked.time_columns if name not in frame), 0.0))
    stations = pd.DataFrame(manifest["stations"], columns=list(STATION_COLUMNS))
    numbers = dict.fromkeys(stations.columns.drop(["station", "servers", "instances", "served"]), "float64")
    return Result(
        scenario=asked or played,
        on=path.name,
        seed=int(manifest["seed"]),
        frame=frame,
        stations=stations.astype(numbers),
        duration_s=float(manifest["duration_s"]),
        warm_up_ms=float(manifest["warm_up_ms"]),
        interrupted=bool(manifest["interrupted"]),
        valid=bool(manifest["valid"]),
        notes=tuple(notes),
        generator=dict(manifest["generator"]),
        background=manifest.get("background", {}),
    )


def _differences(asked: Scenario, played: Scenario) -> list[str]:
    """Return a note if the two scenarios describe different workloads or systems."""
    unplayed = {"routes": {"__all__": {"measured"}}}
    ours, theirs = (scenario.model_dump(mode="json", exclude=unplayed) for scenario in (asked, played))
    parts = [
        f"{part}.{name}"
        for part in ("workload", "routes", "system")
        for name in {**theirs[part], **ours[part]}
        if ours[part].get(name) != theirs[part].get(name)
    ]
    if not parts:
        return []
    return [f"recorded with another {', '.join(parts)} than scenario {asked.name} has now"]


def _one_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
