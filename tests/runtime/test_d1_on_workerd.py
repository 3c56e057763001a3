"""Statements measured on the real runtime.

Goal: its own counter finds the search's scan and the index, counts what the reference's counter cannot, and agrees with
that counter, to the row, on everything else. Method: the same call on both.
"""

from pathlib import Path

import pytest

from sim import D1Report, d1
from sim.judgement.targets import Verdict
from tests.sim.experiments.queries.schemas import (
    ALL_PUBLIC,
    QUERIES,
    ROWS,
    SEARCH,
    SHOP,
    SHOP_QUERIES,
    SHOP_ROWS,
    UNCOUNTED,
    before_the_index,
    social,
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[D1Report, D1Report]:
    """The social network on the reference's counter, and on the runtime."""
    folder = social(tmp_path_factory.mktemp("social"))
    found = [d1(folder, query=QUERIES, rows=ROWS, on=on) for on in ("reference", "workerd")]
    return found[0], found[1]


def test_the_search_of_the_project_is_found_and_mended(tmp_path: Path) -> None:
    folder = before_the_index(tmp_path)
    found = d1(folder, query=SEARCH, rows={"loras": 10_000}, values=ALL_PUBLIC, on="workerd")
    search = found["search"]
    assert [point.rows_read for point in search.measured.points] == [110, 1_100, 11_000]
    assert search.verdict is Verdict.ALERT
    assert search.index is not None
    assert search.index.after.last.rows_read == 20
    assert (search.index.insert_before_rows_written, search.index.insert_rows_written) == (4, 5)
    assert (search.index.update_before_rows_written, search.index.update_rows_written) == (3, 4)


def test_both_counters_agree_to_the_row(both: tuple[D1Report, D1Report]) -> None:
    compared = 0
    for ours, theirs in zip(both[0].queries, both[1].queries, strict=True):
        if ours.name in UNCOUNTED:
            continue
        for one, other in zip(ours.measured.points, theirs.measured.points, strict=True):
            assert (one.rows_read, one.rows_written) == (other.rows_read, other.rows_written), ours.name
            compared += 1
        assert (ours.index is None) == (theirs.index is None), ours.name
        if ours.index is not None and theirs.index is not None:
            assert ours.index.sql == theirs.index.sql
            after = [(point.rows_read, point.rows_written) for point in ours.index.after.points]
            # The runtime's SQLite looks for blobs too, with one more seek: it is built without
            # SQLITE_LIKE_DOESNT_MATCH_BLOBS, which distributions set.
            more = int(ours.name == "like")
            wanted = [(read + more, written) for read, written in after]
            assert [(point.rows_read, point.rows_written) for point in theirs.index.after.points] == wanted, ours.name
    assert compared == 3 * (len(both[0].queries) - len(UNCOUNTED))


def test_the_runtime_counts_what_our_counter_cannot(both: tuple[D1Report, D1Report]) -> None:
    for name in UNCOUNTED:
        ours, theirs = both[0][name].measured.last, both[1][name].measured.last
        assert theirs.basis == "counted"
        assert theirs.rows_read >= ours.rows_read
        assert theirs.rows_written >= ours.rows_written
    assert both[1]["generated"].verdict is Verdict.ALERT


def test_a_job_queue_is_counted_alike(tmp_path: Path) -> None:
    """References of several columns, a full-text index of another table's text, and a delete of what is referred to."""
    file = tmp_path / "schema.sql"
    file.write_text(SHOP)
    ours, theirs = (d1(file, query=SHOP_QUERIES, rows=SHOP_ROWS, on=on) for on in ("reference", "workerd"))
    assert [note for note in theirs.notes if "could not be filled" in note] == [
        note for note in ours.notes if "could not be filled" in note
    ]
    for one, other in zip(ours.queries, theirs.queries, strict=True):
        mine, its = one.measured.last, other.measured.last
        assert its.basis == "counted", one.name
        assert one.verdict is other.verdict, one.name
        if mine.basis == "counted":
            assert (mine.rows_read, mine.rows_written) == (its.rows_read, its.rows_written), one.name
        if mine.basis == "at least":
            assert its.rows_read >= mine.rows_read, one.name
            assert its.rows_written >= mine.rows_written, one.name
        assert (one.index and set(one.index.sql)) == (other.index and set(other.index.sql)), one.name
