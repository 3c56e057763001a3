"""Figures of alternatives.

Goal: what is drawn are the rows and intervals of the table. Method: tables made by hand; lines, bands and texts are
read back.
"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from sim.foundation.errors import UsageError
from sim.models.registry import component
from sim.report import plots

TABLE = pd.DataFrame({"p99": [10.0, 40.0], "p99_low": [9.0, 30.0], "p99_high": [12.0, 45.0]}, index=["D1", "elsewhere"])
OVER = pd.DataFrame(
    {
        "design": ["KV", "KV", "none", "none"],
        "load": [2, 1, 1, 2],
        "p99": [20.0, 10.0, 1.0, 2.0],
        "p99_low": [15.0, 8.0, 1.0, 2.0],
        "p99_high": [30.0, 11.0, 1.0, 2.0],
    }
)


@pytest.fixture
def ax() -> Axes:
    """Axes of a figure that nobody shows."""
    return Figure().add_subplot()


def test_each_row_has_its_dot_its_interval_and_its_number(ax: Axes) -> None:
    plots.alternatives(TABLE, "p99", label="P99, ms", title="D1 is faster", ax=ax)
    drawn = [np.asarray(line.get_xdata()).tolist() for line in ax.lines]
    assert drawn == [[9.0, 12.0], [10.0], [30.0, 45.0], [40.0]]
    assert [text.get_text() for text in ax.texts] == ["10.0", "40.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["D1", "elsewhere"]
    assert to_hex(ax.lines[0].get_color()) == component("d1").colour
    assert ax.get_title(loc="left") == "D1 is faster"
    assert ax.get_xlim()[0] == 0


def test_each_alternative_has_its_line_in_order_and_its_band(ax: Axes) -> None:
    labels = ("load", "P99, ms")
    plots.alternatives_over(OVER, "p99", x="load", by="design", labels=labels, title="t", target=15.0, ax=ax)
    lines = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in ax.lines}
    assert lines["KV"] == [10.0, 20.0]
    assert lines["none"] == [1.0, 2.0]
    bands = [np.asarray(band.get_paths()[0].vertices) for band in ax.collections]
    assert (bands[0][:, 1].min(), bands[0][:, 1].max()) == (8.0, 30.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == labels
    assert {"target 15", "KV", "none"} == {text.get_text() for text in ax.texts}


def test_names_at_the_ends_do_not_overlap_even_where_lines_coincide(ax: Axes) -> None:
    many = pd.DataFrame({"design": list("abcd") * 2, "load": [1.0] * 4 + [2.0] * 4, "p99": [5.0] * 8})
    plots.alternatives_over(many, "p99", x="load", by="design", labels=("", ""), title="t", ax=ax)
    heights = sorted(text.xy[1] for text in ax.texts if isinstance(text, Annotation))
    assert len(heights) == 4
    assert min(np.diff(heights)) > 0.06
    assert heights[-1] <= 1.0
    widths = [line.get_linewidth() for line in ax.lines if len(np.asarray(line.get_xdata())) == 2]
    assert widths == sorted(widths, reverse=True), "the one drawn last is the narrowest"


def test_lines_without_a_component_have_different_colours(ax: Axes) -> None:
    many = pd.DataFrame({"design": list("abcd"), "load": [1.0] * 4, "p99": [1.0] * 4})
    plots.alternatives_over(many, "p99", x="load", by="design", labels=("", ""), title="t", log="xy", ax=ax)
    assert len({to_hex(line.get_color()) for line in ax.lines}) == 4
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_nothing_to_draw_is_one_line(ax: Axes) -> None:
    with pytest.raises(UsageError, match="table must have the column 'p50'; it has p99, p99_low, p99_high"):
        plots.alternatives(TABLE, "p50", label="", title="", ax=ax)
    with pytest.raises(UsageError, match="must have a row"):
        plots.alternatives(TABLE.head(0), "p99", label="", title="", ax=ax)
