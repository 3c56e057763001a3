"""Output files that are written whole or not at all, and the conversion of values to JSON types."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from math import isfinite
from pathlib import Path
from tempfile import NamedTemporaryFile, SpooledTemporaryFile
from typing import IO, Any, cast

import numpy as np
import pandas as pd

from sim.foundation.errors import UsageError

MODE = 0o644
"""Permissions of a finished file; a temporary file starts unreadable for others."""

SPOOLED_BYTES = 2**24
"""Output for a pipe that is held in memory; more is held on disk."""


def check_place(path: Path | str, *, what: str) -> None:
    """Check before the work that an output file can be written; ``-`` is standard output.

    Parameters
    ----------
    path : Path or str
        Of the file to come; its folder must exist.
    what : str
        Name of the option or argument, for the message.

    Raises
    ------
    UsageError
        Its folder does not exist or cannot be written, or it is itself a folder.
    """
    place = Path(path)
    if str(path) == "-":
        return
    if place.is_dir():
        raise UsageError(f"{what}={str(path)!r} is a folder, must be a file (append a name)")
    if not place.parent.is_dir():
        raise UsageError(f"{what}={str(path)!r}: the folder {str(place.parent)!r} must exist")
    if not os.access(place if _is_special(place) else place.resolve().parent, os.W_OK):
        raise UsageError(f"{what}={str(path)!r} cannot be written: permission denied")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file that replaces *path* when the block succeeds, and is deleted when it raises.

    If *path* is a symbolic link, the file that it points to is replaced. A device or a pipe is not replaced but written
    to, when the block succeeds.

    Raises
    ------
    OSError
        The place cannot be written to.
    """
    if _is_special(path):
        with SpooledTemporaryFile(max_size=SPOOLED_BYTES) as unsent:
            yield cast("IO[bytes]", unsent)
            unsent.seek(0)
            with path.open("wb", buffering=0) as out:
                shutil.copyfileobj(unsent, out)
        return
    target = path.resolve()
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as unfinished:
        try:
            yield unfinished
            unfinished.close()
            Path(unfinished.name).chmod(MODE)
            Path(unfinished.name).replace(target)
        finally:
            Path(unfinished.name).unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether *path* leads to something that is neither a file nor a folder."""
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


def plain(value: Any) -> Any:
    """Return *value* in the types of JSON; infinity and NaN become None."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict(orient="records")]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
