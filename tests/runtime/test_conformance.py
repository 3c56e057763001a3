"""The conformance page holds on both sides.

Goal: a difference between reference and runtime is known, and noticed when it goes or comes. Method: every row's check
is played on both; the page is compared with its rows, also where there is no runtime.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from sim.runners import workerd
from tests.runtime import conformance
from tests.runtime.api_sequences import Client
from tests.runtime.conformance_rows import ROWS, Row
from tests.runtime.outcomes import Side
from tests.runtime.probe import probing
from tests.runtime.sides import Reference, Runtime
from tests.support.process import started

Sides = list[tuple[Side, Client]]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    """Bindings and API of the reference and of the real runtime."""
    with (
        closing(Reference()) as reference,
        started("--fsync", "off") as (_, ready),
        workerd.running() as running,
        probing() as probe,
        closing(Client(str(ready["http"]))) as ours,
        closing(Client(running.deployment.http)) as theirs,
    ):
        yield [(reference, ours), (Runtime(probe), theirs)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.area}: {row.what}")
def test_a_row_is_as_it_says(sides: Sides, row: Row) -> None:
    assert conformance.moved(row, sides) is None


def test_a_row_that_moves_is_noticed(sides: Sides) -> None:
    for row in (ROWS[0], next(row for row in ROWS if row.status == "not yet")):
        other = "not yet" if row.status == "implemented" else "implemented"
        flipped = Row(row.area, row.what, other, row.calls, row.part)  # type: ignore[arg-type]  # a status
        assert conformance.moved(flipped, sides)
