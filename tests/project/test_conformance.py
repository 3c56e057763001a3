"""docs/CONFORMANCE.md is what its rows say.

Goal: the page cannot lag behind its checks, which `make test-runtime` plays. Method: make it anew and compare.
"""

from tests.runtime import conformance
from tests.runtime.conformance_rows import ROWS


def test_the_page_is_made_from_its_rows() -> None:
    assert conformance.PAGE.read_text("utf-8") == conformance.page()


def test_whatever_differs_says_why() -> None:
    assert [row.what for row in ROWS if (row.status != "implemented") != bool(row.reason)] == []
    names = [(row.area, row.what) for row in ROWS]
    assert len(set(names)) == len(names)
