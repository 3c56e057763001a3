"""Clocks, stopwatches, and the latencies that a paced deployment keeps."""
