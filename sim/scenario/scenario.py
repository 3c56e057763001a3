"""One experiment, written down: the traffic, the deployment, and where every number comes from.

>>> from sim.scenario.scenario import load_scenario
>>> launch = load_scenario("launch")
>>> launch.vary("system.durable_objects.shards", 8).system.durable_objects.shards
8

A scenario is a TOML file. ``base`` takes over all tables of another one. A value ``"platform:KEY"`` stands for a fact
of the platform file; the table ``[assumptions]`` says why the author believes the other numbers. Both are kept as the
scenario's provenance.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from sim.errors import ScenarioError, UsageError
from sim.scenario.arrivals import Closed, TraceReplay
from sim.scenario.platform import Platform, load_platform, nearest, read_toml
from sim.scenario.provenance import Provenance, assumed, resolved
from sim.scenario.schema import PAGE, Place, Table, dotted, shown, validated
from sim.scenario.system import D1, R2, Client, DurableObjects, Ledger, Network, System, Tunnel, Workers
from sim.scenario.trace import read_trace
from sim.scenario.workload import Workload

__all__ = [
    "D1",
    "R2",
    "Client",
    "DurableObjects",
    "Ledger",
    "Network",
    "Provenance",
    "Scenario",
    "System",
    "Tunnel",
    "Workers",
    "Workload",
    "load_scenario",
    "scenarios_folder",
]

WHOLE = ("arrivals", "mix")
"""Tables that a scenario replaces as a whole, where other tables are taken over key by key; laws too."""
BASES_MOST = 8


class Scenario(Table):
    """One experiment."""

    schema_version: Literal[1]
    """Version of this schema."""
    name: Annotated[str, Field(min_length=1)]
    """Short name, for reports."""
    question: Annotated[str, Field(min_length=1)]
    """What the experiment answers, in one sentence."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Chooses every random number."""
    platform: Annotated[str, Field(min_length=1)]
    """Platform file; relative to the scenario's folder, then to ``scenarios/``."""
    targets: Annotated[str, Field(min_length=1)]
    """File of targets and alert lines; found likewise."""
    workload: Workload
    system: System
    assumptions: Annotated[dict[str, str], Field(default_factory=dict)]
    """Why the author believes a number that no platform fact gives: dotted path = reason, with a letter in brackets
    when it is not a plain assumption, ``"1000 / 410 tx/s [D]"``."""

    _origin: "_Origin" = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Remember what the scenario was made from."""
        assert isinstance(context, _Origin), "scenarios are made by load_scenario() and vary()"
        self._origin = context

    @property
    def facts(self) -> Platform:
        """The platform's facts."""
        return self._origin.facts

    @property
    def provenance(self) -> tuple[Provenance, ...]:
        """Where the numbers come from: platform facts in order of the file, then the author's assumptions."""
        return (*self._origin.used, *assumed(self.assumptions, self._origin.numbers))

    @property
    def targets_path(self) -> Path:
        """The file of targets."""
        return _beside(self.targets, self._origin.folder)

    def find(self, file: str) -> Path:
        """Return the place of a file that the scenario names.

        Parameters
        ----------
        file : str
            Absolute, or relative to the scenario's folder or else to the working directory.

        Raises
        ------
        ScenarioError
            It is in neither.
        """
        for folder in (self._origin.folder, Path()):
            if (folder / file).is_file():
                return folder / file
        raise ScenarioError(f"{file} does not exist, neither in {self._origin.folder} nor here ({PAGE})")

    def vary(self, path: str, value: Any) -> "Scenario":
        """Return the scenario with another value at a dotted *path*, validated again.

        Parameters
        ----------
        path : str
            ``"system.d1.rtt_ms"``, ``"workload.mix.search"``, ``"system.d1.rtt_ms.median"``.
        value : number, text, list or dict
            As it would stand in the file; a dict replaces a whole law or table.

        Raises
        ------
        ScenarioError
            No such key, or the value breaks a rule.
        """
        return self.with_(**{path: value})

    def with_(self, **changes: Any) -> "Scenario":
        """Return the scenario with several values changed at once: ``with_(**{"workload.keys.count": 10})``."""
        places: dict[Place, Any] = {tuple(path.split(".")): value for path, value in changes.items()}
        facts = None if ("platform",) in places else self.facts
        return _scenario(_changed(self._origin.raw, places), self._origin.folder, facts=facts)

    def at_rate(self, rate_per_s: float) -> "Scenario":
        """Return the scenario at another arrival rate: all rates of its arrivals are multiplied alike.

        Parameters
        ----------
        rate_per_s : float
            New value of ``rate_per_s`` (``mean_rate_per_s`` of a diurnal wave, the mean rate of a trace).

        Raises
        ------
        UsageError
            The rate is not positive, or a closed loop has none.
        """
        if not 0 < rate_per_s < float("inf"):
            raise UsageError(f"rate_per_s={rate_per_s:g} must be > 0 and finite")
        arrivals = self.workload.arrivals
        if isinstance(arrivals, Closed):
            raise UsageError("rate_per_s cannot be set for a closed loop: its users set it (workload.arrivals.users)")
        if isinstance(arrivals, TraceReplay):
            trace = read_trace(self.find(arrivals.file)).clipped(arrivals.clip_start_s, arrivals.clip_end_s)
            own_per_s = len(trace) / (trace.duration_ms / 1000)
            return self.vary("workload.arrivals.time_scale", own_per_s / rate_per_s)
        base_per_s = arrivals.nominal_per_s
        return self.vary("workload.arrivals", arrivals.multiplied(rate_per_s / base_per_s))

    def system_numbers(self) -> dict[str, Any]:
        """Return ``[system]`` as plain numbers and tables, all references resolved, ready for JSON."""
        return self.system.model_dump(mode="json")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of a scenario file, for editors."""
        from sim.scenario.schema_page import json_schema

        return json_schema(cls)


@dataclass(frozen=True)
class _Origin:
    """What a scenario was made from: the tables as written and with facts in place of references, and the files."""

    raw: dict[str, Any]
    numbers: dict[str, Any]
    used: tuple[Provenance, ...]
    folder: Path
    facts: Platform


def load_scenario(scenario: str | Path) -> Scenario:
    """Read a scenario.

    Parameters
    ----------
    scenario : str or Path
        A file, or the name of one in ``scenarios/``: ``"launch"`` is ``scenarios/launch.toml``.

    Raises
    ------
    ScenarioError
        One line: the dotted path with the value, the rule, the way out. Further problems are its notes.
    """
    path = _file(scenario)
    return _scenario(_tables(path), path.parent)


def scenarios_folder() -> Path:
    """Folder of the scenarios that come with the project: the repository's, or the installed package's."""
    here = Path(__file__).resolve().parent.parent
    repository = here.parent / "scenarios"
    return repository if (repository / "launch.toml").is_file() else here / "_scenarios"


def _scenario(raw: dict[str, Any], folder: Path, *, facts: Platform | None = None) -> Scenario:
    """Resolve the references of *raw* and check it; *facts* are those of its platform file, if known already."""
    facts = facts or load_platform(_named(raw, "platform", folder))
    used: list[Provenance] = []
    numbers = resolved(raw, (), facts=facts, used=used)
    scenario = validated(Scenario, numbers, context=_Origin(raw, numbers, tuple(used), folder, facts))
    _named(raw, "targets", folder)
    assert scenario.provenance, "an assumption about nothing is an error now, not when someone asks"
    return scenario


def _file(scenario: str | Path) -> Path:
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
    return (file for file in sorted(folder.rglob("*.toml")) if "base" in (raw := read_toml(file)) or "system" in raw)


def _beside(file: str, folder: Path) -> Path:
    near = folder / file
    return near if near.is_file() else scenarios_folder() / file


def _named(raw: dict[str, Any], key: str, folder: Path) -> Path:
    """A file that a scenario must name under *key*."""
    file = raw.get(key)
    if not isinstance(file, str) or not file:
        raise ScenarioError(f"{key} must be the name of a file ({PAGE})")
    if not (path := _beside(file, folder)).is_file():
        raise ScenarioError(f'{key}="{file}" does not exist ({PAGE})')
    return path


def _tables(path: Path, depth: int = 0) -> dict[str, Any]:
    """Tables of a scenario file over those of its ``base``."""
    own = read_toml(path)
    if "base" not in own:
        return own
    named = own.pop("base")
    if not isinstance(named, str) or depth >= BASES_MOST:
        rule = "must end within 8 files" if isinstance(named, str) else "must be the name of a scenario file"
        raise ScenarioError(f"base{shown(named)} {rule} ({PAGE})")
    return _changed(_tables(_beside(named, path.parent), depth + 1), dict(_changes(own)))


def _changes(own: dict[str, Any], place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """What a scenario puts in place of its base: values, and the tables that only make sense as a whole."""
    for key, value in own.items():
        if isinstance(value, dict) and key not in WHOLE and "distribution" not in value:
            yield from _changes(value, (*place, key))
        else:
            yield (*place, key), value


def _changed(raw: dict[str, Any], changes: dict[Place, Any]) -> dict[str, Any]:
    """*raw* with other values at some places; None takes a key away.

    What a change makes untrue goes too: the rival of a new ``duration_s`` or ``requests``, the length and warm-up of
    arrivals that a trace replaces, and what was assumed about the old value.
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
        for told in [told for told in assumptions if f"{told}.".startswith(f"{path}.") or path.startswith(f"{told}.")]:
            del assumptions[told]
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
