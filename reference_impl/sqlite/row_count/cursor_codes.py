"""Instructions that move cursors and write: the ones that the provider's bill counts.

Rows read: one for every rewind, last, seek, and every successful step to the next or previous entry, in tables,
indexes and sorters alike; *n* for a count of *n* entries. A seek for equality that finds nothing is free, and so are
look-ups of conflicts and the step from an index entry to its row. Rows written: one for every row of a table and every
entry of an index that is inserted, one for every row deleted; what a statement keeps for itself is free.

Sources
-------
Counters of the open-source runtime (workerd, patches to SQLite's ``vdbe.c``); :mod:`tests.evidence.metered` holds them
against the runtime itself.
"""

from collections.abc import Mapping, Sequence

from reference_impl.sqlite.row_count.cursors import Cursor, Tree
from reference_impl.sqlite.row_count.machine import Code, Instruction, Machine
from reference_impl.sqlite.row_count.values import KeyOrder, UnknownError, Value, converted, number_of

SEEKS_EQUAL = 0x02
CHANGES = 0x01
IS_NO_OPERATION = 0x40


def open_tree(machine: Machine, op: Instruction) -> None:
    """Open a cursor on a table or an index of the database."""
    if op.p3 != 0 or op.p5 & ~(SEEKS_EQUAL | 0x01 | 0x08):
        raise UnknownError(f"{op.code} with P3={op.p3}, P5={op.p5}")
    machine.cursors[op.p1] = Cursor(machine.trees.tree(op.p2), seeks_equal=bool(op.p5 & SEEKS_EQUAL))


def open_ephemeral(machine: Machine, op: Instruction) -> None:
    """Open a cursor on a tree of the statement's own, or empty it."""
    has_key = isinstance(op.p4, str) and op.p4.startswith("k(")
    tree = Tree([], None, KeyOrder.read(op.p4)) if has_key else Tree([], [])
    machine.cursors[op.p1] = Cursor(tree, is_ephemeral=True)


def open_duplicate(machine: Machine, op: Instruction) -> None:
    """Open a second cursor on a tree of the statement's own."""
    machine.cursors[op.p1] = Cursor(machine.cursor(op.p2).tree, is_ephemeral=True)


def open_pseudo(machine: Machine, op: Instruction) -> None:
    """Open a cursor on the record in register P2."""
    machine.sets[-op.p1 - 1] = {op.p2}
    machine.cursors.pop(op.p1, None)


def empty(machine: Machine, op: Instruction) -> None:
    """Empty a tree of the statement's own."""
    tree = machine.cursor(op.p1).tree
    tree.records.clear()
    if tree.is_table:
        tree.rowids.clear()


def column(machine: Machine, op: Instruction) -> None:
    """Read a column of the entry, or of a record in a register."""
    if op.p1 in machine.cursors:
        record: Sequence[Value] = machine.cursor(op.p1).record
    else:
        (register,) = machine.sets[-op.p1 - 1]
        record = machine.registers.get(register) or ()
    machine.registers[op.p3] = record[op.p2] if op.p2 < len(record) else None


def first(machine: Machine, op: Instruction) -> int | None:
    """Go to the first entry, or to the last."""
    machine.rows_read += 1
    cursor = machine.cursor(op.p1)
    found = cursor.go(len(cursor.tree.records) - 1 if op.code == "Last" else 0)
    return None if found or not op.p2 else op.p2


def step(machine: Machine, op: Instruction) -> int | None:
    """Go on to the next entry, or back to the previous one; jump to P2 if there is one."""
    if not machine.cursor(op.p1).step(-1 if op.code == "Prev" else 1):
        return None
    machine.rows_read += 1
    return op.p2


