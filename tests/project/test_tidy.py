"""House rules as tests, in the manner of a compiler's own tidy check.

Goal: the tree keeps the rules of docs/ARCHITECTURE.md. Method: each rule of tests/project/tidy.py is shown to fire on
the smallest text that breaks it, then to find nothing in the tree.
"""

import statistics
from collections.abc import Callable

import pytest

from tests.project import tidy
from tests.project.tidy import Module

SIM = tidy.modules("sim")
REFERENCE = tidy.modules("reference_impl")
MODELS = [module for module in SIM if module.path.startswith("sim/models/") and "COMPONENT = " in module.text]
CODE = SIM + REFERENCE
ROOT_ERROR = "class SimError(Exception): ...\n"
LONG_BODY = "\n".join(["def f():", *["    pass"] * 60])

Rule = Callable[[Module], list[str]]


def units(module: Module) -> list[str]:
    """S3 on one module."""
    return tidy.unitless([module])


def exceptions(module: Module) -> list[str]:
    """S8 on one module."""
    return tidy.stray_exceptions([module], "SimError")


BREACHES: list[tuple[Rule, str]] = [
    (tidy.oversized, "#\n" * 401),
    (tidy.oversized, LONG_BODY),
    (tidy.undocumented_shapes, '"""X.\n\n    u : ndarray\n"""'),
    (tidy.unsourced, '"""A queue."""'),
    (tidy.bare_numbers, "delay_ms = 20"),
    (tidy.positional, "def f(a, b, c): ..."),
    (tidy.positional, "class C:\n    def f(self, a, b, c=1): ..."),
    (units, "@dataclass\nclass C:\n    delay: float"),
    (units, "class C(BaseModel):\n    wait: int | None = None"),
    (units, "P = Annotated[float, 0]\nclass C(BaseModel):\n    wait: P"),
    (exceptions, ROOT_ERROR + "class E(OSError): ..."),
    (exceptions, ""),
]

CLEAN: list[tuple[Rule, str]] = [
    (tidy.oversized, "#\n" * 400),
    (tidy.oversized, LONG_BODY.replace("    pass\n", '    """Says."""\n', 1)),
    (tidy.undocumented_shapes, '"""X.\n\n    u : ndarray, shape (n,)\n"""'),
    (tidy.unsourced, '"""A queue.\n\nSources\n-------\nKleinrock.\n"""'),
    (tidy.bare_numbers, "delay_s = delay_ms / 1_000\nsquare = x**2"),
    (tidy.positional, "def f(a, b, *, c): ...\nclass C:\n    def f(self, a, b): ..."),
    (
        units,
        "@dataclass\nclass C:\n    wait_ms_p99: float\n    seed: int\n    name: str",
    ),
    (exceptions, ROOT_ERROR + "class E(SimError): ..."),
]


@pytest.mark.parametrize(("rule", "text"), BREACHES)
def test_rule_fires_on_a_breach(rule: Rule, text: str) -> None:
    assert rule(Module("sim/x.py", text))


@pytest.mark.parametrize(("rule", "text"), CLEAN)
def test_rule_leaves_clean_code_alone(rule: Rule, text: str) -> None:
    assert rule(Module("sim/x.py", text)) == []


def findings(rule: Rule, modules: list[Module]) -> list[str]:
    """All findings of a rule, over modules that must not be none."""
    assert modules
    return [finding for module in modules for finding in rule(module)]


def test_modules_and_functions_are_small() -> None:
    assert findings(tidy.oversized, CODE + tidy.modules("tests")) == []


def test_most_modules_and_functions_are_smaller_still() -> None:
    assert statistics.median(len(module.text.splitlines()) for module in CODE) <= tidy.MODULE_LINES_MEDIAN
    lengths = sorted(tidy.function_lines(function) for module in CODE for function in tidy.functions(module.tree))
    assert lengths[int(0.9 * len(lengths))] <= tidy.FUNCTION_LINES_P90


def test_every_documented_array_has_a_shape() -> None:
    assert findings(tidy.undocumented_shapes, CODE) == []


def test_every_model_names_its_sources() -> None:
    assert findings(tidy.unsourced, MODELS) == []


def test_every_quantity_carries_its_unit() -> None:
    assert tidy.unitless(CODE) == []


def test_models_hold_no_platform_number() -> None:
    assert findings(tidy.bare_numbers, MODELS) == []


def test_every_error_descends_from_its_package_root() -> None:
    assert tidy.stray_exceptions(SIM, "SimError") == []
    assert tidy.stray_exceptions(REFERENCE, "ImplError") == []


def test_options_are_keyword_only() -> None:
    assert findings(tidy.positional, CODE) == []
