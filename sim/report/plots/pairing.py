"""The differences of requests that two runs have in common: how far each lies from itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.report.plots.style import GREY, INK, MEASURED, MUTED, canvas, finding
from sim.report.wording import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.judgement.pairing import Pairing

BARS = 80
SHOWN = (0.025, 0.975)
"""Quantiles between which differences are drawn: the axis of a few that parted would hide the others."""
MARGIN = 0.3


def pairing(found: "Pairing | Sequence[Pairing]", *, ax: "Axes | None" = None) -> "Axes":
    """Draw how measured and simulated latency of the same requests differ, of one pairing or of several together.

    Raises
    ------
    UsageError
        There is no pair.
    """
    several = list(found) if isinstance(found, Sequence) else [found]
    difference_ms = np.concatenate([one.difference_ms for one in several]) if several else np.zeros(0)
    if not len(difference_ms):
        raise UsageError("no request was paired, so there is no difference to draw")
    low, middle, high = (float(one) for one in np.quantile(difference_ms, [0.05, 0.5, 0.95]))
    first, last = (float(one) for one in np.quantile(difference_ms, SHOWN))
    margin = MARGIN * (last - first) or 1.0
    ends = (min(first - margin, 0.0), max(last + margin, 0.0))
    beyond = int(((difference_ms < ends[0]) | (difference_ms > ends[1])).sum())
    with canvas(ax) as axes:
        axes.hist(difference_ms, bins=BARS, range=ends, color=MEASURED, alpha=0.85)
        axes.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, zorder=0)
        axes.axvline(0.0, color=INK, linewidth=0.9)
        axes.axvline(middle, color=MUTED, linewidth=0.9, linestyle=(0, (5, 2)))
        axes.set_xlim(*ends)
        axes.set_xlabel("measured less simulated latency of the same request, ms")
        axes.set_ylabel("requests")
        numbers = [significant(one, 2) for one in (middle, low, high)]
        most = f"nine in ten by {numbers[1]} to {numbers[2]} ms"
        said = f"A request differs from itself by {numbers[0]} ms at the median, {most}"
        finding(axes, said + (f" ({beyond:,} of {len(difference_ms):,} not shown)" if beyond else ""))
    return axes
