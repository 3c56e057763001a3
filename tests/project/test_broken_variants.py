"""The broken variants of the reference fit its source, and the page tells them.

Goal: where there is no real runtime to notice them, a variant whose place in the source is gone is noticed at least.
Method: each change is made in memory and compiled.
"""

import pytest

from tests.defects.catalogue import Defect
from tests.runtime.broken import KINDS, PAGE, VARIANTS

NAMES = [variant.name for variant in VARIANTS]


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_the_place_of_a_variant_is_there_once(variant: Defect) -> None:
    source = variant.path.read_text("utf-8")
    changed = variant.changed(source)
    assert changed != source
    compile(changed, str(variant.path), "exec")


def test_there_are_variants_of_every_kind_and_each_has_a_name_of_its_own() -> None:
    assert {variant.tests for variant in VARIANTS} == set(KINDS)
    assert len(set(NAMES)) == len(NAMES) >= 25


def test_the_page_tells_every_variant() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in NAMES if f"| {name} |" not in text] == []
