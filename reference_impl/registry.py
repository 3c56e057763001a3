"""The registry of components: the built-in parts, and those that a user registers.

Every folder of this package whose module ``part`` exports ``PART`` is a built-in component; there is no list of names
to maintain.
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
    """Register a user's component; it replaces an earlier one of the same name.

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
    """Remove a user's component."""
    del _registered[component]


@cache
def built_in() -> Mapping[str, Part]:
    """Return the built-in parts by component name."""
    folders = [module.name for module in iter_modules(import_module(PACKAGE).__path__) if module.ispkg]
    names = [f"{PACKAGE}.{folder}.part" for folder in folders]
    parts: list[Part] = [import_module(name).PART for name in names if find_spec(name) is not None]
    return {part.component: part for part in parts}


def part(component: str, *, where: str) -> Part:
    """Return the part of *component*, which the configuration names at *where*.

    Raises
    ------
    ConfigError
        If it is unknown; the message names the nearest match.
    """
    known = {**built_in(), **_registered}
    if component not in known:
        raise ConfigError(f"{where}={component!r} is no component; {nearest(component, known)}")
    return known[component]
