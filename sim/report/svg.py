"""A figure as a piece of a page: its finding as text, its drawing as SVG that takes the page's colours and font.

Drawn without pyplot, so nothing is shown and nothing is kept. The same axes give the same bytes: identifiers are hashed
with a fixed salt, and no date is written.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from sim.foundation.errors import UsageError
from sim.report.plots.style import ALERT, FAINT, INK, MEASURED, MUTED, PAPER, TARGET, WIDTH_IN, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    FAINT: "var(--faint)",
    PAPER: "var(--paper)",
    TARGET: "var(--good)",
    ALERT: "var(--bad)",
    MEASURED: "var(--measured)",
}
"""Colours that the page may change on a dark screen."""

Draw = Callable[["Axes"], object]


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes
    ----------
    finding : str
        What it shows, in a sentence; empty when it could not be drawn.
    caption : str
        How to read it; why there is none, when it could not be drawn.
    svg : Markup
    """

    finding: str
    caption: str
    svg: Markup = field(default_factory=Markup)


def figure(draw: Draw, caption: str, *, name: str, height_ratio: float = 0.61) -> Figure:
    """Draw a figure; when what it shows is missing, a figure without a drawing that says so.

    Parameters
    ----------
    draw : callable
        Draws on the axes that it is given.
    caption : str
    name : str
        Its own among the figures of the page.
    height_ratio : float
        Height over width.
    """
    from matplotlib.figure import Figure as Canvas

    with styled():
        canvas = Canvas(figsize=(WIDTH_IN, WIDTH_IN * height_ratio))
        axes = canvas.add_subplot()
        try:
            draw(axes)
        except UsageError as error:
            return Figure("", _sentence(str(error)))
        finding = axes.get_title(loc="left").replace("\n", " ")
        axes.set_title("", loc="left")
        _lay_out(canvas)
        text = StringIO()
        canvas.savefig(
            text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, dpi=150
        )
    return Figure(finding, caption, _inline(text.getvalue(), name=name, label=finding))


def _lay_out(canvas: "Canvas") -> None:
    """Make room for labels once; saving would do it twice, and draw twice."""
    from matplotlib import rc_context

    engine = canvas.get_layout_engine()
    assert engine is not None
    engine.execute(canvas)
    with rc_context({"figure.constrained_layout.use": False}):
        canvas.set_layout_engine(None)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _inline(document: str, *, name: str, label: str) -> Markup:
    """The drawing of an SVG document, to stand inside a page: no header, no namespaces, its own names."""
    body = re.sub(r"<metadata>.*?</metadata>", "", document[document.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*; ", "", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, variable)
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None
    opened = f'<svg {view[0]} role="img" aria-label="{escape(label)}"'
    return Markup(re.sub(r"<svg[^>]*", lambda _: opened, body, count=1))  # noqa: S704  # matplotlib escapes its texts


def figures(parts: Sequence[Figure]) -> list[Figure]:
    """Those that could be drawn, and one of each reason why others could not."""
    seen: set[str] = set()
    kept = []
    for part in parts:
        if part.finding or part.caption not in seen:
            kept.append(part)
            seen.add("" if part.finding else part.caption)
    return kept
