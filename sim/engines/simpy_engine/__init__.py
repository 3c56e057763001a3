"""The readable engine: each step of a Flow, executed with SimPy."""

from sim.engines.simpy_engine.engine import simulate

__all__ = ["simulate"]
