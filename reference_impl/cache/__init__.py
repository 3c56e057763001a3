"""The cache of an edge location: entries that may be evicted at any time."""
