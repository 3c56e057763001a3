"""The components of a deployment: one module each, and the registry that discovers them.

Start with one of them, such as :mod:`sim.models.d1`: its table in the scenario, its station, its operations as Flows,
their billed usage, and the ``COMPONENT`` that combines these. :mod:`sim.models.component` defines what a component
consists of; the names below are those that a user's own component needs. ``docs/COMPONENTS.md`` adds one.
"""

from sim.foundation.schema import Count, Fraction, NotNegative, Positive, Table
from sim.models.billing import Call, Demand, Meter, Runaway, StorageLimit, Usage, meter, per_million, storage
from sim.models.component import Component, Instance, Metric, NoParameters, Operation, Tier, Uses
from sim.models.registry import components, register
from sim.randomness.distributions import Distribution

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
