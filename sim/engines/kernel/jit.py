"""How functions of this package are compiled: once a machine, cached on disk, without the interpreter's lock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

from sim import elementary

Function = TypeVar("Function", bound=Callable[..., Any])

_njit: Any = numba.njit
_PART = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of a function that only compiled code calls: division gives infinity, and Python has no way in."""


def jit(function: Function) -> Function:
    """A part of the machine that becomes a piece of its caller."""
    part: Function = _njit(**_PART, forceinline=True)(function)
    return part


def jit_apart(function: Function) -> Function:
    """A part that is seldom called, or from many places: it stays a function, which keeps the machine small."""
    part: Function = _njit(**_PART)(function)
    return part


def jit_cached(function: Function) -> Function:
    """The machine itself: kept on disk, so that only the first run ever waits for the compiler.

    Where no folder can be written, every process compiles anew.
    """
    try:
        machine = _njit(error_model="numpy", nogil=True, cache=True)(function)
        _drop_stale(machine)
    except RuntimeError:
        machine = _njit(error_model="numpy", nogil=True)(function)
    compiled: Function = machine
    return compiled


def _drop_stale(machine: Any) -> None:
    """Forget what was compiled before a source of this package changed: the cache itself looks at one file only."""
    sources = [*Path(__file__).parent.glob("*.py"), Path(elementary.__file__)]
    changed_ns = max(source.stat().st_mtime_ns for source in sources)
    for index in Path(machine.stats.cache_path).glob(f"*{machine.py_func.__name__}*.nbi"):
        if index.stat().st_mtime_ns < changed_ns:
            index.unlink(missing_ok=True)
