"""Figures of a plan.

Goal: a figure draws the numbers it was given, and its title says what they say. Method: figures are drawn on given axes
from results with known latencies and from a plan with known parts; titles, lines and bars are read back.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sim.experiments.plan import Plan
from sim.foundation.errors import UsageError
from sim.judgement.comparison import Agreement
from sim.models.registry import components
from sim.report import plots
from sim.report.plots.sides import latencies, live_part
from sim.report.plots.style import ALERT, GREY, MEASURED, OTHERS, TARGET, colour
from sim.report.sentences import load_per_s
from sim.report.wording import percent, significant, usd
from sim.results.breakdown import UNATTRIBUTED, waterfall
from sim.scenario.scenario import load_scenario
from tests.support import frames
from tests.support.plans import CAPACITY_PER_S, example_capacity, example_plan

OF_OTHERS = {
    "alert_timeline",
    "alternatives",
    "alternatives_over",
    "assumptions",
    "calibration",
    "cost_against_volume",
    "detection_repair",
    "detections",
    "hysteresis",
    "met_by_hit_share",
    "months",
    "pairing",
    "prediction",
    "servers",
    "sizing",
    "volume_forecast",
}
"""Figures of several bills, of pairs, or of a study of its own, which no plan has."""

OF_PLAN: dict[str, Callable[..., Axes]] = {
    name: getattr(plots, name) for name in plots.__all__ if name not in OF_OTHERS
}
"""Every other figure; all of them can be drawn from a plan."""


@pytest.fixture
def ax() -> Axes:
    """Axes of a figure that nobody shows."""
    return Figure().add_subplot()


@pytest.fixture(autouse=True, scope="module")
def no_display() -> Iterator[None]:
    """Figures of pyplot are drawn in memory, and closed."""
    mpl.use("agg")
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def title(axes: Axes) -> str:
    """The finding, in one line."""
    return str(axes.get_title(loc="left")).replace("\n", " ")


def texts(axes: Axes) -> list[str]:
    """Everything that is written into the axes."""
    return [text.get_text() for text in axes.texts]


def points(line: Any) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Where a line goes, in data."""
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def verticals(axes: Axes, shade: str) -> set[float]:
    """Where lines of one colour go straight up, in data."""
    steps = [points(line)[0] for line in axes.lines if to_hex(line.get_color()) == shade]
    return {float(at) for x in steps for at, after in pairwise(x) if at == after}


def horizontals(axes: Axes, shade: str) -> set[float]:
    """Heights of level lines of one colour."""
    lines = [points(line)[1] for line in axes.lines if to_hex(line.get_color()) == shade]
    return {float(y[0]) for y in lines if len(y) == 2 and y[0] == y[1]}


@pytest.mark.parametrize("draw", OF_PLAN.values(), ids=OF_PLAN)
def test_figure_is_drawn_on_the_given_axes_with_a_finding_and_named_axes(draw: Callable[..., Axes], ax: Axes) -> None:
    from matplotlib import pyplot as plt

    before, opened = dict(mpl.rcParams), plt.get_fignums()
    assert draw(example_plan(), ax=ax) is ax
    assert len(title(ax)) > 20
    assert ax.get_xlabel()
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    assert dict(mpl.rcParams) == before, "the style must not outlive the figure"
    assert plt.get_fignums() == opened, "given axes need no pyplot"


def test_figure_without_axes_is_one_that_a_notebook_shows() -> None:
    from matplotlib import pyplot as plt

    axes = plots.ccdf(example_plan())
    assert axes.figure is plt.gcf()


def test_import_draws_nothing_and_does_not_load_pyplot() -> None:
    code = "import sys; from sim import plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_part_and_station_has_a_colour_of_its_own() -> None:
    own = {component.name: component.colour for component in components()}
    assert len({*own.values(), *OTHERS, GREY}) == len(own) + len(OTHERS) + 1
    for name, shade in own.items():
        assert colour(f"{name}_queue_ms") == colour(f"{name}_ms") == colour(name) == shade
    assert colour(UNATTRIBUTED) == GREY


def test_instance_of_another_name_has_the_same_colour_wherever_it_stands() -> None:
    late = {"share": 1.0, "steps": ["archive.read"]}
    names = load_scenario("launch").with_(**{"system.archive": {"like": "d1"}, "routes.late": late}).time_columns
    assert {colour(name) for name in names if name.startswith("archive")} == {colour("archive")}
    assert colour("archive") in OTHERS


