"""Compilation of the kernel by Numba: once per machine, cached on disk, without the GIL."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir
from typing import Any, TypeVar

import numba

from sim.randomness import portable_math, streams

Function = TypeVar("Function", bound=Callable[..., Any])

_njit: Any = numba.njit
_settings: Any = numba.config
_PART = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of a function that only compiled code calls: division by zero gives infinity; no Python wrapper."""


def jit(function: Function) -> Function:
    """Compile a part of the machine that is inlined into its caller."""
    part: Function = _njit(**_PART, forceinline=True)(function)
    return part


def jit_apart(function: Function) -> Function:
    """Compile a part that is called rarely, or from many places, as a function that is not inlined."""
    part: Function = _njit(**_PART)(function)
    return part


def jit_cached(function: Function) -> Function:
    """Compile the machine itself, cached on disk, so that only the first run ever waits for the compiler.

    Numba stores it beside the source or, where that folder cannot be written, in the user's cache folder. Where there
    is neither, as in a container with a read-only image and no home, it is stored in the folder of temporary files.
    Where that fails too, every process compiles again.
    """
    compiled: Function
    for keep in (_kept, _kept_among_temporary_files):
        with suppress(RuntimeError, OSError):
            compiled = keep(function)
            return compiled
    compiled = _njit(error_model="numpy", nogil=True)(function)
    return compiled


def _kept(function: Any) -> Any:
    machine = _njit(error_model="numpy", nogil=True, cache=True)(function)
    _drop_stale(machine)
    return machine


def _kept_among_temporary_files(function: Any) -> Any:
    before = _settings.CACHE_DIR
    _settings.CACHE_DIR = str(_private_folder())  # Read only while the function is decorated.
    try:
        return _kept(function)
    finally:
        _settings.CACHE_DIR = before


def _private_folder() -> Path:
    """Create a folder that only this user can write to, since its contents will be executed."""
    folder = Path(gettempdir()) / f"headroom-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a folder of this user's alone")
    return folder


def _drop_stale(machine: Any) -> None:
    """Delete a cache compiled from other sources than these: Numba itself checks only one file."""
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
