"""Distributions, and counter-based streams of random numbers."""
