"""The engine to be read: each step of a Flow executed with SimPy."""
