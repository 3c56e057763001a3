"""How much memory a run may take, asked before it starts.

The system grants far more memory than there is and stops the program when it is used, without a word. So what will be
needed is reckoned first.
"""

import os
from math import inf
from pathlib import Path

from sim.foundation.errors import UsageError

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


FEWER = "ask for fewer requests, or for several replications one after the other"


def check_fits(needed_bytes: float, what: str, *, way_out: str = FEWER) -> None:
    """Refuse what does not fit into the memory that is free now.

    Parameters
    ----------
    needed_bytes : float
    what : str
        Who needs it, as the first words of the message: ``"requests=1000 need"``.
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
    """Memory that can be had without swapping, within the limit of the container that we may be in."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text("ascii").splitlines())
        free = 1024 * float(lines["MemAvailable"].split()[0])
    except OSError:  # Not Linux: all there is, for want of better knowledge.
        free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(free, _container_bytes())


def _container_bytes() -> float:
    """What is left of a container's limit; its cache of files counts as free, as it does outside."""
    try:
        limit = (CONTAINER / "memory.max").read_text("ascii").strip()
        used = int((CONTAINER / "memory.current").read_text("ascii"))
        counts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text("ascii").splitlines())
    except OSError:
        return inf
    return inf if limit == "max" else float(int(limit) - used + int(counts["inactive_file"]))
