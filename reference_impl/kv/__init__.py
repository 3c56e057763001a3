"""Workers KV: a central key-value store with a cache at each location."""
