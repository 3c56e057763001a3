"""Closed forms against oracles that share no formula with them."""
