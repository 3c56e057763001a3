"""Become another program that ends when the process that started it does.

    python -I -S tether.py KEEPER SIGNAL COMMAND [arguments]

KEEPER is the number of the process that started it. On Linux the kernel sends SIGNAL when that process is gone,
whatever became of it; that survives becoming another program. Run as a file: it needs nothing but the standard library,
and starts in a few hundredths of a second.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""


def main() -> None:
    """Tie this process to its keeper, then become the command."""
    keeper, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != keeper:
            sys.exit(f"the process that started {command[0]} is gone")
    os.execv(command[0], command)  # noqa: S606  # a program of this project's choice, and no shell


if __name__ == "__main__":
    main()
