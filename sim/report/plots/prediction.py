"""Predicted quantiles, with the interval of the prediction, against those of measured runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sim.foundation.errors import UsageError
from sim.report.plots.style import INK, MEASURED, MUTED, canvas, finding, plain_log
from sim.report.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = ("predicted", "predicted_low", "predicted_high", "measured", "measured_low", "measured_high")
NAMED = (0.5, 0.9, 0.99)
"""Quantiles that are named."""


def prediction(
    probabilities: Sequence[float],
    quantiles_ms: Mapping[str, ArrayLike],
    *,
    name: str = "",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw predicted against measured quantiles of latency; on the diagonal they are the same.

    Parameters
    ----------
    probabilities : sequence of float, shape (n,)
    quantiles_ms : mapping of str to array_like, each of shape (n,)
        In ms: ``predicted`` with the ends of its interval, ``predicted_low`` and ``predicted_high``, and ``measured``
        with the least and the most of the runs, ``measured_low`` and ``measured_high``.
    name : str
        Of what was predicted, for the title.
    ax : Axes, optional

    Raises
    ------
    UsageError
        A side is missing, not as long as *probabilities*, or not above 0.
    """
    sides = {side: np.asarray(quantiles_ms.get(side, ()), dtype=np.float64) for side in SIDES}
    for side, values in sides.items():
        if len(values) != len(probabilities) or not len(values) or not (values > 0).all():
            raise UsageError(f"quantiles_ms[{side!r}] must hold {len(probabilities)} times above 0 ms, at least one")
    share = np.asarray(probabilities)
    within = (sides["predicted_low"] <= sides["measured"]) & (sides["measured"] <= sides["predicted_high"])
    every = np.concatenate([*sides.values()])
    ends = np.array([every.min() / 1.15, every.max() * 1.15])
    with canvas(ax) as axes:
        axes.plot(ends, ends, color=MUTED, linewidth=0.9)
        axes.fill_between(
            sides["measured"], sides["predicted_low"], sides["predicted_high"], color=INK, alpha=0.12, linewidth=0
        )
        axes.plot(sides["measured"], sides["predicted"], color=INK, linewidth=1.2)
        axes.hlines(
            sides["predicted"], sides["measured_low"], sides["measured_high"], color=MEASURED, linewidth=0.9, alpha=0.6
        )
        axes.plot(sides["measured"], sides["predicted"], "o", color=MEASURED, markersize=3)
        for at in (int(np.abs(share - one).argmin()) for one in NAMED):
            axes.annotate(
                f"P{100 * share[at]:.3g}", (sides["measured"][at], sides["predicted"][at]), xytext=(6, -10),
                textcoords="offset points", fontweight="bold",
            )  # fmt: skip
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        plain_log(axes, "x")
        plain_log(axes, "y")
        axes.set_xlabel("measured latency, ms (bars: least to most of the runs)")
        axes.set_ylabel("predicted, ms (band: its interval)")
        middle = int(np.abs(share - 0.5).argmin())
        error = float(sides["predicted"][middle] / sides["measured"][middle] - 1)
        said = f"median {percent(error, signed=True)} off, {within.sum()} of {len(share)} quantiles within the interval"
        finding(axes, f"{name}: {said}" if name else f"Predicted {said}")
    return axes
