"""The meter: how many rows a statement reads and writes on this database, before it is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reference_impl.sqlite.row_count import cursor_codes, value_codes
from reference_impl.sqlite.row_count.cursors import Query, Snapshots
from reference_impl.sqlite.row_count.machine import BudgetSpentError, Instruction, Machine, walk
from reference_impl.sqlite.row_count.values import UnknownError, Value

CODES = {**value_codes.CODES, **cursor_codes.CODES}
STEPS_MAX = 20_000_000
"""Instructions of one walk, unless the caller wants less."""
WITHOUT_BRACKETS = ("current_date", "current_time", "current_timestamp")
PROGRAMS_MAX = 1_000
"""Statements whose bytecode is remembered."""


@dataclass(frozen=True)
class Counted:
    """What a statement costs.

    Attributes
    ----------
    rows_read, rows_written : int
    steps : int
        Instructions that were walked.
    is_whole : bool
        Whether the walk came to the statement's end; else the counts are those of its first *steps* instructions.
    """

    rows_read: int
    rows_written: int
    steps: int
    is_whole: bool


class RowMeter:
    """Counts by walking bytecode.

    Parameters
    ----------
    query
        Runs SQL on the database and returns its rows.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._trees: Snapshots | None = None
        self._programs: dict[str, list[Instruction]] = {}
        self._explained = 0

    def changed(self, *, schema: bool) -> None:
        """Forget what was read of the database, because rows or the *schema* changed."""
        if schema:
            self._trees = None
            self._programs.clear()
        elif self._trees is not None:
            self._trees.forget()

    def count(self, sql: str, params: Sequence[Value] = (), *, steps_max: int = STEPS_MAX) -> Counted | None:
        """Return what *sql* costs on the database as it is; None if only the real runtime knows.

        Parameters
        ----------
        sql
            One statement; it is not run.
        params
            Of its question marks, in order.
        steps_max
            The walk ends after this many instructions.
        """
        try:
            program = self._program(sql, params)
            if any(op.code == "Program" for op in program):
                return None
            if self._trees is None:
                self._trees = Snapshots(self._query)
            machine = Machine(self._trees, params, self._call, program)
            try:
                walk(machine, CODES, steps_max=steps_max)
            except BudgetSpentError:
                return Counted(machine.rows_read, machine.rows_written, machine.steps, is_whole=False)
        except UnknownError:
            return None
        return Counted(machine.rows_read, machine.rows_written, machine.steps, is_whole=True)

    def _program(self, sql: str, params: Sequence[Value]) -> list[Instruction]:
        if sql not in self._programs:
            if len(self._programs) >= PROGRAMS_MAX:
                self._programs.clear()
            # Never the same text twice: SQLite 3.40 crashes when it prepares an EXPLAIN of Python's cache again, after
            # the schema changed.
            self._explained += 1
            rows = self._query(f"EXPLAIN /* {self._explained} */ {sql}", *params)
            self._programs[sql] = [Instruction(*row[:7]) for row in rows]
        return self._programs[sql]

    def _call(self, name: str, arguments: Sequence[Value]) -> Value:
        if not name.isidentifier():
            raise UnknownError(f"function {name}")
        marks = "" if name.lower() in WITHOUT_BRACKETS else f"({', '.join('?' * len(arguments))})"
        found: Any = self._query(f"SELECT {name}{marks}", *arguments)[0][0]  # a name that SQLite gave
        return found
