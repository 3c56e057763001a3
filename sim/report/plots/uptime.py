"""Uptime of predicted months, and how it hangs on the share of requests that an incident hits."""

from typing import TYPE_CHECKING

import numpy as np

from sim.report.plots.style import ALERT, BEHIND, GREY, INK, TARGET, canvas, finding, plain_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.judgement.availability import Availability

LINES = (0.9999, 0.999)
"""Target and alert line of the brief."""

FIXED_SHARES = (0.001, 0.01, 0.1, 1.0)
FAILED_MIN = 1e-6
"""Left end of the axis, as a share: months without a failure stand there."""


def months(found: "Availability", *, lines: tuple[float, float] = LINES, ax: "Axes | None" = None) -> "Axes":
    """The distribution of the requests lost in predicted months: as assumed, and for fixed shares hit."""
    with canvas(ax) as axes:
        heights = np.linspace(0, 100, found.months.failed_ratio.size)
        for share in FIXED_SHARES:
            lost = _lost(found, share)
            axes.plot(100 * lost, heights, color=GREY, linewidth=1.1)
            axes.annotate(
                f"{100 * share:g} %", (100 * float(np.quantile(lost, 0.5)), 50), ha="center", va="center",
                color=INK, fontsize=8, bbox=BEHIND,
            )  # fmt: skip
        axes.plot(100 * _lost(found, None), heights, color=INK, linewidth=2.2)
        plain_log(axes, "x")
        axes.set_xlim(100 * FAILED_MIN, 100)
        axes.set_ylim(0, 104)
        met = [100 * found.met_ratio(line) for line in lines]
        for line, ratio, shade in zip(lines, met, (TARGET, ALERT), strict=True):
            axes.axvline(100 * (1 - line), color=shade, linewidth=1.1)
            axes.annotate(
                f"{100 * line:g} %\nmet in {ratio:.2g} %", (100 * (1 - line), 99), xytext=(-4, 0),
                textcoords="offset points", ha="right", va="top", color=shade, fontsize=8, bbox=BEHIND,
            )  # fmt: skip
        axes.set_xlabel("requests of a month that fail, % (grey: if every incident hits that share of its requests)")
        axes.set_ylabel("months that lose at most that, %")
        finding(axes, f"{100 * lines[0]:g} % is met in {met[0]:.2g} % of the predicted months")
    return axes


def met_by_hit_share(found: "Availability", *, lines: tuple[float, float] = LINES, ax: "Axes | None" = None) -> "Axes":
    """The share of predicted months that meet each line, against the share of requests that an incident hits."""
    shares = np.geomspace(1e-5, 1.0, 61)
    with canvas(ax) as axes:
        for line, shade in zip(lines, (TARGET, ALERT), strict=True):
            met = np.array([100 * found.met_ratio(line, float(share)) for share in shares])
            axes.plot(100 * shares, met, color=shade)
            place = int(np.abs(met - 60).argmin())
            axes.annotate(
                f"{100 * line:g} %", (100 * shares[place], met[place]), xytext=(5, 2), textcoords="offset points",
                color=shade, fontsize=9, fontweight="bold", bbox=BEHIND,
            )  # fmt: skip
        axes.set_xlim(100 * shares[0], 100)
        plain_log(axes, "x")
        axes.set_ylim(0, 104)
        axes.set_xlabel("requests to its products that each incident hits, %")
        axes.set_ylabel("predicted months that meet it, %")
        target = np.array([found.met_ratio(lines[0], float(share)) for share in shares])
        enough = shares[target >= 0.95]
        most = f"{100 * float(enough[-1]):.1g}" if enough.size else "0"
        finding(axes, f"{100 * lines[0]:g} % in 95 % of months: an incident may hit {most} % of its requests")
    return axes


def _lost(found: "Availability", share: float | None) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Shares of failed requests, sorted, cut at the left end of the axis."""
    lost: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sort(1 - found.success_draws(share))
    return np.maximum(lost, FAILED_MIN)
