"""The components of a deployment: one file each, and the registry that finds them.

Read one of them first, :mod:`sim.models.d1` say: its table of the scenario, its station, its operations as Flows, what
they cost, and the ``COMPONENT`` that puts these together. What a component may say is in :mod:`sim.models.component`;
the names below are what a component of one's own is written with.
"""

from sim.models.billing import Call, Demand, Meter, Runaway, StorageLimit, Usage, meter, per_million, storage
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.models.registry import components, register
from sim.schema import Count, Distribution, Fraction, NotNegative, Positive, Table

__all__ = [
    "Call",
    "Component",
    "Count",
    "Demand",
    "Distribution",
    "Fraction",
    "Instance",
    "Meter",
    "Metric",
    "NoParameters",
    "NotNegative",
    "Operation",
    "Positive",
    "Runaway",
    "StorageLimit",
    "Table",
    "Tier",
    "Usage",
    "Uses",
    "components",
    "meter",
    "per_million",
    "register",
    "storage",
]  # fmt: skip
