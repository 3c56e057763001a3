"""Interpreters of the modelling language.

Goal: none skips what it does not know. Method: each is fed a step, and a condition, that is not in the language.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args
from unittest.mock import patch

import pytest

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.flow.numbering import numbered
from sim.flow.validation import check
from sim.foundation.errors import ModelError
from sim.scenario.scenario import load_scenario
from sim.screening import screen_flow
from sim.screening.traffic import traffic
from tests.support.schedules import at


@dataclass(frozen=True)
class Teleport:
    """No step of the language."""

    stream: str = "x.x"


@dataclass(frozen=True)
class FullMoon:
    """No condition of the language."""


def play(engine: Any) -> Callable[[f.Flow], object]:
    """An engine that trusts its flow: what refuses it is the interpreter itself, not the check before it."""

    def simulate(flow: f.Flow) -> object:
        with patch.object(engine.engine, "check"), patch.object(engine.engine, "numbered", lambda flow: flow):
            return engine.simulate(flow, at([0.0]), seed=1)

    return simulate


INTERPRETERS: dict[str, Callable[[f.Flow], object]] = {
    "check": check,
    "numbering": numbered,
    "simpy": play(simpy_engine),
    "compiled": play(compiled_engine),
    "screening": lambda flow: screen_flow(flow, traffic(load_scenario("launch"), {})),
}
every = pytest.mark.parametrize("interpret", INTERPRETERS.values(), ids=INTERPRETERS)


@every
@pytest.mark.parametrize("nested", [False, True])
def test_an_unknown_step_is_named(interpret: Callable[[f.Flow], object], nested: bool) -> None:
    """Also inside another step."""
    teleport: Any = Teleport()
    loop = f.Branch(f.During(0.0, 9.0), ())
    object.__setattr__(loop, "then", (teleport,))
    with pytest.raises(ModelError, match="Teleport"):
        interpret((loop,) if nested else (teleport,))


@pytest.mark.parametrize("interpret", list(INTERPRETERS.values())[1:], ids=list(INTERPRETERS)[1:])
def test_an_unknown_condition_is_named(interpret: Callable[[f.Flow], object]) -> None:
    """In a guard; a check of the whole flow reads none."""
    guard = f.Guard(f.During(0.0, 9.0), "error")
    object.__setattr__(guard, "condition", FullMoon())
    with pytest.raises(ModelError, match="FullMoon"):
        interpret((guard,))


def test_a_table_of_steps_is_complete() -> None:
    """One that forgets a kind is a defect that shows at once."""
    handlers: dict[type, Callable[..., None]] = {kind: lambda _: None for kind in get_args(f.Step)}
    f.StepTable("a test", handlers)
    del handlers[f.Move]
    with pytest.raises(AssertionError, match=r"a test must interpret .*Move"):
        f.StepTable("a test", handlers)
