"""Goal: a notebook stores figures in few bytes that look the same, in whatever format it was told to.

Method: IPython's own formatter for PNG without a notebook, a figure of every kind of mark, and pixels compared.
"""

from base64 import b64decode, b64encode
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from IPython.core.formatters import PNGFormatter
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from PIL import Image

from sim.report.plots.storage import COLOURS, few_colours, store_few_colours


def new_formatter() -> Any:
    """What a notebook has, of a library without types."""
    return PNGFormatter()


def figure() -> Figure:
    """Lines, a band, bars and texts in several colours, on nothing."""
    mpl.use("agg")
    drawn = Figure(figsize=(5.6, 3.4), facecolor="none")
    ax = drawn.add_subplot()
    ax.fill_between([0, 9], [0, 5], [2, 9], alpha=0.2)
    for number in range(6):
        ax.plot([0, 9], [number, 9 - number], label=f"line {number}")
    ax.bar(range(5), range(5), color="#d55e00")
    ax.set_title("A finding")
    ax.legend()
    return drawn


def pixels(png: bytes) -> np.ndarray:
    """The picture on white, shape (height, width, 3)."""
    seen = Image.open(BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", seen.size, "white")
    white.alpha_composite(seen)
    return np.asarray(white.convert("RGB"), dtype=np.float64)


def png_of(drawn: Figure) -> bytes:
    draw: Any = print_figure
    found = draw(drawn, fmt="png", base64=False)
    assert isinstance(found, bytes)
    return found


def test_a_figure_takes_less_than_half_of_the_bytes_and_looks_the_same() -> None:
    whole = png_of(figure())
    small = few_colours(whole)
    assert len(small) < len(whole) / 2
    apart = np.abs(pixels(small) - pixels(whole))
    assert apart.mean() < 1.0  # Of 255.
    assert np.quantile(apart, 0.99) < 32
    assert len(np.unique(pixels(small).reshape(-1, 3), axis=0)) <= COLOURS
    with Image.open(BytesIO(small)) as stored:
        assert np.asarray(stored.convert("RGBA"))[0, 0, 3] == 0  # Still on nothing.


def test_a_notebook_that_stores_png_stores_it_small_however_often_it_is_told() -> None:
    formatter = new_formatter()
    formatter.for_type(Figure, png_of)
    store_few_colours(formatter)
    store_few_colours(formatter)
    drawn = figure()
    assert formatter(drawn) == few_colours(png_of(drawn))


def test_a_picture_that_comes_as_text_stays_text() -> None:
    """As the backend of notebooks gives it."""
    formatter, drawn = new_formatter(), figure()
    formatter.for_type(Figure, lambda one: b64encode(png_of(one)).decode())
    store_few_colours(formatter)
    assert b64decode(formatter(drawn)) == few_colours(png_of(drawn))


def test_another_format_stays_what_was_asked_for() -> None:
    formatter = new_formatter()
    store_few_colours(formatter)
    with pytest.raises(KeyError):
        formatter.lookup_by_type(Figure)
    formatter.for_type(Figure, lambda _: (b"twice", {"width": 3}))  # As for a display of double resolution.
    store_few_colours(formatter)
    assert formatter.lookup_by_type(Figure)(figure()) == (b"twice", {"width": 3})


def test_outside_of_a_notebook_nothing_happens() -> None:
    store_few_colours()
