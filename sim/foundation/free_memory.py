"""Check that a run fits into free memory, before it starts.

Linux overcommits memory: an allocation that is too large succeeds, and the kernel kills the process without a message
when it uses it. So the need is estimated first.
"""

import os
from math import inf
from pathlib import Path

from sim.foundation.errors import UsageError

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")

FEWER = "ask for fewer requests, or for several replications one after the other"


def check_fits(needed_bytes: float, what: str, *, way_out: str = FEWER) -> None:
    """Check that *needed_bytes* fit into the memory that is free now.

    Parameters
    ----------
    needed_bytes : float
    what : str
        What needs it, as the first words of the message: ``"requests=1000 need"``.
    way_out : str
        What to do about it, as the last words.

    Raises
    ------
    UsageError
        More is needed than is free.
    """
    free = free_bytes()
    if needed_bytes > free:
        raise UsageError(f"{what} about {needed_bytes / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free; {way_out}")


def free_bytes() -> float:
    """Return the bytes that can be allocated without swapping, within the container's limit if there is one."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text("ascii").splitlines())
        free = 1024 * float(lines["MemAvailable"].split()[0])
    except OSError:  # Not Linux: physical memory, since the free part is not known.
        free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(free, _container_bytes())


def _container_bytes() -> float:
    """Return what is left of the container's limit (cgroup v2); inactive page cache counts as free."""
    try:
        limit = (CONTAINER / "memory.max").read_text("ascii").strip()
        used = int((CONTAINER / "memory.current").read_text("ascii"))
        counts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text("ascii").splitlines())
    except OSError:
        return inf
    return inf if limit == "max" else float(int(limit) - used + int(counts["inactive_file"]))
