"""The engine for volume: a Flow lowered to arrays, run by a compiled event loop."""
