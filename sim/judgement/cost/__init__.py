"""What a month of traffic costs, what it grows into, and what it would cost if it ran away."""

from sim.judgement.cost.bill import CostLine, price
from sim.judgement.cost.month import Cost, cost, usage_per_month

__all__ = ["Cost", "CostLine", "cost", "price", "usage_per_month"]
