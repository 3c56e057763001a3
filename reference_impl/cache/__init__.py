"""The cache of an edge location: entries that may be thrown away at any time."""
