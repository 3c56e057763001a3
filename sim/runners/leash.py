"""Run the reference deployment on a leash: it ends when the process that started it does.

    python -P -m sim.runners.leash KEEPER FOLDER [arguments of reference_impl]

KEEPER is the number of the process that started it. On Linux the kernel sends SIGTERM when that process is gone,
whatever became of it: an exception, Ctrl-C, or a kill that no code survives. FOLDER is removed at the end. The process
takes the load driver's own place ahead of other work (:mod:`sim.runners.load.priority`), since it is what is measured.
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
    """Tie this process to its keeper, then become the reference."""
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
