"""Experiments: many runs of one scenario.

:mod:`~sim.experiments.replications` runs it with independent seeds, :mod:`~sim.experiments.stopping` until the answer
is precise enough, :mod:`~sim.experiments.executors` on any executor. :mod:`~sim.experiments.paired` compares two
variants under common random numbers.
"""
