"""Progress of a load run on standard error: how far it is, its rate, what is in flight, and errors.

Nothing is shown where standard error is no terminal. The line is drawn four times a second and not for each request:
at 3,000 requests/s drawing would be a part of what is measured.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from sim.runners.load.driver import Driver

REDRAWN_S = 0.25


@asynccontextmanager
async def progress_shown(driver: "Driver", *, title: str, shown: bool) -> AsyncIterator[None]:
    """Show the progress of *driver* for the duration of the context."""
    total = len(driver.rows)
    # disable=None hides the bar where standard error is no terminal.
    with tqdm(total=total, desc=title, unit="request", leave=False, disable=None if shown else True) as bar:
        if bar.disable:
            yield
            return
        task = asyncio.create_task(_redraw(driver, bar))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _redraw(driver: "Driver", bar: "tqdm[None]") -> None:
    while True:
        await asyncio.sleep(REDRAWN_S)
        bar.set_postfix_str(progress_of(driver), refresh=False)
        bar.update(driver.ended - bar.n)


def progress_of(driver: "Driver") -> str:
    """Return in flight, errors and skipped requests in a few words; the bar itself has the rate."""
    text = f"{len(driver.in_flight)} in flight, {driver.failed} errors"
    skipped = driver.tape.count("skipped")
    return f"{text}, {skipped} skipped" if skipped else text
