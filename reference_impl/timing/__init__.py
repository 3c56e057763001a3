"""Clocks, stopwatches, queues, and the sampled latencies of a paced deployment."""
