"""Evaluate conditions and times for a token in the current state."""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.distributions import drawn, uniform
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import (
    bucket_at,
    condition_at,
    counter_at,
    key_at,
    server_at,
    size_bytes_at,
    time_at,
    tokens_in_at,
    tokens_out_at,
)
from sim.engines.compiled_engine.kernel.servers import place_of


@jit_apart
def attribute(w: Any, which: Any, request: Any) -> Any:
    """Return an attribute of a request."""
    if which == k.KEY:
        return float(key_at(w, request).value)
    if which == k.SIZE_BYTES:
        return float(size_bytes_at(w, request).value)
    if which == k.TOKENS_IN:
        return float(tokens_in_at(w, request).value)
    return float(tokens_out_at(w, request).value)


@jit_apart
def sampled(w: Any, token: Any, step: Any) -> Any:
    """Return the duration of a step's time now: the drawn value plus what grows with state, or a transfer time."""
    if step.time == k.NONE:
        return attribute(w, step.attribute, token.request) / step.amount * 1000.0
    time = time_at(w, step.time)
    duration_ms = time.scale * drawn(w, time, token.request, token.context)
    if time.first != k.NONE:
        amount = counter_at(w, place_of(w, time.first, time.instances, token.request)).value
    elif time.attribute:
        amount = attribute(w, time.attribute, token.request)
    else:
        return duration_ms
    return duration_ms + time.each_ms * min(amount, time.at_most)


@jit_apart
def holds(w: Any, token: Any, which: Any) -> Any:
    """Return whether a condition is true for a token now."""
    condition = condition_at(w, which)
    kind = condition.kind
    if kind == k.CHANCE:
        return uniform(condition.key, token.request, token.context, 0) < condition.low
    if kind == k.DURING:
        return condition.low <= w.now_ms and w.now_ms < condition.high
    if kind == k.ATTRIBUTE_OVER:
        return attribute(w, condition.attribute, token.request) > condition.low
    place = place_of(w, condition.first, condition.instances, token.request)
    if kind == k.IDLE:
        return server_at(w, place).idle_ms > condition.low
    if kind == k.WAITING:
        return server_at(w, place).waiting >= condition.low
    if kind == k.COUNT_AT_LEAST:
        return counter_at(w, place).value >= condition.low
    return drained(w, bucket_at(w, place))


@jit
def drained(w: Any, bucket: Any) -> Any:
    """Take a token from a bucket; return true when it was empty."""
    tokens = min(bucket.burst, bucket.tokens + (w.now_ms - bucket.filled_ms) * bucket.per_ms)
    empty = tokens < 1.0
    bucket.tokens = tokens if empty else tokens - 1.0
    bucket.filled_ms = w.now_ms
    return empty
