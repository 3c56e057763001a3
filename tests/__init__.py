"""Checks of the whole project: the house rules are in `tidy.py`, the walk over the vocabulary in `test_walk.py`."""
