"""The rows of a file, understood block by block: times, routes, keys, sizes.

No text of the file is kept: keys become numbers by a hash of their labels, paths become routes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.foundation.free_memory import check_fits
from sim.foundation.schema import PAGE
from sim.traces import numbers
from sim.traces.blocks import Block, CellError, Cells, line_of
from sim.traces.formats import Roles
from sim.traces.keys import hashed
from sim.traces.opening import Source
from sim.traces.options import UNITS_NS, TraceOptions
from sim.traces.paths import Pattern, Requests, Router, requests
from sim.traces.times import Clock

ROWS_MAX = 100_000_000
"""A bound on every trace that is read."""

BYTES_PER_ROW = 150
"""Memory that a row takes until it is in order: numbers of the trace, twice while they are sorted."""

SWITCHING = 101
"""Status of an answer that opens a WebSocket."""

UPLOADS = ("PUT", "POST", "PATCH")


class Rows:
    """The rows of one file, as far as they were read.

    Attributes
    ----------
    source : Source
    roles : Roles
    clock : Clock
    router : Router or None
        None: rows are read without their routes.
    parsed : dict of str to list
        By role, the numbers of each block.
    count : int
        Requests so far.
    others : int
        Rows so far that are no requests.
    """

    def __init__(
        self,
        found: Source,
        kinds: Roles,
        *,
        names: tuple[str, ...],
        patterns: tuple[Pattern, ...],
        options: TraceOptions,
    ) -> None:
        self.roles = kinds
        self.source = found
        self.router = Router(names, patterns) if names else None
        time = kinds.columns.get("time", kinds.columns.get("end", ""))
        unit = options.unit or kinds.format.unit or numbers.unit_of_name(time)
        self.clock = Clock(unit, options.zone, explicit=bool(options.unit))
        self.parsed: dict[str, list[NDArray[Any]]] = {}
        self.count = 0
        self.others = 0

    def take(self, block: Block) -> None:
        """Understand the rows of a block and keep their numbers."""
        rows, others = request_rows(block, self.roles)
        self.others += others
        self.count += len(rows)
        if self.count > ROWS_MAX:
            raise ScenarioError(f"{self.source.name} a trace must have <= {ROWS_MAX:,} rows ({PAGE})")
        check_fits(
            self.count * BYTES_PER_ROW, f"{self.source.name}: {self.count:,} rows need", way_out="split the file"
        )
        if not len(rows):
            return
        whole = len(rows) == block.rows
        cells = {
            role: block.cells[name] if whole else block.cells[name].take(pa.array(rows))
            for role, name in self.roles.columns.items()
        }
        if self.roles.date:
            day = block.cells[self.roles.date].take(pa.array(rows))
            cells["time"] = pc.binary_join_element_wise(day, cells["time"], " ")
        found: dict[str, NDArray[Any]] = {"time": self._time(block, rows, cells)}
        asked, keys = self._asked(cells)
        found |= self._routes(block, rows, cells=cells, asked=asked, keys=keys)
        found |= self._numbers(block, rows, cells=cells, method=asked.method if asked else cells.get("method"))
        if keys:
            found["key"] = hashed(keys[0])
        if self.roles.ended:
            found["session"] = self._sessions_ms(block, rows, started=found["time"], status=found["status"])
        kept = found.pop("kept", None)
        for role, values in found.items():
            self.parsed.setdefault(role, []).append(values if kept is None else values[kept])

    def _time(self, block: Block, rows: NDArray[np.int64], cells: dict[str, Cells]) -> NDArray[np.int64]:
        if "time" in cells:
            return self._cell("time", self.clock.ns, block=block, rows=rows, cells=cells)
        end = self._cell("end", self.clock.ns, block=block, rows=rows, cells=cells)
        unit_ns = UNITS_NS[self.clock.unit or "s"]
        lasted = self._cell(
            "duration", lambda text: numbers.scaled_ns(text, unit_ns), block=block, rows=rows, cells=cells
        )
        started: NDArray[np.int64] = end - lasted
        return started

    def _cell(
        self,
        role: str,
        parse: "Callable[[Cells], NDArray[Any]]",
        *,
        block: Block,
        rows: NDArray[np.int64],
        cells: dict[str, Cells],
    ) -> "NDArray[Any]":
        """The values of a role; a cell that is not understood is named with its line."""
        try:
            return parse(cells[role])
        except CellError as error:
            where = f"{self.source.name}:{line_of(self.source, block.first_row_number + int(rows[error.row]))}"
            text = cells[role][error.row].as_py()
            name = self.roles.columns.get(role, self.roles.ended)
            raise ScenarioError(f'{where} {name}="{text[:40]}" {error} ({PAGE})') from None

    def _sessions_ms(
        self, block: Block, rows: NDArray[np.int64], *, started: NDArray[np.int64], status: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """How long the WebSockets were open that rows opened, shape (rows,); nan of other rows, and without an end."""
        lasted_ms = np.full(len(rows), np.nan)
        cells = block.cells[self.roles.ended].take(pa.array(rows))
        opened = np.flatnonzero((status == SWITCHING) & np.asarray(pc.not_equal(cells, "")))
        if len(opened):
            closed = self._cell(
                "ended", self.clock.ns, block=block, rows=rows[opened], cells={"ended": cells.take(pa.array(opened))}
            )
            lasted_ms[opened] = (closed - started[opened]) / 1e6
        return lasted_ms

    def _asked(self, cells: dict[str, Cells]) -> tuple[Requests | None, list[Cells]]:
        """Methods and paths of rows, and their keys as far as the file has a column of them."""
        asked = requests(cells["path"], cells.get("method")) if "path" in cells else None
        if "key" in cells:
            return asked, [cells["key"]]
        if self.router is not None and self.router.names_keys and (asked or "route" in cells):
            rows = len(cells["path" if asked else "route"])
            return asked, [pa.array([""] * rows, pa.string())]
        return asked, []

    def _routes(
        self,
        block: Block,
        rows: NDArray[np.int64],
        *,
        cells: dict[str, Cells],
        asked: Requests | None,
        keys: list[Cells],
    ) -> dict[str, NDArray[Any]]:
        """Each row's route, and which rows are kept if those without one are skipped."""
        if self.router is None or (asked is None and "route" not in cells):
            return {}
        into = keys if keys and "key" not in cells else None
        code = np.full(len(rows), -1, dtype=np.int16)
        if "route" in cells:
            code = self.router.named(cells["route"])
            if asked is None:
                asked = requests(cells["route"], cells.get("method"))
        assert asked is not None
        if (code < 0).any():
            code = np.where(code < 0, self.router.matched(asked, into), code)
        missing = code < 0
        if not missing.any():
            return {"route_code": code}
        self.router.count_unmatched(asked.shown.filter(pa.array(missing)))
        return {"route_code": code, "kept": ~missing}

    def _numbers(
        self, block: Block, rows: NDArray[np.int64], *, cells: dict[str, Cells], method: Cells | None
    ) -> dict[str, NDArray[Any]]:
        """Sizes, tokens, latency and status."""
        made: dict[str, Callable[[Cells], NDArray[Any]]] = {
            **dict.fromkeys(("size", "sent", "tokens_in", "tokens_out"), numbers.whole),
            "latency": numbers.decimal,
            "status": _status,
        }
        found = {
            role: self._cell(role, parse, block=block, rows=rows, cells=cells)
            for role, parse in made.items()
            if role in cells
        }
        sent = found.pop("sent", None)
        if sent is not None:
            if method is not None:
                carries = np.asarray(pc.is_in(method, pa.array(UPLOADS)))
                found["size"] = np.where(carries, sent, found.get("size", np.full(len(rows), -1)))
            else:
                found.setdefault("size", sent)
        return found


def _status(cells: Cells) -> NDArray[np.int64]:
    """HTTP status of rows, shape (rows,); -1 where a tool wrote words instead."""
    digits = pc.match_substring_regex(cells, r"^\d{1,3}$")
    return np.asarray(pc.cast(pc.if_else(digits, cells, "-1"), pa.int64()))


def request_rows(block: Block, kinds: Roles) -> tuple[NDArray[np.int64], int]:
    """Return the rows of a block that are requests, shape (rows,), and how many are another kind of event.

    The rest are comments and blank lines.
    """
    away = np.asarray(pc.match_substring_regex(block.cells[""], r"^\s*#"))
    blank = np.ones(block.rows, dtype=bool)
    for name in kinds.wanted:
        blank &= np.asarray(pc.equal(block.cells[name], ""))
    events = ~(away | blank)
    requested = np.ones(block.rows, dtype=bool)
    for column, value in kinds.only:
        requested &= np.asarray(pc.equal(block.cells[column], value))
    if "path" in kinds.columns and "route" not in kinds.columns:
        requested &= np.asarray(pc.not_equal(block.cells[kinds.columns["path"]], ""))
    return np.flatnonzero(events & requested), int((events & ~requested).sum())
