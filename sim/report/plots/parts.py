"""Where the time of a typical request goes, and that of a slow one, component by component."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.report.plots.sides import Source, sides
from sim.report.plots.style import INK, MEASURED, MUTED, canvas, colour, finding
from sim.report.wording import component_name, percent, significant
from sim.results.breakdown import waterfall as parts_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sim.results.result import Result

WHOSE = {"p50": "A typical request (around the P50)", "p99": "A slow request (beyond the P99)"}

SMALL_SHARE = 0.004
"""Parts smaller than this share of both sides are left out of the picture, not out of the sums."""


def waterfall(
    source: Source, statistic: str = "p50", *, beside: "Result | None" = None, ax: "Axes | None" = None
) -> "Axes":
    """Mean time in each part of the way, of typical (``p50``) or of slow (``p99``) requests, one after the other.

    Parameters
    ----------
    source : Plan, Result or sequence of Result
        Drawn as bars.
    statistic : {"p50", "p99"}
    beside : Result, optional
        A measurement, drawn as thin bars below them.
    ax : Axes, optional

    Raises
    ------
    UsageError
        Nothing was run, or another statistic.
    """
    if statistic not in WHOSE:
        raise UsageError(f"statistic={statistic!r} must be p50 or p99")
    table = _parts(sides(source).runs, beside, statistic)
    shown = (table / table.sum()).max(axis=1) >= SMALL_SHARE
    places = np.arange(shown.sum())
    with canvas(ax, height_in=0.9 + 0.3 * len(places)) as axes:
        if beside is None:
            _falling(axes, table["ours"], shown, places, height=0.62)
        else:
            _falling(axes, table["ours"], shown, places - 0.2, height=0.42)
            _falling(axes, table["theirs"], shown, places + 0.24, height=0.26, measured=True)
        axes.set_yticks(places, [component_name(str(part)) for part in table.index[shown]])
        axes.set_ylim(len(places) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
        axes.set_xlim(left=0)
        axes.set_xlabel("time since arrival, ms")
        finding(axes, _finding(table, statistic, compared=beside is not None))
    return axes


def _parts(runs: "Sequence[Result]", beside: "Result | None", statistic: str) -> "pd.DataFrame":
    """Milliseconds by part, in the order of the way, of both sides."""
    import pandas as pd

    column = f"{statistic}_ms"
    ours = parts_of(runs).set_index("part")[column]
    theirs = parts_of([beside]).set_index("part")[column] if beside is not None else ours
    if ours.empty or theirs.empty:
        raise UsageError("no request succeeded, so there is no time to divide")
    order = [*ours.index, *(part for part in theirs.index if part not in ours.index)]
    return pd.DataFrame({"ours": ours, "theirs": theirs}).reindex(order).fillna(0.0)


def _falling(
    axes: "Axes",
    spent_ms: "pd.Series[float]",
    shown: "pd.Series[bool]",
    places: NDArray[Any],
    *,
    height: float,
    measured: bool = False,
) -> None:
    """Bars that each begin where the one before ends; waiting is hatched."""
    ends = spent_ms.cumsum()[shown]
    spent_ms = spent_ms[shown]
    bars = axes.barh(
        places, spent_ms.to_numpy(), left=(ends - spent_ms).to_numpy(), height=height, alpha=0.55 if measured else 1.0,
        color=[colour(str(part)) for part in spent_ms.index],
    )  # fmt: skip
    for bar, part in zip(bars, spent_ms.index, strict=True):
        if str(part).endswith("_queue_ms"):
            bar.set_hatch("////")
    for place, end, value in zip(places, ends, spent_ms, strict=True):
        if value:
            axes.annotate(
                significant(value), (end, float(place)), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=7.5 if measured else 8.5, color=MEASURED if measured else INK,
            )  # fmt: skip
    if not measured:
        for place, end in zip(places[:-1], ends.iloc[:-1], strict=True):
            axes.plot([end, end], [place, place + 1], color=MUTED, linewidth=0.6, zorder=1)


def _finding(table: "pd.DataFrame", statistic: str, *, compared: bool) -> str:
    """The sum, and the largest part or the largest difference."""
    ours_ms, theirs_ms = (float(table[side].sum()) for side in ("ours", "theirs"))
    if not compared:
        largest, share = component_name(str(table["ours"].idxmax())), percent(float(table["ours"].max()) / ours_ms)
        return f"{WHOSE[statistic]} takes {significant(ours_ms)} ms; {largest} is the largest part, {share}"
    apart = (table["ours"] - table["theirs"]).abs()
    return (
        f"{WHOSE[statistic]}: {significant(ours_ms)} ms simulated, {significant(theirs_ms)} ms measured; "
        f"most apart in {component_name(str(apart.idxmax()))}, by {significant(float(apart.max()))} ms"
    )
