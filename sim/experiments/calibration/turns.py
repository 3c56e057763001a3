"""The turns that the requests of one object share, as a recursion over their times of arrival.

A turn that serves k requests takes a *lone* time, and a *further* time for each of them but the first; all are answered
at its end (``coalesced_ms`` of :mod:`sim.models.durable_objects`, which the engines play). Whom a turn serves is its
:class:`Order`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

_njit: Any = numba.njit


def _compiled(function: Function) -> Function:
    compiled: Function = _njit(function)
    return compiled


class Order(NamedTuple):
    """How an object chooses whom it serves next.

    Attributes
    ----------
    newest_first : bool
        Where not all that wait share a turn, those that came last do.
    requests_max : int or None
        Most requests of a turn; None: all that wait.
    intake_ratio : float
        Share of a further request's time that is spent when it comes, before those that wait are served.
    """

    newest_first: bool
    requests_max: int | None
    intake_ratio: float


ALL_AT_ONCE = Order(newest_first=False, requests_max=None, intake_ratio=0.0)
"""All that wait share the next turn."""


def turns(sent_ms: Array, *, lone_ms: float, further_ms: float, order: Order = ALL_AT_ONCE) -> Array:
    """Return the time of each request at the object, wait included, shape (n,).

    Parameters
    ----------
    sent_ms : ndarray, shape (n,)
        Arrivals, in order.
    lone_ms, further_ms : float
        A turn that serves k requests takes ``lone_ms + (k - 1) * further_ms``.
    order : Order
    """
    sent_ms = np.ascontiguousarray(sent_ms)
    if order == ALL_AT_ONCE:
        return np.asarray(_all_at_once(sent_ms, lone_ms, further_ms))
    most = len(sent_ms) if order.requests_max is None else order.requests_max
    intake_ms = order.intake_ratio * further_ms
    return np.asarray(_some(sent_ms, lone_ms, further_ms - intake_ms, intake_ms, most, int(order.newest_first)))


@_compiled
def _all_at_once(sent_ms: Array, lone_ms: float, further_ms: float) -> Array:
    spent_ms = np.empty(len(sent_ms))
    first, free_ms = 0, -np.inf
    while first < len(sent_ms):
        start_ms = max(free_ms, sent_ms[first])
        after = first + 1
        while after < len(sent_ms) and sent_ms[after] <= start_ms:
            after += 1
        free_ms = start_ms + lone_ms + (after - first - 1) * further_ms
        for request in range(first, after):
            spent_ms[request] = free_ms - sent_ms[request]
        first = after
    return spent_ms


@_compiled
def _some(sent_ms: Array, lone_ms: float, each_ms: float, intake_ms: float, most: int, newest_first: int) -> Array:
    spent_ms = np.empty(len(sent_ms))
    waiting = np.empty(len(sent_ms), dtype=np.int64)  # From *oldest* to *end*.
    oldest, end, coming, now_ms = 0, 0, 0, -np.inf
    turn = np.empty(most, dtype=np.int64)
    while coming < len(sent_ms) or oldest < end:
        if oldest == end:
            now_ms = max(now_ms, sent_ms[coming])
        came = 0
        while coming < len(sent_ms) and sent_ms[coming] <= now_ms:
            waiting[end] = coming
            end, coming, came = end + 1, coming + 1, came + 1
        # The first of a turn is chosen when the object becomes free, before the others are taken in.
        count = 1
        if newest_first:
            end -= 1
            turn[0] = waiting[end]
        else:
            turn[0] = waiting[oldest]
            oldest += 1
        came -= 1
        while came > 0:
            now_ms += came * intake_ms
            came = 0
            while intake_ms > 0 and coming < len(sent_ms) and sent_ms[coming] <= now_ms:
                waiting[end] = coming
                end, coming, came = end + 1, coming + 1, came + 1
        while count < most and oldest < end:
            if newest_first:
                end -= 1
                turn[count] = waiting[end]
            else:
                turn[count] = waiting[oldest]
                oldest += 1
            count += 1
        now_ms += lone_ms + (count - 1) * each_ms
        for request in turn[:count]:
            spent_ms[request] = now_ms - sent_ms[request]
    return spent_ms
