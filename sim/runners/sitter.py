"""Run a command that cleans up nothing, and clean up after it: for the raw runtime, which has no code of ours.

    python -I -S sitter.py KEEPER FOLDER COMMAND [arguments]

KEEPER is the number of the process that started it. The command is asked to stop when this process is, or when the
keeper is gone (Linux), whatever became of it; FOLDER is removed at the end. The command itself ends at once if this
process is killed. Run as a file: it needs nothing but the standard library.
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


def main() -> int:
    """Run the command to its end; return its exit status, 0 if it was asked to stop."""
    keeper, folder, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    tether = Path(__file__).with_name("tether.py")
    tied: list[str | Path] = [sys.executable, "-I", "-S", tether, str(os.getpid()), str(int(signal.SIGKILL)), *command]
    signals: list[int] = []
    try:
        with subprocess.Popen(tied, stdin=subprocess.DEVNULL) as process:

            def stop(number: int, _: object) -> None:
                signals.append(number)
                process.terminate()

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
                if os.getppid() != keeper:
                    process.terminate()
            status = process.wait()
        return 0 if signals else status
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
