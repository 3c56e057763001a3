"""How every figure looks: one colour a component everywhere, few lines, the finding as its title.

The palette is Okabe and Ito's, which readers of all kinds of colour vision tell apart. What is not a component has no
colour of its own: the simulation is drawn in ink, the measurement as dots.

Sources
-------
Okabe and Ito, "Color universal design", 2008 (the palette).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Any
from zlib import crc32

from sim.models.registry import components
from sim.report.plots.storage import store_few_colours
from sim.report.wording import UNATTRIBUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, FAINT, PAPER = "#1e2a3a", "#66707e", "#dfe4ea", "#fdfefe"
"""Text and simulation, secondary text, grid, background; the report turns them round on a dark screen."""

GREY = "#b4bac2"
"""What no component accounts for."""

TARGET, ALERT, MEASURED = "#00795a", "#c0392b", "#c2185b"

OTHERS = ("#6a51a3", "#8c564b", "#1b9e77", "#7f7f00", "#a6761d", "#4575b4")
"""Colours of instances that have another name than their component, chosen by the name."""

BEHIND = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
"""Behind a text that stands on lines or shades."""

WIDTH_IN, HEIGHT_IN = 5.6, 3.4
TITLE_CHARACTERS = 66

STYLE: Any = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "figure.figsize": (WIDTH_IN, HEIGHT_IN),
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "hatch.color": PAPER,
    "hatch.linewidth": 1.2,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "headroom",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
    "ytick.major.width": 0.7,
    "ytick.minor.width": 0.5,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with the style above, and as it was afterwards."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield


@contextmanager
def canvas(ax: "Axes | None", *, height_in: float = HEIGHT_IN) -> Iterator["Axes"]:
    """The axes to draw on: the given ones, or those of a new figure that a notebook shows."""
    with styled():
        if ax is None:
            from matplotlib import pyplot as plt

            _, ax = plt.subplots(figsize=(WIDTH_IN, height_in))
            store_few_colours()
        ax.set_axisbelow(True)
        yield ax


def finding(ax: "Axes", sentence: str, *, pad: float | None = None) -> None:
    """What the figure shows, as its title; *pad* leaves room for a legend below it, in points."""
    ax.set_title(fill(sentence, TITLE_CHARACTERS), loc="left", pad=pad)


def colour(name: str) -> str:
    """Colour of a component, an instance, a station, or a part of a request's time."""
    bare = name.removesuffix("_ms").removesuffix("_queue")
    known = {component.name: component.colour for component in components()}
    if bare == UNATTRIBUTED:
        return GREY
    return known.get(bare) or OTHERS[crc32(bare.encode()) % len(OTHERS)]


def plain_log(ax: "Axes", which: str) -> None:
    """A logarithmic axis (``x`` or ``y``) whose labels are plain numbers: 200, not 2 x 10^2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    wide = high / max(low, 1e-12) > 10**2.5
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())
    ax.grid(visible=False, which="minor")


def reference_line(ax: "Axes", value: float, *, text: str, kind: str) -> None:
    """A horizontal target or alert line, with its name at the left end."""
    shade = TARGET if kind == "target" else ALERT
    ax.axhline(value, color=shade, linewidth=1.1, linestyle="-" if kind == "target" else (0, (5, 2)))
    ax.annotate(
        text, (0.0, value), xycoords=("axes fraction", "data"), xytext=(4, 2), textcoords="offset points",
        color=shade, fontsize=8, bbox=BEHIND,
    )  # fmt: skip
