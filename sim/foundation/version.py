"""The version of this package, and nothing else: every layer may say it."""

__version__ = "0.1.0"
