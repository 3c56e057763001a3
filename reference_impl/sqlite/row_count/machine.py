"""A statement's bytecode, walked without changing anything: registers, cursors, and the two counters of the bill.

Instructions come from ``EXPLAIN``. Those that only compute are in :mod:`~reference_impl.sqlite.row_count.value_codes`,
those that move cursors, and count, in :mod:`~reference_impl.sqlite.row_count.cursor_codes`. A write is counted and not
done, so that the walk comes before the statement itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reference_impl.errors import ImplError
from reference_impl.sqlite.row_count.cursors import Cursor, Snapshots
from reference_impl.sqlite.row_count.values import UnknownError, Value


class Instruction(NamedTuple):
    """One line of ``EXPLAIN``."""

    address: int
    code: str
    p1: int
    p2: int
    p3: int
    p4: Any
    p5: int


class BudgetSpentError(ImplError):
    """The walk took more instructions than it was given."""


@dataclass
class Machine:
    """What a walk knows.

    Attributes
    ----------
    trees : Snapshots
    params : sequence
        Of the statement's variables.
    call : callable
        ``(name, arguments) -> value`` of an SQL function.
    program : sequence of Instruction
    rows_read, rows_written : int
        Counted as the provider does.
    steps : int
        Instructions that were walked.
    """

    trees: Snapshots
    params: Sequence[Value]
    call: Callable[[str, Sequence[Value]], Value]
    program: Sequence[Instruction]
    rows_read: int = 0
    rows_written: int = 0
    steps: int = 0
    registers: dict[int, Value] = field(default_factory=dict)
    cursors: dict[int, Cursor] = field(default_factory=dict)
    aggregates: dict[int, tuple[str, list[Value]]] = field(default_factory=dict)
    sets: dict[int, set[Any]] = field(default_factory=dict)
    seen_once: set[int] = field(default_factory=set)
    order_code: int = 0
    """Of the last comparison: -1, 0 or 1."""
    permutation: Sequence[int] = ()
    inserted_rows: int = 0
    """Rows that were written to tables, for the number of the next."""
    orphans: int = 0
    """Rows that the statement left without the parent that a foreign key asks for."""
    gone: dict[int, set[Sequence[Value]]] = field(default_factory=dict)
    """Entries that the statement has deleted, by the identity of their tree: they are no conflict any more."""

    def cursor(self, number: int) -> Cursor:
        """Return a cursor that was opened."""
        return self.cursors[number]

    def look_up(self, cursor: Cursor, key: Sequence[Value]) -> bool:
        """Move a cursor to the entry that begins with *key*, unless the statement has deleted it."""
        if not cursor.look_up(key):
            return False
        gone, entry = self.gone.get(id(cursor.tree), ()), cursor.entry
        # A unique index is told without the row's number.
        if entry in gone or (not cursor.tree.is_table and entry[:-1] in gone):
            return cursor.go(-1)
        return True

    def delete(self, cursor: Cursor, entry: Sequence[Value]) -> None:
        """Note that the statement has deleted an entry of the database."""
        self.gone.setdefault(id(cursor.tree), set()).add(tuple(entry))

    def values(self, first: int, count: int) -> list[Value]:
        """Return registers that lie one after the other."""
        return [self.registers.get(place) for place in range(first, first + count)]


Code = Callable[[Machine, Instruction], int | None]
"""Does one instruction; returns the address that it jumps to, None for the next, -1 for the end."""
END = -1


def walk(machine: Machine, codes: Mapping[str, Code], *, steps_max: int) -> None:
    """Walk the program from its first instruction to its end.

    Raises
    ------
    UnknownError
        At an instruction that is not in *codes*.
    BudgetSpentError
        After *steps_max* instructions; the counters are those of the part that was walked.
    """
    at = 0
    while at >= 0:
        if machine.steps >= steps_max:
            raise BudgetSpentError
        instruction = machine.program[at]
        code = codes.get(instruction.code)
        if code is None:
            raise UnknownError(instruction.code)
        machine.steps += 1
        jump = code(machine, instruction)
        at = at + 1 if jump is None else jump
