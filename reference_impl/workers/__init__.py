"""The Worker: routes, bindings, keys, retries, and the description of its API."""
