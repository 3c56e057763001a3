"""Durations that searches and sentences share."""

START_S = 180.0
"""What "after a cold start" means: the first three minutes from empty, all of them judged."""
