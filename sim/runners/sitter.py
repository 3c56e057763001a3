"""Run a command, stop it when this process is asked to stop or its keeper is gone, and remove its folder.

    python -I -S sitter.py KEEPER FOLDER COMMAND [arguments]

KEEPER is the number of the process that started it. The command is asked to stop when this process is, or when the
keeper is gone (Linux), whatever became of it, and is killed if it does not; then FOLDER is removed. All that this
process does is wait, so no state of the command can keep it from that. The command ends at once if this process is
killed. Run as a file: it needs nothing but the standard library.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""

STOP_S = 4
"""Time to stop when asked; less than the keeper gives this process."""

KILLED_STATUS = 128
"""A command that a signal ended has this status and the signal's number, as in a shell."""


def main() -> int:
    """Run the command to its end; return its exit status, 0 if it was asked to stop."""
    keeper, folder, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    tether = Path(__file__).with_name("tether.py")
    tied: list[str | Path] = [sys.executable, "-I", "-S", tether, str(os.getpid()), str(int(signal.SIGKILL)), *command]
    signals: list[int] = []
    try:
        with subprocess.Popen(tied) as process:

            def stop(number: int, _: object) -> None:
                signals.append(number)
                process.terminate()
                signal.alarm(STOP_S)

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            signal.signal(signal.SIGALRM, lambda *_: process.kill())
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
                if os.getppid() != keeper:
                    stop(signal.SIGTERM, None)
            status = process.wait()
        if signals:
            return 0
        return status if status >= 0 else KILLED_STATUS - status
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
