"""A scenario by arithmetic alone, before anything is simulated: an approximation, never a verdict.

The stream of requests (:mod:`~sim.screening.traffic`) walks the steps (:mod:`~sim.screening.demand`), known by what it
takes and what fails of it (:mod:`~sim.screening.passage`); what it asks of each thing it passes is noted
(:mod:`~sim.screening.logbook`), and from the notes :mod:`~sim.screening.approximation` tells waits and bounds.
"""

from sim.screening.approximation import LABEL, Screening, StationScreening, keyed, screen, screen_flow

__all__ = ["LABEL", "Screening", "StationScreening", "keyed", "screen", "screen_flow"]
