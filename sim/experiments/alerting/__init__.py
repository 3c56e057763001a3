"""Burn-rate alerts of a scenario, backtested on simulated incidents and quiet quarters."""
