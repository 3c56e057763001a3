"""Figures of bills.

Goal: layers, bands and titles say what the bills say. Method: figures are drawn on given axes from bills of several
volumes and months; lines, areas and titles are read back.
"""

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.foundation.errors import UsageError
from sim.judgement.cost import cost
from sim.report import plots
from sim.report.wording import significant, usd
from sim.scenario.scenario import load_scenario
from tests.project.tidy import ROOT
from tests.support.plans import example_plan


@pytest.fixture
def ax() -> Axes:
    """Axes of a figure that nobody shows."""
    return Figure().add_subplot()


def title(ax: Axes) -> str:
    """The title, its lines joined."""
    return ax.get_title(loc="left").replace("\n", " ")


def test_cost_bars_are_those_of_the_plan_or_of_its_bill(ax: Axes) -> None:
    plan = example_plan()
    assert plan.cost is not None
    plots.cost(plan.cost, ax=ax)
    assert title(ax).startswith(f"A month costs {usd(plan.cost.month_usd)}, ")


def test_layers_over_volume_add_up_to_the_bill(ax: Axes) -> None:
    bills = [cost(load_scenario("launch"), requests_per_month=volume) for volume in (60e6, 30e6)]
    plots.cost_against_volume(bills, ax=ax)
    (line,) = ax.lines
    assert list(line.get_xdata()) == [30, 60]  # type: ignore[arg-type]  # an array
    tops = [area.get_paths()[0].get_extents().y1 for area in ax.collections]
    assert max(tops) == pytest.approx(bills[0].month_usd)
    assert title(ax) == f"2 times the requests cost {bills[0].month_usd / bills[1].month_usd:.3g} times as much"


@pytest.mark.parametrize("volumes", [(), (1e6,), (1e6, 1e6)])
def test_one_volume_has_no_curve(volumes: tuple[float, ...]) -> None:
    bills = [cost(load_scenario("launch"), requests_per_month=volume) for volume in volumes]
    with pytest.raises(UsageError, match="two different volumes or more"):
        plots.cost_against_volume(bills)


def test_forecast_shows_each_month_and_its_interval(ax: Axes) -> None:
    history = ROOT / "reports/data/daily_requests.csv"
    months = [cost(load_scenario("launch"), history=history, month=month) for month in (1, 2, 3)]
    plots.volume_forecast(months, ax=ax)
    volumes = [one.volume for one in months if one.volume is not None]
    assert list(ax.lines[0].get_ydata()) == [one.requests / 1e6 for one in volumes]  # type: ignore[arg-type]  # an array
    band = ax.collections[0].get_paths()[0].get_extents()
    assert [band.y0, band.y1] == pytest.approx([volumes[0].low / 1e6, volumes[-1].high / 1e6])
    assert title(ax).startswith(f"Month 3 brings {significant(volumes[-1].requests / 1e6)} million requests, ")


def test_one_month_is_no_forecast() -> None:
    with pytest.raises(UsageError, match="two months or more"):
        plots.volume_forecast([cost(load_scenario("launch"))])
