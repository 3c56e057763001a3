"""The fast engine: a Flow lowered to arrays, run by a compiled event loop."""

from sim.engines.compiled_engine.engine import simulate

__all__ = ["simulate"]
