"""Instructions that compute: registers, comparisons, jumps, functions. None of them is a row of the bill.

Sources
-------
SQLite, "The SQLite Bytecode Engine": what each instruction does with P1 to P5.
"""

from collections.abc import Mapping
from typing import Any

from reference_impl.sqlite.row_count.machine import END, Code, Instruction, Machine
from reference_impl.sqlite.row_count.values import (
    AGGREGATES,
    UNKNOWN,
    KeyOrder,
    UnknownError,
    aggregated,
    arithmetic,
    compared,
    converted,
    is_true,
    number_of,
)

NULL_EQUALS, JUMPS_IF_NULL, AFFINITY_MASK = 0x80, 0x10, 0x47
COMPARISONS: Mapping[str, tuple[int, ...]] = {
    "Eq": (0,), "Ne": (-1, 1), "Lt": (-1,), "Le": (-1, 0), "Gt": (1,), "Ge": (0, 1),
}  # fmt: skip
"""By instruction, how the left operand may compare with the right one."""


def constant(machine: Machine, op: Instruction) -> None:
    """Put a constant into P2."""
    value: Any = op.p4
    if op.code == "Integer":
        value = op.p1
    elif op.code == "Int64":
        value = int(op.p4)
    elif op.code == "Real":
        value = float(op.p4)
    elif op.code == "Blob" and isinstance(value, str):
        value = value.encode()
    elif op.code == "String8":
        value = str(value)
    machine.registers[op.p2] = value


def null(machine: Machine, op: Instruction) -> None:
    """Put NULL into P2 to P3."""
    for place in range(op.p2, max(op.p2, op.p3) + 1):
        machine.registers[place] = None


def soft_null(machine: Machine, op: Instruction) -> None:
    """Put NULL into P1."""
    machine.registers[op.p1] = None


def variable(machine: Machine, op: Instruction) -> None:
    """Put a bound parameter into P2."""
    machine.registers[op.p2] = machine.params[op.p1 - 1]


def copy(machine: Machine, op: Instruction) -> None:
    """Copy registers from P1 to P2."""
    count = {"Copy": op.p3 + 1, "Move": op.p3}.get(op.code, 1)
    for place, value in enumerate(machine.values(op.p1, count)):
        machine.registers[op.p2 + place] = value
        if op.p1 + place in machine.aggregates:
            machine.aggregates[op.p2 + place] = machine.aggregates[op.p1 + place]


