"""Queues: messages that are sent at once and consumed later, in batches."""
