"""Every planted defect is found.

Goal: the tests of the ledger detect each of these defects. Method: each defect of
``tests/defects/catalogue.txt`` is planted in a process of its own, which plays fault schedules, beginning with the seed
that ``docs/DEFECTS.md`` tells, and then the tests that are named beside the defect.
"""

import pytest

from tests.defects.__main__ import PAGE, first_seeds
from tests.defects.catalogue import DEFECTS
from tests.defects.planting import look_for

NAMES = [defect.name for defect in DEFECTS]
SEEDS = first_seeds()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_planted_defect_is_found(name: str) -> None:
    assert look_for(name, first_seed=SEEDS.get(name, 0), shrinks=False).found_by


def test_there_are_enough_defects_and_each_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 15


@pytest.mark.parametrize("defect", DEFECTS, ids=NAMES)
def test_the_place_of_a_defect_is_there_once(defect: object) -> None:
    known = next(entry for entry in DEFECTS if entry is defect)
    source = known.path.read_text("utf-8")
    assert known.changed(source) != source


def test_the_page_tells_every_defect_and_that_it_was_found() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in NAMES if f"| {name} |" not in text] == []
    assert "**nothing**" not in text