def compare_and_jump(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if P3 compares with P1 as the instruction says."""
    left, right = machine.registers.get(op.p3), machine.registers.get(op.p1)
    if left is None or right is None:
        if not op.p5 & NULL_EQUALS:
            machine.order_code = 1
            return op.p2 if op.p5 & JUMPS_IF_NULL else None
    else:
        affinity = chr(op.p5 & AFFINITY_MASK)
        left, right = converted(left, affinity), converted(right, affinity)
    collation = op.p4.partition("-")[0] if isinstance(op.p4, str) else "BINARY"
    machine.order_code = compared(left, right, collation=collation)
    return op.p2 if machine.order_code in COMPARISONS[op.code] else None


def compare(machine: Machine, op: Instruction) -> None:
    """Compare the vectors at P1 and P2 for a Jump that follows."""
    places: Any = machine.permutation if op.p5 & 1 else range(op.p3)
    order = KeyOrder.read(op.p4)
    left = [machine.registers.get(op.p1 + place) for place in places]
    right = [machine.registers.get(op.p2 + place) for place in places]
    machine.order_code = order.compared(left, right)


def permutation(machine: Machine, op: Instruction) -> None:
    """Note in which order the next Compare takes its fields."""
    machine.permutation = [int(number) for number in str(op.p4).strip("[]").split(",")]


def jump(machine: Machine, op: Instruction) -> int:
    """Jump by the last comparison."""
    return (op.p1, op.p2, op.p3)[machine.order_code + 1]


def jump_if(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if P1 is true, or with IfNot false; NULL jumps if P3 says so."""
    value = is_true(machine.registers.get(op.p1))
    if value is None:
        return op.p2 if op.p3 else None
    return op.p2 if value == (op.code == "If") else None


def jump_if_null(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if P1 is NULL, or with NotNull is not."""
    return op.p2 if (_known(machine, op.p1) is None) == (op.code == "IsNull") else None


def count_down(machine: Machine, op: Instruction) -> int | None:
    """Jump by a counter of LIMIT or OFFSET."""
    value = machine.registers[op.p1]
    if op.code == "IfPos":
        if value > 0:
            machine.registers[op.p1] = value - op.p3
            return op.p2
        return None
    if op.code == "DecrJumpZero":
        machine.registers[op.p1] = value - 1
        return op.p2 if value == 1 else None
    if value > 0:
        machine.registers[op.p1] = value - 1
    return op.p2 if value else None


def offset_limit(machine: Machine, op: Instruction) -> None:
    """Add limit and offset."""
    limit, offset = machine.registers[op.p1], machine.registers[op.p3]
    machine.registers[op.p2] = -1 if limit < 0 else limit + max(offset, 0)


def _known(machine: Machine, place: int) -> Any:
    """Return a register by which something is decided."""
    value = machine.registers.get(place)
    if value is UNKNOWN:
        raise UnknownError("a value that is unknown")
    return value


def must_be_int(machine: Machine, op: Instruction) -> int | None:
    """Make P1 a whole number, or jump to P2."""
    value = number_of(_known(machine, op.p1))
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        machine.registers[op.p1] = int(value)
        return None
    return op.p2 or END


def gosub(machine: Machine, op: Instruction) -> int:
    """Call the subroutine at P2."""
    machine.registers[op.p1] = op.address
    return op.p2


def back(machine: Machine, op: Instruction) -> int | None:
    """Return from a subroutine."""
    at = machine.registers.get(op.p1)
    return int(at) + 1 if isinstance(at, int) else None


def coroutine(machine: Machine, op: Instruction) -> int | None:
    """Set up a coroutine, change places with it, or end it."""
    if op.code == "InitCoroutine":
        machine.registers[op.p1] = op.p3 - 1
        return op.p2 or None
    at = int(machine.registers[op.p1])
    machine.registers[op.p1] = op.address
    # What ends goes on where the one that waits for it says.
    return machine.program[at].p2 if op.code == "EndCoroutine" else at + 1


def once(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 except for the first time."""
    if op.address in machine.seen_once:
        return op.p2
    machine.seen_once.add(op.address)
    return None


def halt_if_null(machine: Machine, op: Instruction) -> int | None:
    """End if P3 is NULL."""
    return END if _known(machine, op.p3) is None else None


def aggregate(machine: Machine, op: Instruction) -> None:
    """Add a row to an aggregate, or put its value into its register."""
    name = str(op.p4).partition("(")[0].lower()
    if op.code == "AggStep":
        if machine.registers.get(op.p3) is None:
            machine.aggregates.pop(op.p3, None)
            machine.registers[op.p3] = b"aggregate"
        _, values = machine.aggregates.setdefault(op.p3, (name, []))
        values.append(machine.registers.get(op.p2) if op.p5 else 1)
        return
    if op.code == "AggValue" and name not in AGGREGATES:
        raise UnknownError(f"window function {name}")
    into = op.p3 if op.code == "AggValue" else op.p1
    _, values = machine.aggregates.get(op.p1, (name, []))
    machine.registers[into] = aggregated(name, values)
    if op.code == "AggFinal":
        machine.aggregates.pop(op.p1, None)


def function(machine: Machine, op: Instruction) -> None:
    """Call an SQL function."""
    name, _, count = str(op.p4).partition("(")
    arguments = machine.values(op.p2, int(count.rstrip(")")))
    machine.registers[op.p3] = UNKNOWN if UNKNOWN in arguments else machine.call(name, arguments)


def binary(machine: Machine, op: Instruction) -> None:
    """Compute P3 from P2 and P1."""
    machine.registers[op.p3] = arithmetic(op.code, machine.registers.get(op.p2), right=machine.registers.get(op.p1))


def bits(machine: Machine, op: Instruction) -> None:
    """Compute P3 from the bits of P2 and P1: a check of a list keeps so whether one of its values is NULL."""
    left, right = (converted(machine.registers.get(place), "D") for place in (op.p2, op.p1))
    if left is None or right is None:
        machine.registers[op.p3] = None
        return
    if not isinstance(left, int) or not isinstance(right, int):
        raise UnknownError(f"{op.code} of values that are no whole numbers")
    machine.registers[op.p3] = left & right if op.code == "BitAnd" else left | right


def logic(machine: Machine, op: Instruction) -> None:
    """Compute P3 from the truth of P1 and P2."""
    left, right = is_true(machine.registers.get(op.p1)), is_true(machine.registers.get(op.p2))
    decides = op.code == "Or"
    if decides in (left, right):
        value: bool | None = decides
    else:
        value = None if None in (left, right) else not decides
    machine.registers[op.p3] = None if value is None else int(value)


def negate(machine: Machine, op: Instruction) -> None:
    """Put the opposite of P1 into P2."""
    value = is_true(machine.registers.get(op.p1))
    machine.registers[op.p2] = None if value is None else int(not value)


def affinity(machine: Machine, op: Instruction) -> None:
    """Apply affinities to registers from P1 on."""
    for place, letter in enumerate(str(op.p4)):
        machine.registers[op.p1 + place] = converted(machine.registers.get(op.p1 + place), letter)


def cast(machine: Machine, op: Instruction) -> None:
    """Convert P1 to the affinity P2."""
    machine.registers[op.p1] = converted(machine.registers.get(op.p1), chr(op.p2))


def add_to(machine: Machine, op: Instruction) -> None:
    """Add P2 to P1."""
    machine.registers[op.p1] = (machine.registers.get(op.p1) or 0) + op.p2


def make_record(machine: Machine, op: Instruction) -> None:
    """Make a record of P2 registers from P1 on."""
    letters = op.p4 if isinstance(op.p4, str) else ""
    values = machine.values(op.p1, op.p2)
    machine.registers[op.p3] = tuple(
        converted(value, letters[place]) if place < len(letters) else value for place, value in enumerate(values)
    )


def jump_always(_: Machine, op: Instruction) -> int:
    """Jump to P2."""
    return op.p2


def count_orphans(machine: Machine, op: Instruction) -> None:
    """Count rows whose parent is missing, or is there again."""
    machine.orphans += op.p2


def jump_if_no_orphans(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if no row waits for its parent."""
    return None if machine.orphans else op.p2


def jump_if_equal(machine: Machine, op: Instruction) -> int | None:
    """Jump to P2 if the last comparison found its operands equal."""
    return op.p2 if machine.order_code == 0 else None


def nothing(_: Machine, __: Instruction) -> None:
    """Do what the walk has no use for."""


def halt(_: Machine, __: Instruction) -> int:
    """End."""
    return END


CODES: Mapping[str, Code] = {
    **dict.fromkeys(("Integer", "Int64", "Real", "String8", "String", "Blob"), constant),
    **dict.fromkeys(("Null", "BeginSubrtn"), null),
    **dict.fromkeys(("Copy", "SCopy", "IntCopy", "Move"), copy),
    **dict.fromkeys(COMPARISONS, compare_and_jump),
    **dict.fromkeys(("If", "IfNot"), jump_if),
    **dict.fromkeys(("IsNull", "NotNull"), jump_if_null),
    **dict.fromkeys(("IfPos", "IfNotZero", "DecrJumpZero"), count_down),
    **dict.fromkeys(("InitCoroutine", "Yield", "EndCoroutine"), coroutine),
    **dict.fromkeys(("AggStep", "AggStep1", "AggFinal", "AggValue"), aggregate),
    **dict.fromkeys(("Function", "PureFunc"), function),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Divide", "Remainder", "Concat"), binary),
    **dict.fromkeys(("And", "Or"), logic),
    **dict.fromkeys(("BitAnd", "BitOr"), bits),
    **dict.fromkeys(("Goto", "Init"), jump_always),
    "FkCounter": count_orphans,
    "FkIfZero": jump_if_no_orphans,
    **dict.fromkeys(
        (
            "Noop Explain Transaction Close CollSeq TableLock Expire ReleaseReg CursorHint ResetCount VerifyCookie "
            "RealAffinity FkCheck ResultRow SeekHit FinishSeek RowCell Savepoint AutoCommit"
        ).split(),
        nothing,
    ),
    "SoftNull": soft_null,
    "Variable": variable,
    "Compare": compare,
    "Permutation": permutation,
    "Jump": jump,
    "ElseEq": jump_if_equal,
    "OffsetLimit": offset_limit,
    "MustBeInt": must_be_int,
    "Gosub": gosub,
    "Return": back,
    "Once": once,
    "HaltIfNull": halt_if_null,
    "Not": negate,
    "Affinity": affinity,
    "Cast": cast,
    "AddImm": add_to,
    "MakeRecord": make_record,
    "Halt": halt,
}
