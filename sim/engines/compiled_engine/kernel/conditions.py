"""Evaluate conditions and times for a token in the current state, and set the stamps that times run from."""

from math import inf
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
    window_at,
    window_key_at,
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
    duration_ms = grown(w, time, token)
    if time.windows_count == 0:
        return duration_ms
    return paced(w, time, token.request, duration_ms)


@jit
def grown(w: Any, time: Any, token: Any) -> Any:
    """Return the drawn value of a time, scaled, plus what grows with state."""
    duration_ms = time.scale * drawn(w, time, token.request, token.context)
    if time.first != k.NONE:
        amount = counter_at(w, place_of(w, time.first, time.instances, token.request)).value
        if time.attribute == k.SINCE:
            return max(0.0, duration_ms - (w.now_ms - amount))
    elif time.attribute:
        amount = attribute(w, time.attribute, token.request)
    else:
        return duration_ms
    return duration_ms + time.each_ms * min(amount, time.at_most)


@jit_apart
def mark(w: Any, step: Any, request: Any) -> None:
    """Set a stamp to now, or to another one that is later."""
    stamp = counter_at(w, place_of(w, step.first, step.instances, request))
    if step.goto == k.NONE:
        stamp.value = w.now_ms
    else:
        stamp.value = max(stamp.value, counter_at(w, place_of(w, step.goto, step.times, request)).value)


@jit_apart
def paced(w: Any, time: Any, request: Any, work_ms: Any) -> Any:
    """Return how long a time takes from now on, when its windows change its pace."""
    at_ms, left_ms = w.now_ms, work_ms
    while True:
        speed, change_ms = 1.0, inf
        for number in range(time.windows, time.windows + time.windows_count):
            window = window_at(w, number)
            if not concerns(w, window, request):
                continue
            if window.start_ms <= at_ms and at_ms < window.end_ms:
                speed *= window.speed
                change_ms = min(change_ms, window.end_ms)
            elif at_ms < window.start_ms:
                change_ms = min(change_ms, window.start_ms)
        if speed > 0.0:
            needed_ms = left_ms / speed
            if at_ms + needed_ms <= change_ms:
                return (at_ms - w.now_ms) + needed_ms
            left_ms = max(0.0, left_ms - (change_ms - at_ms) * speed)
        at_ms = change_ms


@jit_apart
def concerns(w: Any, window: Any, request: Any) -> Any:
    """Return whether a window is one for the request's key."""
    if window.keys_count == 0:
        return True
    key = key_at(w, request).value
    if window.instances > 0:
        key %= window.instances
    found = False
    for number in range(window.keys, window.keys + window.keys_count):
        found = found or window_key_at(w, number).value == key
    return found


@jit_apart
def within(w: Any, condition: Any, request: Any) -> Any:
    """Return whether one of a condition's windows is open for a request now."""
    for number in range(condition.windows, condition.windows + condition.windows_count):
        window = window_at(w, number)
        if window.start_ms <= w.now_ms and w.now_ms < window.end_ms:
            return concerns(w, window, request)
    return False


@jit_apart
def holds(w: Any, token: Any, which: Any) -> Any:
    """Return whether a condition is true for a token now."""
    condition = condition_at(w, which)
    kind = condition.kind
    if kind == k.CHANCE:
        return uniform(condition.key, token.request, token.context, 0) < condition.low
    if kind == k.DURING:
        return condition.low <= w.now_ms and w.now_ms < condition.high
    if kind == k.WITHIN:
        return within(w, condition, token.request)
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
