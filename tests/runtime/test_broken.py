"""Broken variants of the reference are noticed by its comparison with the real runtime.

Goal: "both answer alike" is worth something: a small mistake in the reference would be seen. Method: each variant of
``broken.txt`` is planted in a process of its own, which plays random sequences beside the runtime until something
differs, 300 at most; the same sequences on the reference as it is find nothing.
"""

import json
import subprocess
import sys

import pytest

from tests.defects.catalogue import Defect
from tests.project.tidy import ROOT
from tests.runtime.broken import VARIANTS, Noticed

USED = sorted({variant.tests for variant in VARIANTS})


@pytest.fixture(scope="module")
def noticed() -> dict[tuple[str, str], Noticed]:
    """What is found of every variant, and of every kind of sequence on the reference as it is."""
    command = [sys.executable, "-m", "tests.runtime.broken", "--json"]
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout
    found = [Noticed(**json.loads(line)) for line in said.splitlines()]
    return {(one.defect, one.kind): one for one in found}


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_a_variant_is_noticed(noticed: dict[tuple[str, str], Noticed], variant: Defect) -> None:
    assert noticed[variant.name, variant.tests].difference


@pytest.mark.parametrize("kind", USED)
def test_nothing_is_noticed_of_the_reference_as_it_is(noticed: dict[tuple[str, str], Noticed], kind: str) -> None:
    assert noticed["", kind].difference == ""
