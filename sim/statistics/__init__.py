"""Statistics of simulation output: warm-up detection, and confidence intervals of means, shares and quantiles.

Start with :mod:`~sim.statistics.intervals`, then :mod:`~sim.statistics.quantiles`. The coverage of the intervals is
measured in :mod:`tests.evidence.coverage`.
"""
