"""Arguments of the public functions.

Goal: whatever is passed in place of a right value, a user reads one line that names the argument.
"""

from collections.abc import Mapping, Sequence
from inspect import Parameter, isfunction, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from sim.foundation.arguments import checked, fits
from sim.foundation.errors import UsageError

FUNCTIONS = [name for name in sim.__all__ if isfunction(getattr(sim, name))]
WRONG = (object(), b"x", 1j, [object()])


def required(name: str) -> dict[str, Any]:
    """Nothing for every argument that must be there: the check comes before it is used."""
    parameters = signature(getattr(sim, name)).parameters.values()
    return {
        one.name: None for one in parameters if one.default is Parameter.empty and one.kind != Parameter.VAR_KEYWORD
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_type_is_refused_in_one_line_that_names_the_argument(name: str) -> None:
    function = getattr(sim, name)
    for parameter in signature(function).parameters.values():
        if parameter.kind == Parameter.VAR_KEYWORD:
            continue
        for value in WRONG:
            with pytest.raises(UsageError, match=rf"^{name}: \w+=[^\n]+ must be [^\n]+$"):
                function(**{**required(name), parameter.name: value})


def test_a_missing_and_an_unknown_argument_are_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"^run: missing a required argument: 'scenario'"):
        sim.run()  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(UsageError, match=r"^run: got an unexpected keyword argument 'rate'"):
        sim.run("launch", rate=3)  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(UsageError, match=r"a Scenario \(load_scenario\(\.\.\.\) makes one\)$"):
        sim.capacity("launch")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("name", ["judge", "availability", "by_route", "waterfall"])
def test_no_result_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"=\[\] must hold at least one result"):
        getattr(sim, name)([])


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (np.int64(3), int, True),
        (True, int, False),
        (3, float, True),
        (np.float64(0.5), float, True),
        (Path("x"), str | Path, True),
        (None, int | None, True),
        ([1, 2], Sequence[int], True),
        ([1, "2"], Sequence[int], False),
        ("12", Sequence[int], False),
        ({"a": [1]}, Mapping[str, Sequence[int]], True),
        ({"a": 1}, Mapping[str, Sequence[int]], False),
        (object(), Any, True),
    ],
)
def test_types_are_those_of_the_annotations(value: Any, wanted: Any, *, expected: bool) -> None:
    assert fits(value, wanted) is expected


def test_the_checked_function_does_what_the_function_does() -> None:
    def half(of: float, *, times: int = 1) -> float:
        return of / float(2**times)

    assert checked(half)(3, times=2) == 0.75
    assert checked(half).__name__ == "half"
