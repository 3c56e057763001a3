"""How far a run may be believed: where its warm-up ends, and how wide the interval around a mean or a quantile is.

Numbers in, numbers out. :mod:`~sim.statistics.intervals` first, then :mod:`~sim.statistics.quantiles`. Whether the
intervals keep their promise is counted in :mod:`tests.evidence.coverage`.
"""
