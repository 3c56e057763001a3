"""One call that makes a scenario of one's own: from a configuration, its migrations and a log, or from nothing.

>>> from sim import init
>>> init().name
'example'
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sim.foundation.errors import SimError, UsageError
from sim.foundation.files import whole_file
from sim.foundation.schema import validated
from sim.scaffold.migrations import Schema, read_migrations
from sim.scaffold.parts import Parts, parts
from sim.scaffold.routes import Guess
from sim.scaffold.text import Known, scenario_text
from sim.scaffold.wrangler import Config, read_config
from sim.scenario.scenario import Scenario, load_scenario

EXAMPLE = "example"

RARE_SHOWN = 10


@dataclass(frozen=True)
class Drafted:
    """A drafted scenario.

    Attributes
    ----------
    name : str
    text : str
        Of the file.
    scenario : Scenario
        The same, loaded.
    lacking : tuple of str
        What it does not express, a sentence each.
    notes : tuple of str
        What the log was taken for.
    """

    name: str
    text: str
    scenario: Scenario
    lacking: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Drafted {self.name}: {len(self.scenario.routes)} routes, {len(self.lacking)} things not expressed>"


def init(
    config: str | Path | None = None,
    *,
    log: str | Path | None = None,
    out: str | Path | None = None,
    environment: str = "",
    sample_share: float = 1.0,
    how: dict[str, Any] | None = None,
) -> Drafted:
    """Draft a scenario that runs at once, from what is there.

    Parameters
    ----------
    config : path, optional
        A Wrangler configuration, or the folder that holds it; without one the example is drafted.
    log : path, optional
        Requests of the deployment, in any form that a trace may have.
    out : path, optional
        Where the scenario is written; without it nothing is written.
    environment : str
        Of the configuration; empty for its top level.
    sample_share : float
        Share of all requests that the log holds, such as 0.001.
    how : dict, optional
        ``[workload.trace]`` for the log: what its columns are.

    Raises
    ------
    SimError
        A file cannot be read, or *out* exists already; nothing is written then.
    """
    from sim.traces.options import TraceOptions

    if not 0 < sample_share <= 1:
        raise UsageError(f"sample_share={sample_share:g} must be > 0 and <= 1")
    place = None if out is None else _place(Path(out))
    read = None if config is None else read_config(config, environment)
    if read is None and environment:
        raise UsageError(f"env={environment!r} needs a configuration")
    found = Parts((), ()) if read is None else parts(read)
    schema, problems = _schema(read, found)
    traffic = None
    if log is not None:
        from sim.scaffold.log import read_log

        traffic = read_log(log, validated(TraceOptions, how or {}), sample_share=sample_share)
    guess = Guess(found, schema)
    drafts = guess.drafts(traffic, read.crons if read else ())
    lacking = (*found.lacking, *(read.notes if read else ()), *problems, *guess.lacking)
    lacking += tuple(_rare(traffic.rare)) if traffic else ()
    name = read.name if read else EXAMPLE
    text = scenario_text(Known(name, read, found, schema, traffic, drafts, lacking))
    scenario = _loaded(text)
    if place is not None:
        _write(text, place)
    # Which keys a route's rows have is said in the draft, route by route.
    notes = tuple(note for note in (traffic.trace.notes if traffic else ()) if "key" not in note)
    return Drafted(name, text, scenario, lacking, notes)


def _rare(paths: tuple[str, ...]) -> Iterator[str]:
    """What is said of the paths that are one route together."""
    if paths:
        others = f" and {len(paths) - RARE_SHOWN:,} more" if len(paths) > RARE_SHOWN else ""
        yield f"rare paths, each too rare for a route, together as route other: {', '.join(paths[:RARE_SHOWN])}{others}"


def _place(out: Path) -> Path:
    """Where the scenario will stand, which must be free."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"out={str(out)!r} exists already: name another file, or take it away")
    if not out.parent.is_dir():
        raise UsageError(f"out={str(out)!r}: the folder {str(out.parent)!r} must exist")
    if out.suffix != ".toml":
        raise UsageError(f"out={str(out)!r} must end in .toml")
    return out


def _write(text: str, place: Path) -> None:
    try:
        with whole_file(place) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"out={str(place)!r} cannot be written: {error.strerror}") from None


def _schema(read: Config | None, found: Parts) -> tuple[Schema | None, tuple[str, ...]]:
    """The tables of the first database that has migrations, and what could not be read of them."""
    if read is None:
        return None, ()
    for part in found.of("d1"):
        folder = read.path.parent / str(part.binding.keys.get("migrations_dir") or "migrations")
        schema = read_migrations(folder)
        if schema is not None:
            return schema, ((f"migrations of {part.binding.name}: {schema.problem}",) if schema.problem else ())
    return None, ()


def _loaded(text: str) -> Scenario:
    """The scenario, which must load: a draft that does not run is a defect of ours, and is said as one."""
    with TemporaryDirectory(prefix="headroom-init-") as folder:
        file = Path(folder) / "draft.toml"
        file.write_text(text, "utf-8")
        try:
            return load_scenario(file)
        except SimError as error:
            raise UsageError(f"the draft does not load, which is a defect of headroom init: {error}") from None
