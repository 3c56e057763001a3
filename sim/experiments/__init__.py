"""A scenario played over and over: how often, by whom, and what the repetition teaches.

:mod:`~sim.experiments.replications` plays it with seed after seed, :mod:`~sim.experiments.stopping` until the answer is
precise enough, :mod:`~sim.experiments.executors` on any executor. :mod:`~sim.experiments.paired` compares two variants
that had the same luck; :mod:`~sim.experiments.control_variates` takes off the luck that can be told from what a run was
dealt (:mod:`~sim.experiments.draws`).
"""
