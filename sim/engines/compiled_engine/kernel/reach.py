"""Access to the machine's tables by address.

Numba passes an array as seven words, so thirty arrays would be two hundred words on every call. Instead the machine
receives one record, the *world*, which holds the address of each table; an entry of a table is again a record, passed
as one word. The caller owns the arrays and keeps them alive (``sim/engines/compiled_engine/world.py``).
"""

from typing import Any

from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from sim.engines.compiled_engine.kernel import layout as k


def _table(name: str, kind: Any) -> Any:
    """Return a compiled function that gives entry *index* of the table *name*."""
    record = from_dtype(kind)

    @intrinsic
    def entry_at(typing: Any, world: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes them by name
        def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:  # noqa: ARG001 - numba's order
            place = context.get_constant(types.intp, world.offset(name))
            word = builder.add(builder.ptrtoint(operands[0], place.type), place)
            address = builder.load(builder.inttoptr(word, place.type.as_pointer()))
            size = context.get_constant(types.intp, record.size)
            entry = builder.add(address, builder.mul(operands[1], size))
            return builder.inttoptr(entry, context.get_value_type(record))

        return record(world, types.int64), generate

    return entry_at


step_at = _table("code", k.INSTRUCTION)
jump_at = _table("jumps", k.INTEGER)
condition_at = _table("conditions", k.CONDITION)
time_at = _table("times", k.TIME)
knot_at = _table("knots", k.NUMBER)
window_at = _table("windows", k.WINDOW)
window_key_at = _table("window_keys", k.INTEGER)

server_at = _table("servers", k.SERVER)
list_at = _table("lists", k.LIST)
counter_at = _table("counters", k.NUMBER)
latch_at = _table("latches", k.FLAG)
bucket_at = _table("buckets", k.BUCKET)
budget_at = _table("budgets", k.BUDGET)
timer_queue_at = _table("timer_queues", k.LIST)

route_at = _table("route", k.SHORT)
key_at = _table("key", k.INTEGER)
size_bytes_at = _table("size_bytes", k.INTEGER)
tokens_in_at = _table("tokens_in", k.INTEGER)
tokens_out_at = _table("tokens_out", k.INTEGER)
arrival_ms_at = _table("arrival_ms", k.NUMBER)
think_ms_at = _table("think_ms", k.NUMBER)
next_request_at = _table("next_request", k.INTEGER)

latency_ms_at = _table("latency_ms", k.NUMBER)
outcome_at = _table("outcome", k.FLAG)
attempts_at = _table("attempts", k.SHORT)
attributed_at = _table("attributed_ms", k.NUMBER)
follower_at = _table("followers", k.INTEGER)

event_at = _table("events", k.EVENT)
timer_at = _table("timers", k.TIMER)
soon_at = _table("soon", k.EVENT)
urgent_at = _table("urgent", k.INTEGER)
token_at = _table("tokens", k.TOKEN)
frame_at = _table("frames", k.FRAME)
accumulator_at = _table("accumulators", k.NUMBER)
