"""Screening: an analytical approximation of a scenario before anything is simulated; never a verdict.

The mean traffic (:mod:`~sim.screening.traffic`) walks the steps of the flow (:mod:`~sim.screening.demand`), which gives
its time and failures (:mod:`~sim.screening.passage`) and the load of every station
(:mod:`~sim.screening.logbook`); from these :mod:`~sim.screening.approximation` computes waits and bounds.
"""

from sim.screening.approximation import LABEL, Screening, StationScreening, keyed, screen, screen_flow

__all__ = ["LABEL", "Screening", "StationScreening", "keyed", "screen", "screen_flow"]
