"""Figures of uptime and of alerts.

Goal: a figure draws the numbers it was given, and its title says what they say. Method: a small backtest and the months
of the default scenario, drawn on given axes; titles, lines and bars are read back.
"""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sim.experiments.alerting.alerts import alerts
from sim.experiments.alerting.backtest import COSTS
from sim.judgement.availability import availability
from sim.report import plots
from tests.support import frames

FOUND = alerts("launch", incidents=40, quarters=1, rng=3)
UPTIME = availability(frames.result(frames.frame(np.ones(100_000))))


@pytest.fixture
def ax() -> Axes:
    """Axes of a figure that nobody shows."""
    return Figure().add_subplot()


def title(axes: Axes) -> str:
    """The finding, in one line."""
    return str(axes.get_title(loc="left")).replace("\n", " ")


DRAWN: dict[str, Any] = {
    "months": lambda ax: plots.months(UPTIME, ax=ax),
    "met_by_hit_share": lambda ax: plots.met_by_hit_share(UPTIME, ax=ax),
    "alert_timeline": lambda ax: plots.alert_timeline(FOUND.timeline(0), ax=ax),
    "detections": lambda ax: plots.detections(FOUND, ax=ax),
    "detection_repair": lambda ax: plots.detection_repair(FOUND.detection_costs, ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figure_is_drawn_on_the_given_axes_with_a_finding_and_a_named_axis(name: str, ax: Axes) -> None:
    assert DRAWN[name](ax) is ax
    assert len(title(ax)) > 20
    assert ax.get_xlabel()
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()


def test_the_share_of_months_that_meet_the_target_is_in_the_title(ax: Axes) -> None:
    plots.months(UPTIME, ax=ax)
    assert title(ax) == f"99.99 % is met in {100 * UPTIME.met_ratio(0.9999):.2g} % of the predicted months"


def test_the_curve_of_months_crosses_the_target_at_the_share_that_meets_it(ax: Axes) -> None:
    plots.months(UPTIME, ax=ax)
    bold = max(ax.lines, key=lambda line: line.get_linewidth())
    x, y = np.asarray(bold.get_xdata(), dtype=float), np.asarray(bold.get_ydata(), dtype=float)
    assert np.interp(0.01, x, y) == pytest.approx(100 * UPTIME.met_ratio(0.9999), abs=0.5)


def test_more_requests_hit_meet_the_target_in_fewer_months(ax: Axes) -> None:
    plots.met_by_hit_share(UPTIME, ax=ax)
    for line in ax.lines[:2]:
        assert (np.diff(np.asarray(line.get_ydata(), dtype=float)) <= 0).all()


def test_the_first_page_and_the_first_ticket_are_in_the_title(ax: Axes) -> None:
    number = max(range(40), key=lambda place: len(FOUND.backtest.trials[place].due))
    line = FOUND.timeline(number)
    plots.alert_timeline(line, ax=ax)
    for severity in ("page", "ticket"):
        fired = [line.trial.fired_minutes[one.name] for one in line.alerts if one.severity == severity]
        assert np.isfinite(min(fired))
        assert f"{severity} after {min(fired):.0f}" in title(ax)


def test_an_incident_that_no_alert_sees_says_so(ax: Axes) -> None:
    quiet = next(n for n, one in enumerate(FOUND.backtest.trials) if all(np.isinf([*one.fired_minutes.values()])))
    plots.alert_timeline(FOUND.timeline(quiet), ax=ax)
    assert title(ax).endswith("no alert fires")


def test_bars_are_the_shares_that_pages_detect(ax: Axes) -> None:
    plots.detections(FOUND, ax=ax)
    pages = tuple(alert for alert in FOUND.rules.alerts if alert.severity == "page")
    found = []
    for low, high in COSTS:
        own = [one for one in FOUND.backtest.trials if low <= one.budget_share < high]
        if own:
            found.append(100 * np.mean([np.isfinite(one.first_minutes(pages)) for one in own]))
    heights = [patch.get_bbox().height for patch in ax.patches if isinstance(patch, Rectangle)][: len(found)]
    assert heights == pytest.approx(found)


def test_a_bar_is_as_long_as_the_mean_incident(ax: Axes) -> None:
    costs = FOUND.detection_costs
    plots.detection_repair(costs, ax=ax)
    widths = [patch.get_bbox().width for patch in ax.patches if isinstance(patch, Rectangle)]
    whole = np.array(widths[: len(costs)]) + widths[len(costs) :]
    assert whole == pytest.approx(np.full(len(costs), (costs[0].mttd_s + costs[0].mttr_s) / 60))