def seek(machine: Machine, op: Instruction) -> int | None:
    """Go to the first or last entry on one side of a key; jump to P2 if there is none."""
    cursor = machine.cursor(op.p1)
    tree = cursor.tree
    key = machine.values(op.p3, 1 if tree.is_table else int(op.p4))
    if tree.is_table:
        key = [number_of(key[0])]
        if not isinstance(key[0], int | float):
            raise UnknownError("a rowid that is no number")
    elif cursor.seeks_equal and op.code == "SeekGE":
        is_found = cursor.look_up(key)
        machine.rows_read += is_found
        # The instruction after it, which ends the range, is passed over, as what was found is inside.
        return op.address + 2 if is_found else op.p2
    machine.rows_read += 1
    place = tree.place(key, after=op.code in ("SeekGT", "SeekLE"))
    is_found = cursor.go(place - 1 if op.code in ("SeekLE", "SeekLT") else place)
    return None if is_found else op.p2


def seek_rowid(machine: Machine, op: Instruction) -> int | None:
    """Go to the row P3; jump to P2 if it is not there."""
    key = converted(machine.registers.get(op.p3), "D")
    if not isinstance(key, int):
        return op.p2
    machine.rows_read += 1
    return None if machine.look_up(machine.cursor(op.p1), (key,)) else op.p2


