"""docs/CONFORMANCE.md is what its rows say.

Goal: the page cannot lag behind its checks, which `make test-runtime` plays. Method: make it anew and compare.
"""

from tests.runtime import conformance


def test_the_page_is_made_from_its_rows() -> None:
    assert conformance.PAGE.read_text("utf-8") == conformance.page()


def test_whatever_differs_says_why() -> None:
    assert [row.what for row in conformance.ROWS if (row.status != "implemented") != bool(row.reason)] == []
    names = [(row.area, row.what) for row in conformance.ROWS]
    assert len(set(names)) == len(names)
