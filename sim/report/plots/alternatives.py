"""Alternatives beside each other: a value of each with its interval, alone or over another number.

A table holds the interval of a column ``p99`` in ``p99_low`` and ``p99_high``, or of ``p99_ms`` in ``p99_low_ms`` and
``p99_high_ms``, as those of :func:`sim.sweep` and :func:`sim.by_route` do; without them no interval is drawn.
"""

from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sim.foundation.errors import UsageError
from sim.models.registry import components
from sim.report.plots.style import INK, OTHERS, canvas, colour, finding, plain_log, reference_line
from sim.report.wording import significant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MARKERS = "osD^v*"
END_GAP = 0.065
"""Least distance between two names at the ends of lines, as a share of the height."""
DECADES_RATIO = 50.0
"""A logarithmic axis over a wider range names its decades alone."""

Scale = Literal["", "x", "y", "xy"]


def alternatives(
    table: "pd.DataFrame", value: str, *, label: str, title: str, log: bool = False, ax: "Axes | None" = None
) -> "Axes":
    """Draw *value* of each row as a dot with its interval; the index of the table names the rows.

    Parameters
    ----------
    table : DataFrame
    value : str
        A column.
    label, title : str
        What the axis counts, with its unit; what the figure shows.
    log : bool
        Whether the axis is logarithmic; all values must then be positive.
    ax : Axes, optional

    Raises
    ------
    UsageError
        The table has no row or no such column.
    """
    _check(table, value)
    names, shades = [str(name) for name in table.index], _shades([str(name) for name in table.index])
    low, high = _interval(table, value)
    with canvas(ax, height_in=1.1 + 0.34 * len(names)) as axes:
        for place, name in enumerate(names):
            middle = float(table[value].iloc[place])
            axes.plot([low[place], high[place]], [place, place], color=shades[name], linewidth=2.4)
            axes.plot(middle, place, "o", color=shades[name], markersize=6)
            axes.annotate(
                significant(middle), (max(high[place], middle), place), xytext=(7, 0), textcoords="offset points",
                va="center", color=INK,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
        if log:
            plain_log(axes, "x")
        else:
            axes.set_xlim(left=min(0.0, float(low.min())))
        axes.set_xlabel(label)
        finding(axes, title)
    return axes


def alternatives_over(
    table: "pd.DataFrame",
    value: str,
    *,
    x: str,
    by: str,
    labels: tuple[str, str],
    title: str,
    log: Scale = "",
    target: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw *value* over *x*, a line with a band for each of *by*.

    Parameters
    ----------
    table : DataFrame
        A row for each of *by* at each *x*.
    value, x, by : str
        Columns.
    labels : tuple of str
        What the axes count, with their units: that of *x*, that of *value*.
    title : str
        What the figure shows.
    log : str
        Axes that are logarithmic: ``""``, ``"x"``, ``"y"`` or ``"xy"``. What is not positive is not drawn on one.
    target : float, optional
        Of *value*, drawn as a line.
    ax : Axes, optional

    Raises
    ------
    UsageError
        The table has no row or lacks a column.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator

    _check(table, value, x, by)
    names = [str(name) for name in table[by].unique()]
    shades, markers, ends = _shades(names), cycle(MARKERS), {}
    with canvas(ax) as axes:
        for layer, name in enumerate(names):
            rows = table[table[by].astype(str) == name].sort_values(x)
            at, middle = rows[x].to_numpy(dtype=np.float64), rows[value].to_numpy(dtype=np.float64)
            low, high = _interval(rows, value)
            axes.fill_between(at, low, high, color=shades[name], alpha=0.2, linewidth=0)
            # Wide below and narrow above, so that lines which coincide are all seen.
            width = 1.5 + 0.9 * (len(names) - 1 - layer)
            shape: Any = {"linewidth": width, "marker": next(markers), "markersize": 3.5 + width, "label": name}
            axes.plot(at, middle, color=shades[name], **shape)
            ends[name] = float(middle[np.isfinite(middle)][-1]) if np.isfinite(middle).any() else np.nan
        for which in log:
            plain_log(axes, which)
        if "x" in log and table[x].max() > DECADES_RATIO * table[x].min():
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0,)))
        if "y" not in log:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        if "x" not in log and (table[x] % 1 == 0).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if target is not None:
            reference_line(axes, target, text=f"target {target:g}", kind="target")
        _name_ends(axes, {name: end for name, end in ends.items() if np.isfinite(end)}, shades=shades)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        finding(axes, title)
    return axes


def _name_ends(axes: "Axes", ends: dict[str, float], *, shades: dict[str, str]) -> None:
    """Write each line's name beside its end, right of the axes; names of near ends are moved apart."""
    place = axes.transData + axes.transAxes.inverted()
    heights = {name: float(place.transform((axes.get_xlim()[1], end))[1]) for name, end in ends.items()}
    order = sorted(heights, key=lambda name: heights[name])
    up, floor = {}, -np.inf
    for name in order:
        floor = up[name] = max(heights[name], floor + END_GAP)
    # Apart, but as near to their ends as before on average, and none above the axes.
    shift = np.mean([up[name] - heights[name] for name in order]) if order else 0.0
    shift = max(float(shift), max(up.values(), default=0.0) - 1.0)
    for name in order:
        axes.annotate(
            name, (1.0, up[name] - shift), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points",
            va="center", color=shades[name], fontweight="bold", fontsize=8.5, annotation_clip=False,
        )  # fmt: skip


def _check(table: "pd.DataFrame", *columns: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(f"table must have the column {missing[0]!r}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise UsageError("table must have a row: there is nothing to draw")


def _interval(table: "pd.DataFrame", value: str) -> "tuple[np.ndarray, np.ndarray]":
    """Return the ends of the interval of each row, shape (rows,) each; the value itself where there are none."""
    stem, _, unit = value.rpartition("_")

    def end(which: str) -> np.ndarray:
        names = (f"{value}_{which}", f"{stem}_{which}_{unit}", value)
        return next(table[name] for name in names if name in table).to_numpy(dtype=np.float64)

    return end("low"), end("high")


def _shades(names: list[str]) -> dict[str, str]:
    """Return a colour for each name: a component's own, and for the others one that no neighbour has."""
    known = {component.name: component.label for component in components()}
    labels = {label: name for name, label in known.items()}
    free = iter(cycle((INK, *OTHERS)))
    return {name: colour(labels.get(name, name)) if name in known or name in labels else next(free) for name in names}
