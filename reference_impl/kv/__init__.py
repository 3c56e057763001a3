"""Workers KV: a store of keys and values that is read near and written far."""
