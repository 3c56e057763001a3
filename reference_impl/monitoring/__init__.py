"""Counters, histograms and gauges of the deployment, and their exposition."""
