"""Calibration: distributions and capacities of a scenario from what a run measured, or a refusal."""
