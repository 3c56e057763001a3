"""Sizing: one design number at a time, every sensible value of it simulated, the answer with what is as good.

:func:`~sim.experiments.sizing.size.size` is the one call; beside the choices stand the servers that each station needs
(:mod:`~sim.experiments.sizing.servers`) and what is kept with one down (:mod:`~sim.experiments.sizing.one_down`).
"""