# Latency.


def test_ccdf_names_the_p99_of_the_simulations_and_the_share_beyond_the_target(ax: Axes) -> None:
    plan = example_plan()
    p99 = next(row for row in plan.targets if row.statistic == "p99")
    beyond = float(np.mean(np.concatenate(latencies(plan.simulated)) > p99.target))
    plots.ccdf(plan, ax=ax)
    assert title(ax).startswith(f"P99 is {significant(p99.value)} ms, ")
    assert ("within" if p99.value <= p99.target else "beyond") in title(ax)
    assert f": {percent(beyond)} of simulated requests" in title(ax)


def test_ccdf_draws_the_corners_of_target_and_alert(ax: Axes) -> None:
    plots.ccdf(example_plan(), ax=ax)
    assert {50.0, 200.0} <= verticals(ax, TARGET)
    assert {100.0, 500.0} <= verticals(ax, ALERT)
    assert {"P50 target\n50 ms", "P99 target\n200 ms", "P99 alert\n500 ms", "measured", "simulated"} <= set(texts(ax))


def test_ccdf_dots_are_the_measured_percentiles(ax: Axes) -> None:
    plan = example_plan()
    assert plan.measured is not None
    plots.ccdf(plan, ax=ax)
    dots = next(line for line in ax.lines if to_hex(line.get_color()) == MEASURED)
    latency_ms = np.concatenate(latencies([plan.measured]))
    for at, share in zip(*points(dots), strict=True):
        assert np.mean(latency_ms > at) <= share <= np.mean(latency_ms >= at) + 1e-9


def test_ccdf_of_failures_ends_where_only_failures_are_slower(ax: Axes) -> None:
    outcome = ["error" if request % 10 == 0 else "ok" for request in range(2_000)]
    run = frames.result(frames.frame(np.linspace(10, 100, 2_000), outcome=outcome), on="simpy")
    plots.ccdf(run, ax=ax)
    curve = max((points(line)[1] for line in ax.lines), key=len)
    assert 0.1 - 1e-9 <= curve.min() < 0.2
    assert title(ax) == "10 % of simulated requests fail, so P99 has no bound and misses its target"


def test_ccdf_takes_a_result_and_names_what_it_was_played_on(ax: Axes) -> None:
    plots.ccdf(replace(example_plan().simulated[0], on="workerd"), ax=ax)
    assert "on workerd" in texts(ax)


def test_latency_over_time_counts_the_windows_that_keep_the_target(ax: Axes) -> None:
    latency_ms = np.full(2_000, 40.0)
    latency_ms[500:600] = 900.0  # A tenth of a second in the first of two windows.
    run = frames.result(frames.frame(latency_ms))
    plots.over_time(run, ax=ax)
    assert title(ax) == "P99 is within 200 ms in 1 of 2 windows of 1 s"
    assert {50.0, 200.0} <= horizontals(ax, TARGET)
    assert {100.0, 500.0} <= horizontals(ax, ALERT)


def test_latency_over_time_does_not_judge_the_warm_up(ax: Axes) -> None:
    latency_ms = np.where(np.arange(3_000) < 1_000, 900.0, 40.0)
    run = frames.result(frames.frame(latency_ms), warm_up_ms=1_000.0)
    plots.over_time(run, ax=ax)
    assert title(ax) == "P99 is within 200 ms in 2 of 2 windows of 1 s after the warm-up"


# Load and stations.


def test_load_names_what_breaks_at_the_capacity_and_how_far_that_is_from_today(ax: Axes) -> None:
    plan = example_plan()
    plots.latency_against_load(plan, ax=ax)
    times = significant(CAPACITY_PER_S / load_per_s(plan))
    assert title(ax) == f"P99 crosses 200 ms at 1,234 requests/s, {times} times today's load"
    assert {CAPACITY_PER_S} <= {float(points(line)[0][0]) for line in ax.lines}
    assert "capacity 1,234/s\n[1,100, 1,400]" in texts(ax)
    assert "knee 1,100/s" in texts(ax)
    assert {50.0, 200.0} <= horizontals(ax, TARGET)


