"""The registry of components: the parts that this package has, and those that a user adds.

A built-in part is found by looking: every folder of this package whose module ``part`` exports ``PART`` is a
component. So a new component is a folder, and no list of names stands anywhere.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from reference_impl.errors import ConfigError
from reference_impl.parts import Part
from reference_impl.tables import nearest

PACKAGE = __name__.rpartition(".")[0]
_registered: dict[str, Part] = {}


def register(part: Part) -> Part:
    """Add a component of a user's own; a later one of the same name takes its place.

    Raises
    ------
    ConfigError
        If the name belongs to a component of this package.
    """
    if part.component in built_in():
        raise ConfigError(f"component={part.component!r} is built in; give yours another name")
    _registered[part.component] = part
    return part


def unregister(component: str) -> None:
    """Take a component of a user's own away again."""
    del _registered[component]


@cache
def built_in() -> Mapping[str, Part]:
    """Return the parts of this package by the name of their component."""
    folders = [module.name for module in iter_modules(import_module(PACKAGE).__path__) if module.ispkg]
    names = [f"{PACKAGE}.{folder}.part" for folder in folders]
    parts: list[Part] = [import_module(name).PART for name in names if find_spec(name) is not None]
    return {part.component: part for part in parts}


def part(component: str, *, where: str) -> Part:
    """Return the part of *component*, which the configuration names at *where*.

    Raises
    ------
    ConfigError
        If there is none; the message names the nearest.
    """
    known = {**built_in(), **_registered}
    if component not in known:
        raise ConfigError(f"{where}={component!r} is no component; {nearest(component, known)}")
    return known[component]
