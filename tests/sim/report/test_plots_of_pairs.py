"""Figures of pairs and of predictions.

Goal: every pair is drawn or counted, and both intervals of a prediction are; titles say what is drawn. Method: figures
from numbers that were made by hand; bars, lines and titles are read back.
"""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sim.foundation.errors import UsageError
from sim.judgement.pairing import Pairing
from sim.report import plots
from sim.report.plots.style import MEASURED


@pytest.fixture
def ax() -> Axes:
    """Axes of a figure that nobody shows."""
    return Figure().add_subplot()


def title(axes: Axes) -> str:
    """The finding, in one line."""
    return str(axes.get_title(loc="left")).replace("\n", " ")


def test_pairs_are_all_drawn_or_counted_and_the_title_says_their_middle(ax: Axes) -> None:
    rng = np.random.default_rng(1)
    several = [pairing_of(rng.normal(0.4, 0.1, 1_000)), pairing_of(np.append(rng.normal(0.4, 0.1, 999), 500.0))]
    plots.pairing(several, ax=ax)
    (bars,) = ax.containers
    drawn = sum(bar.get_height() for bar in bars if isinstance(bar, Rectangle))
    beyond = int(title(ax).rpartition("(")[2].partition(" of 2,000")[0])
    assert drawn + beyond == 2_000
    assert beyond >= 1
    assert title(ax).startswith("A request differs from itself by 0.4 ms at the median")
    assert ax.get_xlim()[0] <= 0.0, "no difference is where the eye looks for it"


def test_pairs_without_a_difference_and_no_pairs(ax: Axes) -> None:
    plots.pairing(pairing_of(np.zeros(50)), ax=ax)
    assert "by 0 ms at the median" in title(ax)
    for nothing in ([], [pairing_of(np.zeros(0))]):
        with pytest.raises(UsageError, match="no request was paired"):
            plots.pairing(nothing, ax=ax)


def test_a_prediction_is_drawn_with_both_its_intervals_and_says_how_many_hold(ax: Axes) -> None:
    measured = np.array([1.0, 2.0, 4.0])
    sides: dict[str, Any] = {"measured": measured, "measured_low": 0.9 * measured, "measured_high": 1.1 * measured}
    sides |= {"predicted": 1.2 * measured, "predicted_low": [0.9, 2.1, 3.9], "predicted_high": [1.5, 3.0, 6.0]}
    plots.prediction((0.1, 0.5, 0.9), sides, name="half the load", ax=ax)
    assert title(ax) == "half the load: median +20 % off, 2 of 3 quantiles within the interval"
    x, y = next(
        (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in ax.lines
        if to_hex(line.get_color()) == MEASURED
    )
    assert (x.tolist(), y.tolist()) == (measured.tolist(), (1.2 * measured).tolist())
    assert {"P50", "P90"} <= {text.get_text() for text in ax.texts}
    for wrong in ({}, sides | {"measured": [1.0]}, sides | {"predicted_low": [0.0, 1.0, 2.0]}):
        with pytest.raises(UsageError, match="must hold 3 times above 0 ms"):
            plots.prediction((0.1, 0.5, 0.9), wrong, ax=ax)


def pairing_of(difference_ms: np.ndarray[Any, np.dtype[np.float64]]) -> Pairing:
    return Pairing(len(difference_ms), 0, {}, (0.0, 0.0, 0.0), 1.0, {}, difference_ms)
