"""Report a defect of the command itself: one line on standard error, and a file with the details.

Python's own way, a traceback and exit status 1, would say to a script that a target was missed. The file goes into the
system's folder for temporary files and is readable by its owner alone, because the arguments and the error's text may
name files and hosts.
"""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from tempfile import NamedTemporaryFile
from traceback import format_exception

from sim.foundation.version import __version__

CRASH_STATUS = 4
"""Exit status of an error that is no user's fault."""

DEBUG_VARIABLE = "HEADROOM_DEBUG"
"""Set it to 1 to see tracebacks on standard error instead of having them written to a file."""

MESSAGE_CHARACTERS_MAX = 300


def report_crash(error: Exception, *, arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Report an unexpected error in one line, keep its traceback, and return the exit status.

    Parameters
    ----------
    error
        What was raised.
    arguments
        The command line after the command's name.
    say
        Writes one line to standard error.
    """
    text = _details(error, arguments)
    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        say(text.rstrip())
        where = "the details are above"
    else:
        try:
            where = f"the details are in {_kept(text)}"
        except OSError as refused:
            where = f"the details could not be kept ({refused}); {DEBUG_VARIABLE}=1 prints them"
    say(f"headroom: unexpected {type(error).__name__}: {_one_line(error)}; this is a defect of headroom, {where}")
    return CRASH_STATUS


def _one_line(error: Exception) -> str:
    message = " ".join(str(error).split()) or "no message"
    cut = len(message) > MESSAGE_CHARACTERS_MAX
    return f"{message[:MESSAGE_CHARACTERS_MAX]}..." if cut else message


def _details(error: Exception, arguments: Sequence[str]) -> str:
    about = [
        f"headroom {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"arguments: {list(arguments)}",
        f"executable: {sys.executable}",
    ]
    return "\n".join([*about, "", *format_exception(error)])


def _kept(text: str) -> str:
    with NamedTemporaryFile("w", encoding="utf-8", prefix="headroom-crash-", suffix=".txt", delete=False) as file:
        file.write(text)
    return file.name
