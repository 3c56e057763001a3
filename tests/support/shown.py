"""What tests of hazards show: a number by its formula, the same number simulated, and the tolerance between them.

A test says all three with :func:`shown`, which compares them. They are printed on docs/HAZARDS.md, from the file
``docs/hazards_simulated.toml`` that ``python -m tests.project.hazards --simulate`` writes; a test whose number is no
longer the one in that file fails.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any, SupportsFloat

import numpy as np
import pytest

from sim import run
from sim.results.result import Result
from sim.scenario.scenario import Scenario
from tests.project.tidy import ROOT

FILE = ROOT / "docs/hazards_simulated.toml"
HEAD = "# What the tests in tests/sim/hazards found. Written by `python -m tests.project.hazards --simulate`.\n"
SMALL = 4_000
"""Runs of at most so many requests are played on both engines."""
SAME = 1e-6
"""Relative difference to a recorded number that a change of a library may make."""


@dataclass(frozen=True)
class Shown:
    """One prediction and what the simulation says; *within* is the relative tolerance, 0 for equality."""

    hazard: str
    what: str
    formula: float
    simulated: float
    within: float


recording: list[Shown] | None = None
"""What the tests of this process have shown, while :func:`record` runs them; else None."""


def shown(hazard: str, what: str, *, formula: SupportsFloat, simulated: SupportsFloat, within: float) -> None:
    """Check that the simulated number is the formula's within a relative tolerance, and the recorded one."""
    row = Shown(hazard, what, float(formula), float(simulated), within)
    if recording is not None:
        recording.append(row)
    assert row.simulated == pytest.approx(row.formula, rel=within or 1e-9, abs=0.0), (hazard, what)
    if recording is None:
        known = {(one.hazard, one.what): one for one in recorded()}.get((hazard, what))
        assert known is not None, f"{hazard}, {what!r}: run python -m tests.project.hazards --simulate"
        numbers = (known.formula, known.simulated, known.within)
        assert numbers == pytest.approx((row.formula, row.simulated, row.within), rel=SAME), f"{FILE.name} is stale"


@cache
def recorded() -> tuple[Shown, ...]:
    """Return what is on the page."""
    rows = tomllib.loads(FILE.read_text("utf-8"))["shown"] if FILE.exists() else []
    return tuple(Shown(*(row[name] for name in Shown.__dataclass_fields__)) for row in rows)


def record(arguments: Iterable[str]) -> int:
    """Run the tests that pytest's *arguments* name, write what they show, and return pytest's status."""
    global recording
    recording = []
    status = int(pytest.main([*arguments]))
    FILE.write_text(HEAD + "".join(map(_entry, sorted(recording, key=_place))), "utf-8")
    recording = None
    recorded.cache_clear()
    return status


def _place(row: Shown) -> tuple[int, str]:
    return int(row.hazard[1:]), row.what


def _entry(row: Shown) -> str:
    hazard, what, formula, simulated, within = astuple(row)
    numbers = f"formula = {formula:.10g}\nsimulated = {simulated:.10g}\nwithin = {within:g}\n"
    return f'\n[[shown]]\nhazard = "{hazard}"\nwhat = "{what}"\n{numbers}'


def played(scenario: Scenario, requests: int, *, seed: int = 1, both: bool = True) -> Result:
    """Run a scenario on the compiled engine; a small run on *both*, which must agree to the bit."""
    result = run(scenario, on="compiled", requests=requests, rng=seed)
    if both and requests <= SMALL:
        other = run(scenario, on="simpy", requests=requests, rng=seed).frame
        np.testing.assert_array_equal(result.frame["latency_ms"], other["latency_ms"])
        assert (result.frame["outcome"] == other["outcome"]).all()
    return result


def served(result: Result, station: str) -> int:
    """How many requests an instance has worked on."""
    return int(result.stations.loc[result.stations["station"] == station, "served"].iloc[0])


def lasting_s(requests: int, rate_per_s: float) -> float:
    """How long a scenario must last for so many requests."""
    return 1.1 * requests / rate_per_s + 10


def at_rate(rate_per_s: float, requests: int, *, kind: str = "poisson") -> dict[str, Any]:
    """Changes of a scenario after which so many requests come at this rate."""
    arrivals = {"kind": kind, "rate_per_s": rate_per_s}
    lasting = lasting_s(requests, rate_per_s)
    return {"workload.arrivals": arrivals, "workload.duration_s": lasting, "workload.warm_up_s": 0.0}


def error_of_a_share(share: float, requests: int) -> float:
    """Return four standard deviations of a share that is counted over requests, relative to it."""
    return float(f"{4 * ((1 - share) / share / requests) ** 0.5:.1g}")
