"""Bursts in a schedule: many requests at one moment, again and again, with the usual load going on."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from sim.scenario.schedule import Schedule

FIRST_MS, LAST_MS = 1_000.0, 500.0
"""No burst comes earlier, or so soon before the end."""


def bursts(planned: Schedule, *, requests: int, every_ms: float) -> Schedule:
    """Return the schedule with *requests* more, all like its first, every *every_ms*."""
    own = len(planned.arrival_ms)
    at_ms = np.repeat(np.arange(FIRST_MS, planned.duration_ms - LAST_MS, every_ms), requests)
    arrival_ms = np.concatenate([planned.arrival_ms, at_ms])
    order = np.argsort(arrival_ms, kind="stable")
    chosen = np.concatenate([np.arange(own), np.zeros(len(at_ms), dtype=np.int64)])[order]
    columns: dict[str, Any] = {
        column.name: values[chosen]
        for column in fields(planned)
        if isinstance(values := getattr(planned, column.name), np.ndarray)
    }
    return replace(planned, **columns | {"arrival_ms": arrival_ms[order]})
