"""Quantiles of what was measured against those of the distribution that was fitted to it."""

from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.calibration.found import Number
from sim.experiments.calibration.laws import QQ_PROBABILITIES
from sim.foundation.errors import UsageError
from sim.report.plots.style import MEASURED, MUTED, canvas, finding, plain_log
from sim.report.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.calibration.calibrate import Calibration


def calibration(found: "Calibration", path: str, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the quantiles of a sample against those of its fitted distribution; on the diagonal they are the same.

    Raises
    ------
    UsageError
        Nothing was identified under *path*, it is no distribution, or no sample shows it alone.
    """
    identified = {one.path: one.law for one in found.found}
    if path not in identified:
        raise UsageError(f"path={path!r} must be one of {', '.join(identified) or 'none'} (what was identified)")
    law = identified[path]
    if isinstance(law, Number):
        raise UsageError(f"path={path!r} is a number, and has no quantiles (its interval is in the table)")
    if not len(law.observed):
        raise UsageError(f"path={path!r} is a part of a sum: no sample shows it alone")
    fitted = law.distribution.quantile(QQ_PROBABILITIES)
    shown = (law.observed > 0) & (fitted > 0)
    if not shown.any():
        raise UsageError(f"path={path!r} has no quantile above 0 to draw")
    measured, fitted = law.observed[shown], fitted[shown]
    ends = np.array([min(measured.min(), fitted.min()) / 1.15, max(measured.max(), fitted.max()) * 1.15])
    with canvas(ax) as axes:
        axes.plot(ends, ends, color=MUTED, linewidth=0.9)
        axes.plot(fitted, measured, "o", color=MEASURED, markersize=3)
        plain_log(axes, "x")
        plain_log(axes, "y")
        axes.set_xlabel(f"fitted {law.name}, ms")
        axes.set_ylabel("measured, ms")
        worst = float(np.abs(measured / fitted - 1).max())
        finding(axes, f"{path}: quantiles of {law.n:,} draws lie at most {percent(worst)} from those of the fit")
    return axes
