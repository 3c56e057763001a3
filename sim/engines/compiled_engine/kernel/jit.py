"""How functions of this package are compiled: once per machine, cached on disk, without the interpreter lock."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numba

from sim.randomness import portable_math, streams

Function = TypeVar("Function", bound=Callable[..., Any])

_njit: Any = numba.njit
_PART = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Of a function that only compiled code calls: division gives infinity, and Python has no way in."""


def jit(function: Function) -> Function:
    """Compile a part of the machine that is inlined into its caller."""
    part: Function = _njit(**_PART, forceinline=True)(function)
    return part


def jit_apart(function: Function) -> Function:
    """Compile a part that is seldom called, or from many places, as a function: this keeps the machine small."""
    part: Function = _njit(**_PART)(function)
    return part


def jit_cached(function: Function) -> Function:
    """Compile the machine itself, cached on disk, so that only the first run ever waits for the compiler.

    Where no folder can be written, every process compiles anew.
    """
    try:
        machine = _njit(error_model="numpy", nogil=True, cache=True)(function)
        _drop_stale(machine)
    except (RuntimeError, OSError):
        machine = _njit(error_model="numpy", nogil=True)(function)
    compiled: Function = machine
    return compiled


def _drop_stale(machine: Any) -> None:
    """Delete what was compiled from other sources than these: Numba's cache itself checks only one file."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(portable_math.__file__), Path(streams.__file__)]
    fingerprint = blake2b(b"".join(source.read_bytes() for source in sources)).hexdigest()
    folder, name = Path(machine.stats.cache_path), machine.py_func.__name__
    kept = folder / f"{name}.sources"
    if kept.exists() and kept.read_text("ascii") == fingerprint:
        return
    for index in folder.glob(f"*{name}*.nbi"):
        index.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(fingerprint, "ascii")
