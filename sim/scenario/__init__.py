"""Scenarios: the file, the schedule of requests that follows from it, and the provenance of its numbers."""
