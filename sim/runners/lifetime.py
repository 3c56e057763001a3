"""Commands that end when this process does, whatever ends it: for what a run starts and nobody else would stop."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

SITTER = Path(__file__).with_name("sitter.py")
TETHER = Path(__file__).with_name("tether.py")


def tethered(keeper: int, signal_number: int, *, command: Sequence[str | Path]) -> list[str | Path]:
    """Return *command*, made to get a signal when the process *keeper* ends."""
    return [sys.executable, "-I", "-S", TETHER, str(keeper), str(signal_number), *command]


def attended(folder: Path, *, command: Sequence[str | Path]) -> list[str | Path]:
    """Return *command*, made to end when this process does; *folder* is then removed."""
    return [sys.executable, "-I", "-S", SITTER, str(os.getpid()), folder, *command]
