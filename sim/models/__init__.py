"""The components of a deployment: one file each, and the registry that finds them.

Read one of them first, :mod:`sim.models.d1` say: its table of the scenario, its station, its operations as Flows, what
they cost, and the ``COMPONENT`` that puts these together. What a component may say is in :mod:`sim.models.component`.
"""
