"""The components of a deployment: one module each, and the registry that discovers them.

Start with one of them, such as :mod:`sim.models.d1`: its table in the scenario, its station, its operations as Flows,
their billed usage, and the ``COMPONENT`` that combines these. :mod:`sim.models.component` defines what a component
consists of; the names below are those that a user's own component needs.
"""

from sim.models.billing import Call, Demand, Meter, Usage
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
    "Table",
    "Tier",
    "Usage",
    "Uses",
    "components",
    "register",
]  # fmt: skip