@pytest.mark.parametrize(
    ("limited_by", "told"),
    [
        (("overload",), "D1 is overloaded beyond 1,234 requests/s"),
        (("d1_query_ms p99",), "D1 query P99 misses its target at 1,234 requests/s"),
        (("api_latency_ms p50", "api_latency_ms p99"), "P50 crosses 50 ms and P99 crosses 200 ms at 1,234"),
    ],
)
def test_load_tells_overload_and_other_targets_apart(limited_by: tuple[str, ...], told: str, ax: Axes) -> None:
    plan = replace(example_plan(), capacity=example_capacity(limited_by=limited_by))
    assert told in title(plots.latency_against_load(plan, ax=ax))


def test_load_draws_every_probe(ax: Axes) -> None:
    plots.latency_against_load(example_plan(), ax=ax)
    p99 = next(line for line in ax.lines if points(line)[1].tolist()[:2] == [130, 180])
    assert points(p99)[0].tolist() == [100, 1_200, 2_000]


def test_utilization_lists_the_stations_from_the_busiest_down(ax: Axes) -> None:
    plots.utilization_against_load(example_plan(), ax=ax)
    assert title(ax) == "The busiest station at the capacity is D1 50 %; then Workers 25 %"
    assert [text for text in texts(ax) if text in ("D1", "Workers")] == ["D1", "Workers"]


def test_stations_show_the_measurement_only_at_the_same_load(ax: Axes) -> None:
    plan = example_plan()
    assert plan.measured is not None
    plots.stations(plan, ax=ax)
    busiest = max(float(run.stations["utilization_busiest"].max()) for run in plan.simulated)
    assert max(bar.get_width() for bar in ax.patches) <= busiest + 1e-12  # type: ignore[attr-defined]  # bars are the only patches
    assert any(to_hex(line.get_color()) == MEASURED for line in ax.lines)
    faster = replace(plan.measured, frame=plan.measured.frame.assign(arrival_ms=plan.measured.frame["arrival_ms"] / 9))
    other = Figure().add_subplot()
    plots.stations(replace(plan, measured=faster), ax=other)
    assert not other.lines


# Parts.


@pytest.mark.parametrize("statistic", ["p50", "p99"])
def test_waterfall_falls_from_nothing_to_the_whole_latency(statistic: str, ax: Axes) -> None:
    plan = example_plan()
    table = waterfall(plan.simulated)
    total_ms = float(table[f"{statistic}_ms"].sum())
    plots.waterfall(plan, statistic, ax=ax)
    bars: list[Any] = list(ax.patches)
    assert bars[0].get_x() == 0
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(total_ms, rel=0.01)
    assert f"takes {significant(total_ms)} ms" in title(ax)
    assert title(ax).endswith(percent(float(table[f"{statistic}_ms"].max()) / total_ms))


def test_waterfall_beside_a_measurement_names_both_sums(ax: Axes) -> None:
    plan = example_plan()
    assert plan.measured is not None
    plots.waterfall(plan.simulated_window, "p50", beside=plan.measured, ax=ax)
    sums = [significant(float(waterfall(side)["p50_ms"].sum())) for side in (plan.simulated_window, [plan.measured])]
    assert f"{sums[0]} ms simulated, {sums[1]} ms measured" in title(ax)


def test_waterfall_of_another_statistic_is_refused(ax: Axes) -> None:
    with pytest.raises(UsageError, match="statistic='p90' must be p50 or p99"):
        plots.waterfall(example_plan(), "p90", ax=ax)


# Comparison, sensitivity, cost, demand.


def test_comparison_alone_is_drawn_as_that_of_its_plan(ax: Axes) -> None:
    plan = example_plan()
    assert plan.comparison is not None
    plots.qq(plan.comparison, ax=ax)
    whole = Figure().subplots(1, 2)
    assert title(plots.qq(plan, ax=whole[0])) == title(ax)
    assert "are not settled by this run" in title(plots.errors(plan.comparison, ax=whole[1]))


def test_qq_dots_are_the_comparison_and_the_title_its_largest_gap(ax: Axes) -> None:
    plan = example_plan()
    assert plan.comparison is not None
    simulated, measured = plan.comparison.qq_ms
    plots.qq(plan, ax=ax)
    dots = next(line for line in ax.lines if to_hex(line.get_color()) == MEASURED)
    assert points(dots)[0].tolist() == measured.tolist()
    assert points(dots)[1].tolist() == simulated.tolist()
    assert f"at most {percent(float(np.abs(simulated / measured - 1).max()))} apart" in title(ax)


