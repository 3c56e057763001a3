"""The figures of the report: which, in which section, and how each is to be read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim.report import plots
from sim.report.plots.latency import WINDOW_REQUESTS_MIN
from sim.report.sentences import measured_of
from sim.report.svg import Figure, figure, figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.plan import Plan

CAPTIONS = {
    "load": "P50 and P99 of latency against offered load, simulated; each dot is one probe, bands are 95 % intervals. "
    "Green: the capacity and its interval over seeds. Dotted: the knee, where throughput over mean latency is "
    "greatest.",
    "utilization": "Share of time in which the busiest instance of each station works. The first to reach "
    "100 % bounds the load; waits grow long well before, and sooner at one server than at several that are busier.",
    "ccdf": "Each point gives the share of requests that are slower than a latency. The curve must stay left of and "
    "below each corner. Bands are 95 % intervals.",
    "ccdf measured": "Each point gives the share of requests that are slower than a latency. The curve must stay "
    "left of and below each corner. Bands are 95 % intervals. Dots are measured; the dashed line is the model on the "
    "measured requests alone, which start on cold objects.",
    "time": "One simulation. Darker blue: more requests. The lines are P50 and P99 of each window that holds at least "
    f"{WINDOW_REQUESTS_MIN} requests.",
    "arrivals": "The schedule that every runner plays. Shaded in red: the part that was played in real time.",
    "stations": "Bars: simulated. Dots: measured, where that was at about the same load and the reference reports "
    "busy time.",
    "p50": "Mean time of the requests between the 45th and the 55th percentile, part by part, simulated. Hatched: "
    "waiting.",
    "p99": "Mean time of the slowest 1 % of requests, part by part: what these requests really spent, not the P99 of "
    "each part, which would not add up.",
    "qq": "Each dot is one percentile: measured across, simulated up. On the diagonal both are the same.",
    "errors": "Dot: error of the model. Line: joint 95 % interval. Grey: the tolerance. An arrow: the measured "
    "requests do not bound the percentile on that side.",
    "beside": "The same requests on the model (thick) and on the reference (thin).",
    "cost": "Lines of the monthly bill beyond what the plan includes, at the prices of the platform file.",
    "tornado": "Filled: the number made a quarter larger. Open: made a quarter smaller. Black: the same for the P50. "
    "In brackets: confidence in the number.",
}
"""How to read each figure."""


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn: by what, read how, and how high for its width."""

    name: str
    draw: "Callable[..., Axes]"
    caption: str
    height_ratio: float = 0.61

    def of(self, plan: "Plan") -> Figure:
        """The figure of one plan."""
        return figure(
            lambda axes: self.draw(plan, ax=axes),
            CAPTIONS[self.caption],
            name=self.name,
            height_ratio=self.height_ratio,
        )


def report_figures(plan: "Plan") -> dict[str, list[Figure]]:
    """Every figure of *plan*, by section; what cannot be drawn says why."""
    sections = {
        "headroom": [
            Drawing("load", plots.latency_against_load, "load"),
            Drawing("utilization", plots.utilization_against_load, "utilization"),
        ],
        "latency": [
            Drawing("ccdf", plots.ccdf, "ccdf measured" if measured_of(plan) is not None else "ccdf"),
            Drawing("time", plots.over_time, "time"),
            Drawing("arrivals", plots.arrivals, "arrivals", 0.46),
            Drawing("stations", plots.stations, "stations", 0.46),
        ],
        "parts": [
            Drawing("parts-p50", _parts("p50"), "p50", 0.5),
            Drawing("parts-p99", _parts("p99"), "p99", 0.5),
        ],
        "comparison": [Drawing("qq", plots.qq, "qq", 0.71), Drawing("errors", plots.errors, "errors", 0.71)],
        "cost": [Drawing("cost", plots.cost, "cost", 0.55)],
        "sensitivity": [Drawing("tornado", plots.tornado, "tornado", 0.62)],
    }
    if plan.comparison is not None:
        sections["comparison"] += [
            Drawing("beside-p50", _beside("p50"), "beside", 0.62),
            Drawing("beside-p99", _beside("p99"), "beside", 0.62),
        ]
    return {section: figures([drawing.of(plan) for drawing in drawings]) for section, drawings in sections.items()}


def _parts(statistic: str) -> "Callable[..., Axes]":
    return lambda plan, **options: plots.waterfall(plan, statistic, **options)


def _beside(statistic: str) -> "Callable[..., Axes]":
    """What was measured beside its own simulation, not beside that of the whole schedule."""

    def draw(plan: "Plan", **options: Any) -> "Axes":
        return plots.waterfall(plan.simulated_window, statistic, beside=plan.measured, **options)

    return draw
