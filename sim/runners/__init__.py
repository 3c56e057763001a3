"""Runners, one module each: play a schedule on a model, the reference, a live deployment, or a recorded run."""
