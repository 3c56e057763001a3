"""Latency of requests: how many are slower than what, and when they were."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.judgement.targets import Target
from sim.report.plots.sides import Source, latencies, latency_targets, sides
from sim.report.plots.style import ALERT, BEHIND, INK, MEASURED, TARGET, canvas, finding, plain_log, reference_line
from sim.report.wording import percent, significant
from sim.results.metrics import probability
from sim.results.phases import spans_of
from sim.statistics.quantiles import quantile_interval, quantiles, replicated_quantile_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.results.result import Result
    from sim.statistics.intervals import Estimate

Array = NDArray[np.float64]

SHARES_PER_DECADE = 8
"""Points of a curve: enough for its bends."""

BEYOND_MIN = 10
"""A curve ends where fewer requests than this are slower: too few to estimate the tail beyond."""

CLEAR_OF = 1.4
"""A curve that ends further right by this factor leaves room for its name there."""

CORNERS_PT = 46.0
"""Room below the title of the names of targets and alert lines, in points."""

WINDOWS_MAX = 60
WINDOW_LENGTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400)
"""Lengths that a reader has a feeling for; the shortest that cuts the run into few enough windows is taken."""

WINDOW_REQUESTS_MIN = 100
"""A P99 of fewer has no meaning: not even one request lies beyond it."""

MAP_ROWS = 60


def ccdf(source: Source, *, ax: "Axes | None" = None) -> "Axes":
    """The share of requests that are slower than x, on logarithmic axes, with target and alert lines.

    The curve must pass below and to the left of each line's corner. Bands are 95 % intervals of x.

    Raises
    ------
    UsageError
        Nothing was run.
    """
    found = sides(source)
    ours = latencies(found.runs)
    with canvas(ax) as axes:
        plain_log(axes, "x")
        axes.set_yscale("log")
        _curve(axes, ours, label=found.name, shade=INK)
        if found.simulated_window:
            _dashed(axes, latencies(found.simulated_window), beside=np.concatenate(ours))
        if found.measured is not None:
            _curve(axes, latencies([found.measured]), label="measured", shade=MEASURED, dots=True)
        targets = latency_targets(found.runs[0].scenario)
        axes.set_ylim(top=1.0)
        for kind in ("target", "alert"):
            _corners(axes, targets, kind)
        plain_log(axes, "x")
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("share of requests that are slower")
        _percent_axis(axes)
        finding(axes, _tail_finding(ours, targets, name=found.name), pad=CORNERS_PT if targets else None)
    return axes


def _percent_axis(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.12g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _curve(axes: "Axes", samples: Sequence[Array], *, label: str, shade: str, dots: bool = False) -> None:
    """One side: its percentiles, and the 95 % interval of each."""
    n = sum(len(values) for values in samples)
    share = _shares(n)
    found = [_interval(samples, 1 - slower) for slower in share]
    value, low, high = (np.array([getattr(one, name) for one in found]) for name in ("value", "low", "high"))
    shown = np.isfinite(value)
    if not shown.any():
        return
    right = 1.3 * float(value[shown].max())
    axes.fill_betweenx(
        share[shown], np.maximum(low, value.min() / 2)[shown], np.minimum(high, right)[shown],
        color=shade, alpha=0.15, linewidth=0,
    )  # fmt: skip
    mark: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.2} if dots else {}
    axes.plot(value[shown], share[shown], color=shade, zorder=4 if dots else 3, **mark)
    axes.annotate(
        label, (value[shown][-1], share[shown][-1]), xytext=(6, 0), textcoords="offset points",
        color=shade, va="center", fontsize=9, fontweight="bold", bbox=BEHIND,
    )  # fmt: skip


def _dashed(axes: "Axes", samples: Sequence[Array], *, beside: Array) -> None:
    """The model on exactly what was measured: cut short and slowed down or sped up as that was."""
    pooled = np.concatenate(samples)
    share = _shares(len(pooled))
    value = quantiles(pooled, [1 - slower for slower in share])
    shown = np.isfinite(value)
    if not shown.any():
        return
    value, share = value[shown], share[shown]
    axes.plot(value, share, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    left = value[-1] < CLEAR_OF * quantiles(beside, [1 - share[-1]])[0]
    axes.annotate(
        "the measured part,\nsimulated", (value[-1], share[-1]), xytext=(-6 if left else 6, 0),
        textcoords="offset points", ha="right" if left else "left", va="top" if left else "center", fontsize=8,
    )  # fmt: skip


def _shares(n: int) -> Array:
    """Shares of slower requests at which a curve of *n* requests is read."""
    least = min(BEYOND_MIN / max(n, 1), 0.5)
    count = max(2, int(SHARES_PER_DECADE * np.log10(0.95 / least)) + 1)
    return np.geomspace(0.95, least, count)


def _interval(samples: Sequence[Array], share: float) -> "Estimate":
    if len(samples) == 1:
        return quantile_interval(samples[0], share)
    return replicated_quantile_interval(samples, share)


def _corners(axes: "Axes", targets: Sequence[Target], kind: str) -> None:
    """One line of all percentiles, as the stair that the curve must stay left of and below, named above the picture."""
    shade, style = (TARGET, "-") if kind == "target" else (ALERT, (0, (5, 2)))
    across, up = [], []
    least = 1.0
    for line in sorted(targets, key=lambda line: getattr(line, kind)):
        value, slower = getattr(line, kind), 1 - probability(line.statistic)
        if slower >= least:
            continue
        across += [value, value]
        up += [least, slower]
        least = slower
        axes.annotate(
            f"{line.statistic.upper()} {kind}\n{value:g} ms", (value, 1.0), xycoords=("data", "axes fraction"),
            xytext=(0, 3 if kind == "target" else 24), textcoords="offset points", color=shade, ha="center",
            fontsize=7.5, annotation_clip=False,
        )  # fmt: skip
    if across:
        right = max(axes.get_xlim()[1], 1.5 * across[-1])
        axes.plot([*across, right], [*up, least], color=shade, linewidth=1.1, linestyle=style)
        axes.set_xlim(right=right)


def _tail_finding(samples: Sequence[Array], targets: Sequence[Target], *, name: str) -> str:
    """The last percentile that has a target, and how it compares."""
    if not targets:
        p50, p99 = (_interval(samples, share).value for share in (0.5, 0.99))
        return f"Half of the requests are slower than {significant(p50)} ms, 1 % slower than {significant(p99)} ms"
    line = targets[-1]
    value = _interval(samples, probability(line.statistic)).value
    pooled = np.concatenate(samples)
    if not np.isfinite(value):
        failed = percent(float(np.mean(np.isinf(pooled))))
        return f"{failed} of {name} requests fail, so {line.statistic.upper()} has no bound and misses its target"
    slower = float(np.mean(pooled > line.target))
    side = "within" if value <= line.target else "beyond"
    return (
        f"{line.statistic.upper()} is {significant(value)} ms, {side} its target of {line.target:g} ms: "
        f"{percent(slower)} of {name} requests are slower"
    )


def over_time(source: Source, *, ax: "Axes | None" = None) -> "Axes":
    """Latency against the time of arrival: every request as a shade, P50 and P99 of each window as lines.

    Raises
    ------
    UsageError
        Nothing was run.
    """
    run = next(run for run in sides(source).runs if len(run.frame))
    judged = run.frame[~run.frame["outcome"].isin(("skipped", "aborted"))].sort_values("arrival_ms")
    arrival_s, latency_ms = judged["arrival_ms"].to_numpy() / 1000, judged["latency_ms"].to_numpy(dtype=float)
    latency_ms = np.where(judged["outcome"].isin(("ok", "timeout")), latency_ms, np.inf)
    with canvas(ax) as axes:
        axes.set_yscale("log")
        _heat(axes, arrival_s, latency_ms)
        edges, p50, p99 = _windows(arrival_s, latency_ms)
        for name, value in (("P50", p50), ("P99", p99)):
            axes.stairs(value, edges, baseline=None, color=INK, linewidth=1.4)
            _line_end(axes, name, arrival_s[-1], value)
        targets = latency_targets(run.scenario)
        for line in targets:
            reference_line(axes, line.target, text=f"{line.statistic.upper()} target {line.target:g} ms", kind="target")
            reference_line(axes, line.alert, text=f"{line.statistic.upper()} alert {line.alert:g} ms", kind="alert")
        if run.warm_up_ms:
            axes.axvspan(0, run.warm_up_ms / 1000, color=INK, alpha=0.06, linewidth=0)
            axes.annotate("warm-up", (0, 0), xycoords=("data", "axes fraction"), xytext=(4, 4),
                          textcoords="offset points", fontsize=8, bbox=BEHIND)  # fmt: skip
        _faults(axes, run)
        plain_log(axes, "y")
        axes.set_xlim(0, arrival_s[-1])
        axes.set_xlabel("time of arrival, s")
        axes.set_ylabel("latency, ms")
        finding(axes, _time_finding(p99, edges, targets, warm_up_s=run.warm_up_ms / 1000))
    return axes


def _faults(axes: "Axes", run: "Result") -> None:
    """Shade the windows of faults, and name each kind once; a deploy is a line."""
    named: set[str] = set()
    for span in spans_of(run):
        start_s, end_s = span.start_ms / 1000, span.end_ms / 1000
        if end_s > start_s:
            axes.axvspan(start_s, end_s, color=ALERT, alpha=0.12, linewidth=0, zorder=0)
        else:
            axes.axvline(start_s, color=ALERT, linewidth=1.0, linestyle=(0, (2, 2)), zorder=2)
        if span.name not in named:
            axes.annotate(span.name, (start_s, 0.02 + 0.06 * len(named)), xycoords=("data", "axes fraction"),
                          xytext=(3, 0), textcoords="offset points", fontsize=8, color=ALERT, bbox=BEHIND)  # fmt: skip
        named.add(span.name)


def _heat(axes: "Axes", arrival_s: Array, latency_ms: Array) -> None:
    """Counts of requests on a grid of time and latency, one shade darker each time they multiply."""
    from matplotlib.colors import LinearSegmentedColormap

    shown = np.isfinite(latency_ms) & (latency_ms > 0)
    if not shown.any():
        return
    low, high = float(latency_ms[shown].min()), float(latency_ms[shown].max())
    rows = np.geomspace(low * 0.95, high * 1.05, MAP_ROWS + 1)
    columns = np.linspace(0, max(float(arrival_s.max()), 1e-3), 2 * WINDOWS_MAX + 1)
    counts, _, _ = np.histogram2d(arrival_s[shown], latency_ms[shown], bins=[columns, rows])
    shade = LinearSegmentedColormap.from_list("shade", [(0.34, 0.71, 0.91, 0.0), (0.0, 0.45, 0.7, 0.85)])
    axes.pcolormesh(columns, rows, np.log1p(counts.T), cmap=shade, rasterized=True, zorder=1)


def _windows(arrival_s: Array, latency_ms: Array) -> tuple[Array, Array, Array]:
    """Edges of windows of equal length, and P50 and P99 of the requests that arrived in each; NaN for too few."""
    span_s = max(float(arrival_s[-1]), 1e-3)
    length_s = next((length for length in WINDOW_LENGTHS_S if span_s / length <= WINDOWS_MAX), span_s / WINDOWS_MAX)
    edges = np.arange(0.0, span_s + length_s, length_s)
    parts = np.split(latency_ms, np.searchsorted(arrival_s, edges[1:-1]))
    found = [quantiles(part, [0.5, 0.99]) if len(part) >= WINDOW_REQUESTS_MIN else np.full(2, np.nan) for part in parts]
    p50, p99 = np.array(found).T
    return edges, p50, p99


def _line_end(axes: "Axes", name: str, at: float, values: Array) -> None:
    finite = values[np.isfinite(values)]
    if len(finite):
        axes.annotate(
            name, (at, finite[-1]), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=9, fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _time_finding(p99: Array, edges: Array, targets: Sequence[Target], *, warm_up_s: float) -> str:
    """In how many windows the P99 kept its target."""
    judged = p99[edges[:-1] >= warm_up_s]
    judged = judged[~np.isnan(judged)]
    line = next((line for line in targets if line.statistic == "p99"), None)
    length = f"{edges[1] - edges[0]:g} s"
    if line is None or not len(judged):
        return f"P50 and P99 of latency in windows of {length}"
    kept, after = int((judged <= line.target).sum()), " after the warm-up" if warm_up_s else ""
    return f"P99 is within {line.target:g} ms in {kept} of {len(judged)} windows of {length}{after}"
