"""A process that plays a part of a load run; started by :mod:`sim.runners.load.split` and by nothing else.

    python -P -m sim.runners.load.worker

Standard input brings the session, later a line ``START`` with the instant of the common start, and stays open: its end,
which the death of the parent brings too, stops the run. Standard output takes lines with counts, and last the part.
"""

import asyncio
import io
import pickle
import signal
import sys
from dataclasses import replace
from typing import Any

from sim.foundation.errors import SimError
from sim.runners.load.driver import Driver
from sim.runners.load.loop_thread import run_in_thread
from sim.runners.load.senders import opened
from sim.runners.load.session import Played, Session, driver_of, played, with_counts

COUNTED_S = 0.25
"""How often a worker says how far it is."""

WITH_THE_OTHERS = "stopped with the others"
"""Reason of a part that was asked to end."""


def main() -> None:
    """Play the session that standard input brings."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal's Ctrl-C comes to the parent too, which handles it.
    # Unbuffered, so that START is not read with it.
    session: Session = pickle.load(_Unbuffered(io.FileIO(sys.stdin.fileno(), closefd=False)))  # noqa: S301  # written by our own parent
    try:
        part = run_in_thread(lambda _: _play(session))
    except SimError as error:
        _write(b"failed\n" + pickle.dumps(str(error)))
    else:
        if part is not None:
            _write(b"part\n" + pickle.dumps(part))


async def _play(session: Session) -> "dict[str, Any] | None":
    """Play the part; None if the parent is gone before the start."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    try:
        async with opened(session.wanted) as senders:
            driver = driver_of(session, senders)
            _write(b"ready\n")
            words = (await lines.readline()).split()
            if len(words) != 2:
                return None
            helpers = [asyncio.create_task(_until_end(lines, driver)), asyncio.create_task(_count(driver))]
            try:
                found = await played(session, driver, start_s=float(words[1]))
            finally:
                for task in helpers:
                    task.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
    finally:
        transport.close()
    return _as_dict(with_counts(found, senders), session)


async def _until_end(lines: asyncio.StreamReader, driver: Driver) -> None:
    await lines.read()
    driver.stop(WITH_THE_OTHERS)


async def _count(driver: Driver) -> None:
    while True:
        await asyncio.sleep(COUNTED_S)
        counts = (driver.ended, len(driver.in_flight), driver.failed)
        _write(b"counts %d %d %d\n" % counts)


def _as_dict(found: Played, session: Session) -> dict[str, Any]:
    assert session.rows is not None
    return {"rows": session.rows, "arrays": found.tape.part(session.rows), "played": replace(found, tape=None)}  # type: ignore[arg-type]  # the parent puts its own tape there


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


class _Unbuffered:
    """A file that reads no more than it is asked for."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw

    def read(self, size: int) -> bytes:
        """Read exactly *size* bytes, fewer at the end."""
        found = b""
        while len(found) < size:
            more = self.raw.read(size - len(found))
            if not more:
                break
            found += more
        return found

    def readline(self) -> bytes:
        """Read up to the end of a line."""
        found = b""
        while not found.endswith(b"\n"):
            more = self.raw.read(1)
            if not more:
                break
            found += more
        return found


if __name__ == "__main__":
    main()
