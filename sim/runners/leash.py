"""Run the reference deployment on a leash: it ends when the process that started it does.

    python -P -m sim.runners.leash KEEPER FOLDER [arguments of reference_impl]

KEEPER is the PID of the process that started it. On Linux the kernel sends SIGTERM when that process ends, whether by
an exception, Ctrl-C or SIGKILL. FOLDER is removed at the end. The process gets the same priority as the load driver
(:mod:`sim.runners.load.priority`), since its timing is what is measured.
"""

import atexit
import ctypes
import os
import runpy
import shutil
import signal
import sys

from sim.runners.load.priority import go_ahead

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""


def main() -> None:
    """Tie this process to its keeper, then run the reference in it."""
    keeper, folder = int(sys.argv.pop(1)), sys.argv.pop(1)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != keeper:
            sys.exit("the process that started this reference is gone")
    go_ahead()
    runpy.run_module("reference_impl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
