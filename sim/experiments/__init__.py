"""Experiments: a scenario simulated many times.

:mod:`~sim.experiments.replications` plays it with seed after seed, :mod:`~sim.experiments.stopping` until the answer is
precise enough, :mod:`~sim.experiments.executors` on any executor. :mod:`~sim.experiments.paired` compares two variants
under common random numbers.
"""