def test_errors_count_agreement_and_end_unbounded_intervals_in_an_arrow(ax: Axes) -> None:
    plan = example_plan()
    assert plan.comparison is not None
    rows = [row for row in plan.comparison.rows if np.isfinite(row.relative_error)]
    unbounded = sum(not np.isfinite(row.high) for row in rows)
    plots.errors(plan, ax=ax)
    settled = {verdict: sum(row.verdict == verdict for row in rows) for verdict in Agreement}
    counted = [settled[verdict] for verdict in (Agreement.AGREES, Agreement.NOT_SETTLED, Agreement.DIFFERS)]
    assert title(ax) == "{} agree, {} are not settled by this run, {} disagree".format(*counted)
    assert unbounded > 0
    assert sum(line.get_marker() == ">" for line in ax.lines) >= unbounded


def test_errors_name_what_differs(ax: Axes) -> None:
    plan = example_plan()
    assert plan.comparison is not None
    rows = [replace(row, verdict=Agreement.AGREES) for row in plan.comparison.rows]
    rows[0] = replace(rows[0], verdict=Agreement.DIFFERS)
    plots.errors(replace(plan, comparison=replace(plan.comparison, rows=tuple(rows))), ax=ax)
    assert title(ax).endswith("1 disagree: API latency P50")


def test_tornado_shows_ten_numbers_and_names_the_first(ax: Axes) -> None:
    plan = example_plan()
    plots.tornado(plan, ax=ax)
    assert len(ax.get_yticks()) == 10
    first = plan.sensitivity[0]
    assert title(ax) == (
        f"A quarter more or less of {first.source.path.removeprefix('system.')} moves the P99 by 20 %, more than any "
        "other"
    )
    bars: list[Any] = list(ax.patches)
    assert [bars[0].get_width(), bars[1].get_width()] == pytest.approx([-0.2 / 3, 0.2])


def test_cost_bars_add_up_to_the_month(ax: Axes) -> None:
    plan = example_plan()
    assert plan.cost is not None
    plots.cost(plan, ax=ax)
    bars: list[Any] = list(ax.patches)
    assert sum(bar.get_width() for bar in bars) == pytest.approx(plan.cost.month_usd)
    assert title(ax).startswith(f"A month costs {usd(plan.cost.month_usd)}, ")


def test_arrivals_are_counted_and_the_live_part_is_found(ax: Axes) -> None:
    plan = example_plan()
    frame = plan.simulated[0].frame
    plots.arrivals(plan, ax=ax)
    per_s = np.histogram(frame["arrival_ms"] / 1000, np.arange(0, 42))[0]
    assert title(ax).startswith(f"{len(frame):,} requests come at ")
    assert f"{significant(float(per_s.max()))}/s in the busiest second" in title(ax)
    assert any("played at its own pace" in text for text in texts(ax))


def test_live_part_is_that_stretch_of_the_schedule() -> None:
    plan = example_plan()
    part = live_part(plan)
    assert part is not None
    assert plan.measured is not None
    assert len(part) == len(plan.measured.frame)
    assert part["arrival_ms"].min() >= 5_000
    for column in ("key", "size_bytes"):
        assert part[column].tolist() == plan.measured.frame[column].tolist()
    gaps = [np.diff(side["arrival_ms"]) for side in (part, plan.measured.frame)]
    pace = gaps[0] / gaps[1]
    assert pace == pytest.approx(np.full_like(pace, pace[0])), "stretched or compressed as a whole"


NOTHING = replace(
    example_plan(), simulated=(), measured=None, simulated_window=(), comparison=None, capacity=None, cost=None,
    sensitivity=(),
)  # fmt: skip


@pytest.mark.parametrize("draw", OF_PLAN.values(), ids=OF_PLAN)
def test_missing_part_is_refused_in_one_sentence(draw: Callable[..., Axes], ax: Axes) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]{10,}$"):
        draw(NOTHING, ax=ax)


def test_missing_capacity_is_told_in_the_words_of_the_plan(ax: Axes) -> None:
    plan: Plan = replace(example_plan(), capacity=None, notes=("no capacity: its users set the rate",))
    with pytest.raises(UsageError, match="no capacity: its users set the rate"):
        plots.latency_against_load(plan, ax=ax)
