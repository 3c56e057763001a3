"""How results show themselves: the object asks, and the layer that draws it answers.

A Result lies below the pages that draw it. So the class only says that it can be shown, and the public face
(:mod:`sim`) says where its text and its HTML are made; they are imported when somebody looks.
"""

from importlib import import_module
from typing import Any

VIEWS: dict[str, str] = {}
"""Where views are made: ``module:function`` by class and kind, as in ``Plan.html``."""


class Shown:
    """Something with a view in a notebook."""

    def _repr_html_(self) -> str:
        return view(self, "html")


def view(shown: Any, kind: str) -> str:
    """Return the *kind* of view (``html`` or ``text``) of an object."""
    module, _, function = VIEWS[f"{type(shown).__name__}.{kind}"].partition(":")
    made: str = getattr(import_module(module), function)(shown)
    return made
