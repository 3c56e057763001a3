"""Figures that a notebook stores, in few colours: a third of the bytes, and no difference to the eye.

A committed notebook holds its figures as PNG. Lines, texts and flat areas need some dozens of shades, so their pictures
are stored with a palette. Elsewhere than in a notebook nothing changes.
"""

import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import Any

COLOURS = 128


def few_colours(png: bytes, colours: int = COLOURS) -> bytes:
    """Return the same picture with a palette of *colours*; transparency stays."""
    from PIL import Image

    with Image.open(BytesIO(png)) as picture:
        reduced = picture.convert("RGBA").quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    stored = BytesIO()
    reduced.save(stored, "png", optimize=True)
    return min(stored.getvalue(), png, key=len)


@dataclass(frozen=True)
class FewColours:
    """A notebook's way to draw a figure, whose picture is then reduced; other answers pass as they are."""

    draw: Any

    def __call__(self, figure: Any) -> Any:
        """Return the picture of *figure*."""
        drawn = self.draw(figure)
        if isinstance(drawn, str):  # As a notebook stores it.
            return b64encode(few_colours(b64decode(drawn))).decode("ascii")
        return few_colours(drawn) if isinstance(drawn, bytes) else drawn


def store_few_colours(png_formatter: Any = None) -> None:
    """Let the notebook that runs this store its figures in few colours, if it stores them as PNG.

    Parameters
    ----------
    png_formatter : IPython.core.formatters.PNGFormatter, optional
        By default that of the running notebook; without one nothing happens.
    """
    from matplotlib.figure import Figure

    if png_formatter is None:
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shell is None:
            return
        png_formatter = shell.display_formatter.formatters["image/png"]
    try:
        draw = png_formatter.lookup_by_type(Figure)
    except KeyError:  # Another format was asked for.
        return
    if not isinstance(draw, FewColours):
        png_formatter.for_type(Figure, FewColours(draw))