def look_up(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if an entry with the key is there, or with NotFound and its kin if it is not."""
    cursor = machine.cursor(op.p1)
    count = int(op.p4)
    key = machine.values(op.p3, count) if count else list(machine.registers[op.p3])
    if op.code == "NoConflict" and None in key:
        return op.p2
    return op.p2 if machine.look_up(cursor, key) == (op.code == "Found") else None


def index_end(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if the entry lies beyond a key."""
    cursor = machine.cursor(op.p1)
    order = cursor.tree.order.compared(cursor.record, machine.values(op.p3, int(op.p4)))
    beyond = {"IdxGT": order > 0, "IdxGE": order >= 0, "IdxLT": order < 0, "IdxLE": order <= 0}
    return op.p2 if beyond[op.code] else None


def deferred_seek(machine: Machine, op: Instruction) -> None:
    """Go from an index entry to its row."""
    machine.cursor(op.p3).look_up((machine.cursor(op.p1).rowid,))


def rowid(machine: Machine, op: Instruction) -> None:
    """Read the number of the row, of a table or behind an index entry."""
    machine.registers[op.p2] = machine.cursor(op.p1).rowid


def row_data(machine: Machine, op: Instruction) -> None:
    """Read the whole entry."""
    machine.registers[op.p2] = machine.cursor(op.p1).record


def null_row(machine: Machine, op: Instruction) -> None:
    """Let every column be NULL."""
    if op.p1 in machine.cursors:
        machine.cursor(op.p1).is_null = True


def if_null_row(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if every column is NULL."""
    if not machine.cursor(op.p1).is_null:
        return None
    machine.registers[op.p3] = None
    return op.p2


def count(machine: Machine, op: Instruction) -> None:
    """Count the entries; an estimate (P3) reads none."""
    entries = len(machine.cursor(op.p1).tree.records)
    machine.rows_read += 0 if op.p3 else entries
    machine.registers[op.p2] = entries


def new_rowid(machine: Machine, op: Instruction) -> None:
    """Find a number for a new row."""
    cursor = machine.cursor(op.p1)
    machine.inserted_rows += not cursor.is_ephemeral
    machine.registers[op.p2] = cursor.tree.last_rowid() + (1 if cursor.is_ephemeral else machine.inserted_rows)


def insert_row(machine: Machine, op: Instruction) -> None:
    """Write a row of a table."""
    cursor = machine.cursor(op.p1)
    if cursor.is_ephemeral:
        cursor.insert(machine.registers.get(op.p2) or (), machine.registers[op.p3])
    elif not op.p5 & IS_NO_OPERATION:
        machine.rows_written += 1
        machine.gone.get(id(cursor.tree), set()).discard((machine.registers[op.p3],))


def insert_entry(machine: Machine, op: Instruction) -> None:
    """Write an entry of an index."""
    cursor = machine.cursor(op.p1)
    record = machine.registers[op.p2]
    if not cursor.is_ephemeral:
        machine.rows_written += 1
        machine.gone.get(id(cursor.tree), set()).discard(record)
        return
    if cursor.tree.find(record) is None:
        cursor.insert(record)


def insert_sorted(machine: Machine, op: Instruction) -> None:
    """Give a record to a sorter, which keeps equal ones."""
    machine.cursor(op.p1).insert(machine.registers[op.p2])


def delete(machine: Machine, op: Instruction) -> None:
    """Delete a row."""
    cursor = machine.cursor(op.p1)
    if cursor.is_ephemeral:
        cursor.delete()
        return
    machine.rows_written += bool(op.p2 & CHANGES)
    if not op.p2 & IS_NO_OPERATION:
        machine.delete(cursor, cursor.entry)


def delete_entry(machine: Machine, op: Instruction) -> None:
    """Delete an entry of an index; P3 is 0 where newer releases of SQLite mean all of its columns."""
    cursor = machine.cursor(op.p1)
    machine.delete(cursor, machine.values(op.p2, op.p3 or len(cursor.tree.order.fields)))


def clear(machine: Machine, op: Instruction) -> None:
    """Delete every row of a table."""
    if op.p3:
        machine.rows_written += len(machine.trees.tree(op.p1).records)


def sequence(machine: Machine, op: Instruction) -> None:
    """Read the next number of a cursor's own."""
    cursor = machine.cursor(op.p1)
    machine.registers[op.p2] = cursor.next_number
    cursor.next_number += 1


def row_set(machine: Machine, op: Instruction) -> int | None:
    """Keep row numbers in a set: add one, take one out, or add one and jump if it was there."""
    numbers = machine.sets.setdefault(op.p1, set())
    if op.code == "RowSetRead":
        if not numbers:
            return op.p2
        machine.registers[op.p3] = min(numbers)
        numbers.discard(min(numbers))
        return None
    number = machine.registers[op.p3 if op.code == "RowSetTest" else op.p2]
    was_there = number in numbers
    numbers.add(number)
    return op.p2 if was_there and op.code == "RowSetTest" else None


def bloom(machine: Machine, op: Instruction) -> int | None:
    """Add a key to a filter, or jump to P2 if it cannot be there."""
    keys = machine.sets.setdefault(op.p1, set())
    key = tuple(machine.values(op.p3, int(op.p4)))
    if op.code == "Filter":
        return None if key in keys else op.p2
    keys.add(key)
    return None


CODES: Mapping[str, Code] = {
    **dict.fromkeys(("OpenRead", "OpenWrite", "ReopenIdx"), open_tree),
    **dict.fromkeys(("OpenEphemeral", "OpenAutoindex", "SorterOpen"), open_ephemeral),
    **dict.fromkeys(("Rewind", "Last", "Sort", "SorterSort"), first),
    **dict.fromkeys(("Next", "Prev", "SorterNext"), step),
    **dict.fromkeys(("SeekGE", "SeekGT", "SeekLE", "SeekLT"), seek),
    **dict.fromkeys(("SeekRowid", "NotExists"), seek_rowid),
    **dict.fromkeys(("Found", "NotFound", "NoConflict", "IfNoHope"), look_up),
    **dict.fromkeys(("IdxGT", "IdxGE", "IdxLT", "IdxLE"), index_end),
    **dict.fromkeys(("Rowid", "IdxRowid"), rowid),
    **dict.fromkeys(("RowData", "SorterData"), row_data),
    **dict.fromkeys(("RowSetAdd", "RowSetRead", "RowSetTest"), row_set),
    **dict.fromkeys(("FilterAdd", "Filter"), bloom),
    "OpenDup": open_duplicate,
    "OpenPseudo": open_pseudo,
    "ResetSorter": empty,
    "Column": column,
    "DeferredSeek": deferred_seek,
    "NullRow": null_row,
    "IfNullRow": if_null_row,
    "Count": count,
    "NewRowid": new_rowid,
    "Insert": insert_row,
    "IdxInsert": insert_entry,
    "SorterInsert": insert_sorted,
    "Delete": delete,
    "IdxDelete": delete_entry,
    "Clear": clear,
    "Sequence": sequence,
}
