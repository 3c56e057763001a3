"""Examples in docstrings are true: every ``>>>`` of the packages is run.

Goal: nobody reads an example that does not hold. Method: the standard library's doctest, module by module.
"""

import doctest
from importlib import import_module

import pytest

from tests.project import tidy

MODULES = [
    module.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for module in tidy.modules("sim", "reference_impl")
    if ">>> " in module.text
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_hold(name: str) -> None:
    found = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0
